"""Many writers at once: every Transition shows exactly the state of its timestamp, as the commits in their order make it."""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import Query, SyncClient, ts_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

ROUNDS = int(os.environ.get("REACTOR_TEST_ROUNDS", "3"))
BUCKETS = ("a", "b")

Rows = dict[str, dict[str, Any]]  # id → fields


def _apply(rows: Rows, steps: list[dict[str, Any]], result: list[str | None]) -> None:
    """What `items:change` does, and that its result fits."""
    for step, id in zip(steps, result, strict=True):
        if step["do"] == "insert":
            assert id is not None
            rows[id] = {key: step[key] for key in ("bucket", "rank", "label", "weight") if step.get(key) is not None}
            continue
        target = step["id"]
        assert (id is None) == (target not in rows), (step, id)
        if id is None:
            continue
        row = rows[target]
        if step["do"] == "delete":
            del rows[target]
        elif step["do"] == "move":
            row.update(bucket=step["bucket"], rank=step["rank"])
        elif step["do"] == "label":
            row["label"] = step["label"]
        elif step["do"] == "weigh":
            row.pop("weight", None)
            row.update({"weight": step["weight"]} if step["weight"] is not None else {})
        elif step["do"] == "replace":
            rows[target] = {key: step[key] for key in ("bucket", "rank", "label")}


def _plain(document: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if document is None else {k: v for k, v in document.items() if k != "_creationTime"}


def _by_id(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((_plain(document) or {} for document in documents), key=lambda document: document["_id"])


def _documents(rows: Rows, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    return _by_id([{"_id": id, **row} for id, row in rows.items() if keep(row)])


def _queries(ids: list[str]) -> list[tuple[str, dict[str, Any], Callable[[Any], Any], Callable[[Rows], Any]]]:
    """(path, arguments, how to look at a pushed value, what it must be by the rows)"""
    same = lambda value: value  # noqa: E731
    wanted: list[Any] = [
        ("items:everything", {}, _by_id, lambda rows: _documents(rows, lambda row: True)),
        ("items:totalWeight", {}, same, lambda rows: sum(row.get("weight", 0) for row in rows.values())),
        (
            "items:rankedBetween",
            {"bucket": "a", "low": 1, "high": 4},
            sorted,
            lambda rows: sorted(r["label"] for r in rows.values() if r["bucket"] == "a" and 1 <= r["rank"] < 4),
        ),
    ]
    for bucket in BUCKETS:
        wanted += [
            (
                "items:inBucket",
                {"bucket": bucket},
                _by_id,
                lambda rows, bucket=bucket: _documents(rows, lambda row: row["bucket"] == bucket),
            ),
            (
                "items:howMany",
                {"bucket": bucket},
                same,
                lambda rows, bucket=bucket: sum(row["bucket"] == bucket for row in rows.values()),
            ),
            (
                "items:top",
                {"bucket": bucket, "count": 2},
                lambda rows: [row["rank"] for row in rows],
                lambda rows, bucket=bucket: sorted(
                    (row["rank"] for row in rows.values() if row["bucket"] == bucket), reverse=True
                )[:2],
            ),
        ]
    for id in ids[:3]:
        wanted.append(
            ("items:get", {"id": id}, _plain, lambda rows, id=id: {"_id": id, **rows[id]} if id in rows else None)
        )
    return wanted


def _random_steps(dice: random.Random, ids: list[str]) -> list[dict[str, Any]]:
    steps = []
    for _ in range(dice.randint(1, 4)):
        place = {"bucket": dice.choice(BUCKETS), "rank": dice.randrange(6)}
        label, weight = dice.choice(["x", "y", "zé😀"]), dice.choice([None, 0, 1, 2.5, 7])
        id = dice.choice(ids)
        steps.append(
            dice.choice(
                [
                    {"do": "insert", **place, "label": label, "weight": weight},
                    {"do": "delete", "id": id},
                    {"do": "move", "id": id, **place},
                    {"do": "label", "id": id, "label": label},
                    {"do": "weigh", "id": id, "weight": weight},
                    {"do": "replace", "id": id, **place, "label": label},
                ]
            )
        )
    return steps


async def _round(server: ReactorProcess, seed: int) -> None:
    dice = random.Random(seed)
    writers = [SyncClient(server.ws_url) for _ in range(5)]
    readers = [SyncClient(server.ws_url) for _ in range(3)]
    try:
        for client in (*writers, *readers):
            await client.open()
            await client.modify()
        await writers[0].mutation("items:clear")
        opening = [{"do": "insert", "bucket": "marker", "rank": 9, "label": "", "weight": None}] + [
            {"do": "insert", "bucket": bucket, "rank": rank, "label": "o", "weight": rank}
            for bucket in BUCKETS
            for rank in range(4)
        ]
        first = await writers[0].mutation("items:change", {"steps": opening})
        marker, *ids = first["result"]
        marks = itertools.count()
        commits: list[tuple[int, list[dict[str, Any]], list[str | None]]] = [
            (ts_of(first["ts"]), opening, first["result"])
        ]
        wanted = _queries(ids)
        watched: list[list[Query]] = [await reader.add(*[(w[0], w[1]) for w in wanted]) for reader in readers]

        async def write(client: SyncClient) -> None:
            for _ in range(25):
                # Marked, so that each writes something: those that change nothing share the timestamps of others.
                steps = [{"do": "label", "id": marker, "label": f"{next(marks)}"}, *_random_steps(dice, ids)]
                answer = await client.mutation("items:change", {"steps": steps})
                assert answer["success"], answer
                commits.append((ts_of(answer["ts"]), steps, answer["result"]))
                ids.extend(id for id, step in zip(answer["result"], steps, strict=True) if step["do"] == "insert")

        await asyncio.gather(*map(write, writers))
        for reader in readers:
            await reader.barrier()

        commits.sort(key=lambda commit: commit[0])
        assert len({ts for ts, _, _ in commits}) == len(commits), "two commits share a timestamp"
        rows: Rows = {}
        states: list[tuple[int, Rows]] = []
        for ts, steps, result in commits:
            _apply(rows, steps, result)
            states.append((ts, copy.deepcopy(rows)))
        for reader, queries in zip(readers, watched, strict=True):
            now: dict[int, Any] = {}
            for transition in reader.transitions:
                now.update({change["queryId"]: change["value"] for change in transition["modifications"]})
                if len(now) < len(queries):
                    continue
                ts = ts_of(transition["endVersion"]["ts"])
                state = [state for at, state in states if at <= ts][-1]
                for query, (path, args, look, expect) in zip(queries, wanted, strict=True):
                    assert look(now[query.id]) == expect(state), (path, args, ts)
            assert ts_of(reader.version["ts"]) >= states[-1][0]
    finally:
        for client in (*writers, *readers):
            await client.abort()
            if client.error is not None:
                raise client.error


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_every_transition_shows_the_state_of_its_timestamp(server: ReactorProcess, round_: int) -> None:
    """client-protocol 13 and 14; design promises 1 and 3"""
    seed = int(os.environ.get("REACTOR_TEST_SEED", random.randrange(2**32)))
    print(f"REACTOR_TEST_SEED={seed}")
    await _round(server, seed)
