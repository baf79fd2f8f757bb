"""The sessions example through the official client, which signs in, and then as somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.testing import TestIssuer
from tests.support.driver import Driver, RemoteError
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import running_server

pytestmark = pytest.mark.process


async def test_a_client_sees_what_its_token_proves(tmp_path: Path, pypi: Driver) -> None:
    with (
        TestIssuer(application_id="auth-sessions") as issuer,
        running_server(tmp_path, app=EXAMPLES / "auth_sessions", env={"AUTH_ISSUER": issuer.url}) as server,
    ):
        await pypi.call("new_client", name="c", url=server.url)
        await pypi.call("subscribe", name="c", sub="me", path="users:me")
        await pypi.call("subscribe", name="c", sub="mine", path="sessions:listMySessions")
        assert [await pypi.call("next", sub="me"), await pypi.call("next", sub="mine")] == [None, []]
        with pytest.raises(RemoteError) as told:
            await pypi.call("mutation", name="c", path="sessions:createSession", args={"title": "plan"})
        assert told.value.data == "Not authenticated"

        await pypi.call("set_auth", name="c", token=issuer.token("ann", name="Ann"))
        ann = await next_but(pypi, "me", None)
        assert ann == {"userId": f"{issuer.url}|ann", "name": "Ann", "email": None}
        await pypi.call("mutation", name="c", path="sessions:createSession", args={"title": "plan"})
        assert [session["title"] for session in await next_but(pypi, "mine", [])] == ["plan"]

        await pypi.call("set_auth", name="c", token=issuer.token("bob"))
        assert (await next_but(pypi, "me", ann))["userId"] == f"{issuer.url}|bob"
        assert await pypi.call("query", name="c", path="sessions:listMySessions") == []
