"""Random conversations on one connection: whatever is sent, in whatever order, everything is answered and adds up."""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.server import ADMIN_KEY, ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

EXAMPLES = int(os.environ.get("REACTOR_TEST_EXAMPLES", "40"))

QUERIES = [
    "messages:bodies",
    "messages:count",
    "messages:guarded",
    "messages:newest",
    "messages:nope",
]
moves = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(QUERIES), st.integers(0, 1)),
    st.tuples(st.just("add"), st.just("identity:whoami"), st.just(None)),
    st.tuples(st.just("add and remove"), st.sampled_from(QUERIES), st.integers(0, 1)),
    st.tuples(st.just("remove"), st.integers(0, 10)),
    st.tuples(st.just("nothing")),
    st.tuples(
        st.just("mutate"),
        st.sampled_from(["messages:append", "messages:sendThenFail", "messages:nope"]),
        st.integers(0, 1),
    ),
    st.tuples(st.just("trouble"), st.sampled_from(["plain trouble", "application trouble"]), st.integers(0, 1)),
    st.tuples(st.just("act"), st.sampled_from(["actions:echo", "failures:inAction"])),
    st.tuples(st.just("become"), st.sampled_from(["ann", "bob", None])),
    st.tuples(st.just("event")),
    st.tuples(st.just("breathe")),
)
_names = itertools.count()


async def _converse(server: ReactorProcess, script: list[tuple[Any, ...]]) -> None:
    client = SyncClient(server.ws_url)
    channels = [f"conversation {os.getpid()} {next(_names)} {side}" for side in "ab"]
    requests: list[int] = []
    asked_identity = None
    await client.open()
    try:
        await client.modify()
        for move, *details in script:
            if move == "add":
                path, side = details
                query = client.new_query(path, {"channel": channels[side]} if side is not None else {})
                await client.modify({"type": "Add", "queryId": query.id, "udfPath": path, "args": [query.args]})
            elif move == "add and remove":
                path, side = details
                query = client.new_query(path, {"channel": channels[side]})
                await client.modify(
                    {"type": "Add", "queryId": query.id, "udfPath": path, "args": [query.args]},
                    {"type": "Remove", "queryId": query.id},
                )
                query.path = "gone"
            elif move == "remove":
                present = [query for query in client.queries.values() if query.path != "gone"]
                if present:
                    query = present[details[0] % len(present)]
                    query.path = "gone"
                    await client.modify({"type": "Remove", "queryId": query.id})
            elif move == "nothing":
                await client.modify()
            elif move == "mutate":
                path, side = details
                requests.append(await client.request("Mutation", path, {"channel": channels[side], "body": "x"}))
            elif move == "trouble":
                body, side = details
                requests.append(
                    await client.request("Mutation", "messages:append", {"channel": channels[side], "body": body})
                )
            elif move == "act":
                args = {"value": 1} if details[0] == "actions:echo" else {"how": "plain"}
                requests.append(await client.request("Action", details[0], args))
            elif move == "become":
                (asked_identity,) = details
                if asked_identity is None:
                    await client.authenticate(tokenType="None")
                else:
                    await client.authenticate(
                        tokenType="Admin",
                        value=ADMIN_KEY,
                        impersonating={"subject": asked_identity, "issuer": "https://i.example"},
                    )
            elif move == "event":
                await client.send({"type": "Event", "eventType": "ClientConnect", "event": None})
            else:
                await client.barrier()
        for request in requests:
            await client.settled(request)
        await client.barrier()
        await client.until(lambda: client.version["identity"] == client.identity)
        assert all(query.path != "gone" for query in client.queries.values()), "a removal was not confirmed"

        # Afresh, as the same person, on another connection.
        other = SyncClient(server.ws_url)
        await other.open()
        if asked_identity is not None:
            await other.authenticate(
                tokenType="Admin",
                value=ADMIN_KEY,
                impersonating={"subject": asked_identity, "issuer": "https://i.example"},
            )
        asked = list(client.queries.values())
        fresh = await other.add(*[(query.path, query.args) for query in asked])
        for query, again in zip(asked, fresh, strict=True):
            assert _essence(query.last) == _essence(again.last), query.path
        await other.close()
    finally:
        await client.abort()
        if client.error is not None:
            raise client.error


def _essence(update: dict[str, Any]) -> Any:
    if update["type"] == "QueryUpdated":
        return update["value"]
    return update["errorMessage"].partition("\n")[2], update.get("errorData")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(script=st.lists(moves, min_size=2, max_size=25))
def test_every_conversation_adds_up(server: ReactorProcess, script: list[tuple[Any, ...]]) -> None:
    """client-protocol 3, 4, 11, 12, 15, 20, 28, 33; the strict client checks the chain of versions"""
    asyncio.run(_converse(server, script))
