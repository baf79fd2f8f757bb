"""The crons example through the official client: what the clock does is live for who looks."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.driver import Driver
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import ADMIN_KEY, running_server

pytestmark = pytest.mark.process


async def test_a_subscriber_sees_the_days_report_at_midnight(tmp_path: Path, pypi: Driver) -> None:
    with running_server(tmp_path, app=EXAMPLES / "crons", options=("--manual-clock",)) as server:
        await pypi.call("new_client", name="c", url=server.url)
        await pypi.call("subscribe", name="c", sub="sample", path="monitoring:latest")
        sample = await pypi.call("next", sub="sample")
        if sample is None:  # the interval's first run is on its way
            sample = await next_but(pypi, "sample", None)
        assert sample["sessions"] == 0
        await pypi.call("subscribe", name="c", sub="report", path="reports:latest")
        assert await pypi.call("next", sub="report") is None

        async with httpx.AsyncClient(headers={"Authorization": f"Convex {ADMIN_KEY}"}, timeout=60) as operator:
            answer = await operator.post(f"{server.url}/api/testing/advance_clock", json={"advance_ms": 24 * 3600_000})
        assert answer.status_code == 200
        report = await next_but(pypi, "report", None)
        assert (report["mostSessions"], report["checks"]) == (0, 0)
