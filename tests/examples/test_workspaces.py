"""The workspaces example through the official client: two people with tokens, and one without."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.testing import TestIssuer
from tests.support.driver import Driver, RemoteError
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import running_server

pytestmark = pytest.mark.process


async def test_members_work_together_and_strangers_stay_outside(tmp_path: Path, pypi: Driver) -> None:
    with (
        TestIssuer(application_id="workspaces") as issuer,
        running_server(tmp_path, app=EXAMPLES / "workspaces", env={"AUTH_ISSUER": issuer.url}) as server,
    ):
        for name in ("ann", "bob", "nobody"):
            await pypi.call("new_client", name=name, url=server.url)
        for name in ("ann", "bob"):
            await pypi.call("set_auth", name=name, token=issuer.token(name))

        async def fails(name: str, path: str, /, **args: str) -> object:
            with pytest.raises(RemoteError) as told:
                await pypi.call("mutation", name=name, path=path, args=args)
            return told.value.data

        assert await pypi.call("query", name="nobody", path="workspaces:list") == []
        assert await fails("nobody", "workspaces:create", name="Red") == "Not authenticated"
        red = await pypi.call("mutation", name="ann", path="workspaces:create", args={"name": "Red"})
        assert await fails("bob", "sessions:create", workspaceId=red, name="plan") == "Not a member of this workspace"

        await pypi.call("subscribe", name="bob", sub="mine", path="workspaces:list")
        assert await pypi.call("next", sub="mine") == []
        invitation = {"workspaceId": red, "userId": f"{issuer.url}|bob"}
        await pypi.call("mutation", name="ann", path="workspaces:invite", args=invitation)
        assert [(w["name"], w["role"]) for w in await next_but(pypi, "mine", [])] == [("Red", "member")]

        plan = {"workspaceId": red, "name": "plan"}
        session = await pypi.call("mutation", name="bob", path="sessions:create", args=plan)
        assert await fails("bob", "sessions:rename", sessionId=session, name="mine") == "Admin access required"
        assert await fails("bob", "workspaces:setRole", **invitation, role="admin") == "Owner access required"
        await pypi.call("mutation", name="ann", path="workspaces:setRole", args={**invitation, "role": "admin"})
        await pypi.call("mutation", name="bob", path="sessions:rename", args={"sessionId": session, "name": "ours"})
        seen = await pypi.call("query", name="ann", path="sessions:list", args={"workspaceId": red})
        assert [(s["name"], s["status"]) for s in seen] == [("ours", "active")]
