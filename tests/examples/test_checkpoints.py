"""The checkpoints example through the official clients: several save at once, and one follows the newest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.driver import Driver
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import running_server

pytestmark = pytest.mark.process


async def test_clients_that_save_at_once_get_different_versions(tmp_path: Path, pypi: Driver) -> None:
    with running_server(tmp_path, app=EXAMPLES / "checkpoints") as server:
        await pypi.call("new_client", name="c", url=server.url)
        session = {"sessionId": await pypi.call("mutation", name="c", path="sessions:create", args={"name": "a"})}
        await pypi.call("subscribe", name="c", sub="s", path="checkpoints:latest", args=session)
        assert await pypi.call("next", sub="s") is None

        async with httpx.AsyncClient(base_url=server.url) as http:
            saves = [
                http.post(
                    "/api/action", json={"path": "checkpoints:save", "args": {**session, "state": n}, "format": "json"}
                )
                for n in range(8)
            ]
            by_client = pypi.call("action", name="c", path="checkpoints:save", args={**session, "state": "mine"})
            answers = await asyncio.gather(by_client, *saves)
            versions = [answers[0], *(answer.json()["value"] for answer in answers[1:])]
            assert sorted(versions) == list(range(1, 10))

            newest = await next_but(pypi, "s", None)
            while newest["version"] < 9:
                newest = await next_but(pypi, "s", newest)
            state = (await http.get(newest["url"])).json()
            assert state == (["mine", *range(8)])[versions.index(9)]

        assert await pypi.call("mutation", name="c", path="checkpoints:prune", args={**session, "keep": 1}) == 8
        history = await pypi.call("query", name="c", path="checkpoints:history", args=session)
        assert [checkpoint["version"] for checkpoint in history] == [9]
