"""The vector search example through the official client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.driver import Driver
from tests.support.examples import EXAMPLES
from tests.support.server import running_server

pytestmark = pytest.mark.process


async def test_foods_are_found_by_meaning_also_after_a_restart(tmp_path: Path, pypi: Driver) -> None:
    with running_server(tmp_path, app=EXAMPLES / "vector_search") as server:
        await pypi.call("new_client", name="c", url=server.url)
        assert await pypi.call("action", name="c", path="foods:populate", args={}) == 8
        args = {"text": "spicy soup", "limit": 3}
        before = await pypi.call("action", name="c", path="foods:similar", args=args)
        assert before[0]["description"] == "Spicy curry soup with shrimp"
        server.restart()
        assert await pypi.call("action", name="c", path="foods:similar", args=args) == before
