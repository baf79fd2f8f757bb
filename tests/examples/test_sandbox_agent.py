"""The sandbox agent on a real server, with the stand-in for its service, through the official client."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from reactor.testing import TestIssuer
from tests.support.driver import Driver
from tests.support.examples import EXAMPLES
from tests.support.server import running_server

pytestmark = pytest.mark.process

APP = EXAMPLES / "sandbox_agent"


def fake_sandbox() -> Any:
    spec = importlib.util.spec_from_file_location("fake_sandbox", APP / "fake_sandbox.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_a_client_starts_the_agent_and_follows_it(tmp_path: Path, pypi: Driver) -> None:
    module = fake_sandbox()
    with TestIssuer(application_id="sandbox-agent") as issuer, module.FakeSandbox() as fake:
        environment = {"AUTH_ISSUER": issuer.url, "SANDBOX_URL": fake.url, "SANDBOX_API_KEY": module.API_KEY}
        with running_server(tmp_path, app=APP, env=environment) as server:
            await pypi.call("new_client", name="c", url=server.url)
            await pypi.call("set_auth", name="c", token=issuer.token("ann"))
            for prompt, end in (("build a shop", "completed"), ("fail", "failed")):
                id = await pypi.call("mutation", name="c", path="sessions:start", args={"prompt": prompt})
                await pypi.call("subscribe", name="c", sub=id, path="sessions:get", args={"sessionId": id})
                while (session := await pypi.call("next", sub=id))["status"] in ("pending", "running"):
                    pass
                assert session["status"] == end
                assert session.get("result") == ("Done: build a shop" if end == "completed" else None)
                assert ("error" in session) == (end == "failed")
            mine = await pypi.call("query", name="c", path="sessions:listMine")
            assert [session["prompt"] for session in mine] == ["fail", "build a shop"]
        assert (len(fake.made), fake.open) == (2, set())
