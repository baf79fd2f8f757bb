"""After any mutations whatsoever, what subscribers were pushed is what a fresh run of their queries gives.

Nothing is missed, nothing is stale, nothing is from another moment than its neighbours, and time never goes back.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.server import ReactorProcess
from tests.support.sync_client import Query, SyncClient

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

BUCKETS = ["a", "b"]
EXAMPLES = int(os.environ.get("REACTOR_TEST_EXAMPLES", "12"))

ranks = st.integers(0, 6)
buckets = st.sampled_from(BUCKETS)
labels = st.text("xyzé😀", max_size=3)
weights = st.one_of(st.none(), st.integers(0, 10), st.floats(0, 10, width=32))
victims = st.integers(0, 30)

steps = st.one_of(
    st.fixed_dictionaries(
        {"do": st.just("insert"), "bucket": buckets, "rank": ranks, "label": labels, "weight": weights}
    ),
    st.fixed_dictionaries(
        {"do": st.just("insert"), "bucket": buckets, "rank": ranks, "label": labels, "weight": weights}
    ),
    st.fixed_dictionaries({"do": st.just("delete"), "victim": victims}),
    st.fixed_dictionaries({"do": st.just("move"), "victim": victims, "bucket": buckets, "rank": ranks}),
    st.fixed_dictionaries({"do": st.just("label"), "victim": victims, "label": labels}),
    st.fixed_dictionaries({"do": st.just("weigh"), "victim": victims, "weight": weights}),
    st.fixed_dictionaries(
        {"do": st.just("replace"), "victim": victims, "bucket": buckets, "rank": ranks, "label": labels}
    ),
)
transactions = st.lists(steps, min_size=1, max_size=5)
events = st.one_of(transactions, transactions, transactions, transactions, st.just("reconnect"), st.just("settle"))


def _queries(ids: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """One of every kind, and some that overlap."""
    return [
        ("items:everything", {}),
        ("items:labelled", {"text": "x"}),
        ("items:labelled", {"text": "yx zé"}),
        ("items:labelled", {"text": "y", "bucket": "a"}),
        *[("items:inBucket", {"bucket": bucket}) for bucket in BUCKETS],
        ("items:rankedBetween", {"bucket": "a", "low": 2, "high": 5}),
        ("items:rankedBetween", {"bucket": "b", "low": 0, "high": 2}),
        ("items:top", {"bucket": "a", "count": 2}),
        ("items:top", {"bucket": "b", "count": 1}),
        ("items:lowest", {"atLeast": 3}),
        ("items:howMany", {"bucket": "a"}),
        ("items:heavy", {"bucket": "a"}),
        *[("items:labels", {"bucket": bucket}) for bucket in BUCKETS],
        ("items:labelsOfHeavy", {"bucket": "b"}),
        ("items:weights", {"atLeast": 2}),
        ("items:totalWeight", {}),
        ("items:firstTwoLabelsElseFail", {"bucket": "b"}),
        *[("items:get", {"id": id}) for id in ids[:2]],
        ("items:getMany", {"ids": ids}),
    ]


def _floats(value: Any) -> Any:
    """Over HTTP a whole number is printed `3.0`, on the socket `3`: the same number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        return [_floats(item) for item in value]
    if isinstance(value, dict):
        return {name: _floats(item) for name, item in value.items()}
    return value


def _essence(result: dict[str, Any]) -> str:
    """What must be equal of a pushed and of a fresh result: the value, or the last line of the error."""
    if "value" in result and result.get("status", "success") == "success":
        return json.dumps(_floats(result["value"]), sort_keys=True)
    return "failed: " + result["errorMessage"].partition("\n")[2]


class _Fresh:
    """Runs queries afresh, all of them at one timestamp."""

    def __init__(self, server: ReactorProcess) -> None:
        self.http = httpx.AsyncClient(base_url=server.url, timeout=30)
        self.nonces = itertools.count()

    async def __call__(self, queries: list[Query]) -> list[str]:
        nonce = str(next(self.nonces))
        answer = await self.http.post(
            "/api/query_batch",
            json={
                "queries": [
                    {"path": q.path, "args": {**q.args, "nonce": nonce}, "format": "convex_encoded_json"}
                    for q in queries
                ]
            },
        )
        answer.raise_for_status()
        return [_essence(result) for result in answer.json()["results"]]


def _check_history(client: SyncClient, watched: list[Query], history: list[list[str]], reached: int) -> int:
    """Each Transition must show, for all queries together, one of the states that were, and never an earlier one."""
    now: dict[int, str] = {}
    for transition in client.transitions:
        for change in transition["modifications"]:
            now[change["queryId"]] = _essence(change)
        if any(query.id not in now for query in watched):
            continue
        seen = [now[query.id] for query in watched]
        for position in range(reached, len(history)):
            if history[position] == seen:
                reached = position
                break
        else:
            differences = [
                (query.path, query.args, shown, expected)
                for query, shown, expected in zip(watched, seen, history[-1], strict=True)
                if shown != expected
            ]
            raise AssertionError(f"a state that never was (compared with the newest): {differences}")
    return reached


async def _example(server: ReactorProcess, script: list[Any]) -> None:
    fresh = _Fresh(server)
    writer, reader, late = (SyncClient(server.ws_url) for _ in range(3))
    try:
        for client in (writer, reader, late):
            await client.open()
            await client.modify()
        await writer.mutation("items:clear")
        first = await writer.mutation(
            "items:change",
            {
                "steps": [
                    {"do": "insert", "bucket": bucket, "rank": rank, "label": f"{bucket}{rank}", "weight": rank * 2}
                    for bucket in BUCKETS
                    for rank in (1, 3, 5)
                ]
            },
        )
        ids: list[str] = list(first["result"])
        watched = await reader.add(*_queries(ids[:4]))
        history = [await fresh(watched)]
        reached = 0
        for event in script:
            if event == "reconnect":
                reached = _check_history(reader, watched, history, reached)
                await reader.reopen()
            elif event == "settle":
                await reader.barrier()
            else:
                sent = [
                    {**{k: v for k, v in step.items() if k != "victim"}, "id": ids[step["victim"] % len(ids)]}
                    if "victim" in step
                    else step
                    for step in event
                ]
                answer = await writer.mutation("items:change", {"steps": sent})
                assert answer["success"], answer
                ids += [id for id, step in zip(answer["result"], sent, strict=True) if step["do"] == "insert"]
                history.append(await fresh(watched))
        await reader.barrier()
        reached = _check_history(reader, watched, history, reached)
        assert [_essence(query.last) for query in watched] == history[-1], "stale after everything settled"
        # Somebody who asks only now is told the same.
        newcomers = await late.add(*[(query.path, query.args) for query in watched])
        assert [_essence(query.last) for query in newcomers] == history[-1]
    finally:
        await fresh.http.aclose()
        for client in (writer, reader, late):
            await client.abort()
            if client.error is not None:
                raise client.error


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )


@_settings(EXAMPLES)
@given(script=st.lists(events, min_size=3, max_size=20))
def test_pushed_results_equal_fresh_runs(server: ReactorProcess, script: list[Any]) -> None:
    """client-protocol 3, 8, 13, 14; design promises 3 and 5"""
    asyncio.run(_example(server, script))


async def _pages_example(server: ReactorProcess, script: list[Any], size: int) -> None:
    writer, reader = SyncClient(server.ws_url), SyncClient(server.ws_url)
    try:
        for client in (writer, reader):
            await client.open()
            await client.modify()
        await writer.mutation("items:clear")
        ids: list[str] = (
            await writer.mutation(
                "items:change",
                {"steps": [{"do": "insert", "bucket": "a", "rank": rank, "label": f"{rank}"} for rank in range(7)]},
            )
        )["result"]
        whole = await reader.subscribe("items:inBucket", {"bucket": "a"})
        pages: list[Query] = []
        cursor = None
        while not pages or not pages[-1].value["isDone"]:
            options = {"numItems": size, "cursor": cursor, "id": 1}
            pages.append(await reader.subscribe("items:page", {"bucket": "a", "paginationOpts": options}))
            cursor = pages[-1].value["continueCursor"]
        for event in script:
            if event == "reconnect":
                await reader.reopen()
            elif event == "settle":
                await reader.barrier()
            else:
                sent = [
                    {**{k: v for k, v in step.items() if k != "victim"}, "id": ids[step["victim"] % len(ids)]}
                    if "victim" in step
                    else step
                    for step in event
                ]
                answer = await writer.mutation("items:change", {"steps": sent})
                ids += [id for id, step in zip(answer["result"], sent, strict=True) if step["do"] == "insert"]
        await reader.barrier()
        now: dict[int, Any] = {}
        for transition in reader.transitions:
            now.update({change["queryId"]: change["value"] for change in transition["modifications"]})
            if len(now) == 1 + len(pages):
                union = [row for page in pages for row in now[page.id]["page"]]
                assert union == now[whole.id], "the pages together are not the table of that moment"
        assert [row for page in pages for row in page.value["page"]] == whole.value
    finally:
        for client in (writer, reader):
            await client.abort()
            if client.error is not None:
                raise client.error


@_settings(EXAMPLES)
@given(script=st.lists(events, min_size=3, max_size=15), size=st.integers(1, 4))
def test_pages_together_are_the_whole_at_every_moment(server: ReactorProcess, script: list[Any], size: int) -> None:
    """client-protocol 52 and 53: through inserts, deletes, moves and reconnects with journals"""
    asyncio.run(_pages_example(server, script, size))


async def _money(server: ReactorProcess, seed: int) -> None:
    """Many writers move amounts between few accounts; every Transition of every reader shows the same sum."""
    import random

    dice = random.Random(seed)
    accounts = [f"account {seed} {number}" for number in range(4)]
    readers = [SyncClient(server.ws_url) for _ in range(3)]
    writers = [SyncClient(server.ws_url) for _ in range(4)]
    try:
        for client in (*readers, *writers):
            await client.open()
            await client.modify()
        for account in accounts:
            await writers[0].mutation("counters:increment", {"name": account, "by": 100})
        watched = [await reader.add(*[("counters:read", {"name": a}) for a in accounts]) for reader in readers]

        async def write(client: SyncClient) -> None:
            for _ in range(30):
                source, target = dice.sample(accounts, 2)
                args = {"source": source, "target": target, "amount": dice.randrange(10)}
                assert (await client.mutation("counters:transfer", args))["success"]

        await asyncio.gather(*map(write, writers))
        for reader, queries in zip(readers, watched, strict=True):
            await reader.barrier()
            now: dict[int, float] = {}
            for transition in reader.transitions:
                now.update({change["queryId"]: change["value"] for change in transition["modifications"]})
                if len(now) == len(accounts):
                    assert sum(now.values()) == 400, transition
            assert [query.value for query in queries] == [server.query("counters:read", {"name": a}) for a in accounts]
    finally:
        for client in (*readers, *writers):
            await client.abort()
            if client.error is not None:
                raise client.error


@pytest.mark.parametrize("seed", range(3))
def test_concurrent_transfers_never_show_a_wrong_sum(server: ReactorProcess, seed: int) -> None:
    """client-protocol 14; design promises 1 and 3"""
    asyncio.run(_money(server, seed))
