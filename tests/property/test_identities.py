"""Queries that look at the identity now and then: nobody is ever shown what was computed for somebody else."""

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

EXAMPLES = int(os.environ.get("REACTOR_TEST_EXAMPLES", "30"))
PEOPLE = [None, "ann", "bob", "admin"]
BODIES = ["x", "y", "who", "who, nested", "who, admin"]

moves = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(BODIES)),
    st.tuples(st.just("say"), st.sampled_from(BODIES)),
    st.tuples(st.just("become"), st.integers(0, 4), st.sampled_from(PEOPLE)),
    st.tuples(st.just("return"), st.integers(0, 4)),
    st.tuples(st.just("settle"), st.integers(0, 4)),
)
_names = itertools.count()


def _expected(body: str | None, person: str | None) -> str:
    if body is None or not body.startswith("who"):
        return f"nobody asked: {body}"
    if body == "who, admin":
        return f"admin: {person is not None}"  # ann and bob are admins who act as them
    return f"asked: {person if person in ('ann', 'bob') else None}"


class _Session:
    """One client; `people[n]` is who it is at identity version n of its connection."""

    def __init__(self, url: str, channel: str) -> None:
        self.client, self.channel = SyncClient(url), channel
        self.person: str | None = None

    async def start(self) -> None:
        self.people: list[str | None] = [None]
        await self.client.abort()
        self.client.queries.clear()
        await self.client.open()
        if self.person is not None:
            await self.become(self.person)
        self.asked, self.newest = await self.client.add(
            ("identity:whenAsked", {"channel": self.channel}), ("messages:newest", {"channel": self.channel})
        )

    async def become(self, person: str | None) -> None:
        self.person = person
        self.people.append(person)
        if person is None:
            await self.client.authenticate(tokenType="None")
        elif person == "admin":
            await self.client.authenticate(tokenType="Admin", value=ADMIN_KEY)
        else:
            await self.client.authenticate(
                tokenType="Admin", value=ADMIN_KEY, impersonating={"subject": person, "issuer": "https://i.example"}
            )

    def check(self) -> None:
        """Every state this connection was shown, against what it should have been told."""
        now: dict[int, Any] = {}
        for transition in self.client.transitions:
            now.update({change["queryId"]: change["value"] for change in transition["modifications"]})
            if len(now) == 2:
                newest = now[self.newest.id]
                person = self.people[transition["endVersion"]["identity"]]
                assert now[self.asked.id] == _expected(newest and newest["body"], person), (person, transition)


async def _example(server: ReactorProcess, script: list[tuple[Any, ...]]) -> None:
    channel = f"identities {os.getpid()} {next(_names)}"
    sessions = [_Session(server.ws_url, channel) for _ in range(5)]
    writer = SyncClient(server.ws_url)
    try:
        await writer.open()
        await writer.modify()
        for session, person in zip(sessions, [None, "ann", "bob", "admin", "ann"], strict=True):
            session.person = person
            await session.start()
        for move, *details in script:
            if move == "say":
                await writer.request("Mutation", "messages:send", {"channel": channel, "body": details[0]})
            elif move == "become":
                await sessions[details[0]].become(details[1])
            elif move == "return":
                sessions[details[0]].check()
                await sessions[details[0]].start()
            else:
                await sessions[details[0]].client.barrier()
        await writer.barrier()
        for session in sessions:
            await session.client.barrier()
            await session.client.until(lambda s=session: s.client.version["identity"] == s.client.identity)
            session.check()
    finally:
        for client in (writer, *(session.client for session in sessions)):
            await client.abort()
            if client.error is not None:
                raise client.error


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(script=st.lists(moves, min_size=3, max_size=25))
def test_everybody_is_told_about_himself_only(server: ReactorProcess, script: list[tuple[Any, ...]]) -> None:
    """client-protocol 14, 33, 34; engine rule 15"""
    asyncio.run(_example(server, script))
