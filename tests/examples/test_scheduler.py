"""The scheduler example through the official client, by the real clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reactor.testing import TestIssuer
from tests.support.driver import Driver
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import ADMIN_KEY, running_server

pytestmark = pytest.mark.process


async def test_reminders_fire_or_are_cancelled_before(tmp_path: Path, pypi: Driver) -> None:
    with (
        TestIssuer(application_id="scheduler") as issuer,
        running_server(tmp_path, app=EXAMPLES / "scheduler", env={"AUTH_ISSUER": issuer.url}) as server,
    ):
        await pypi.call("new_client", name="c", url=server.url)
        await pypi.call("set_auth", name="c", token=issuer.token("ann"))
        await pypi.call("subscribe", name="c", sub="mine", path="reminders:list")
        seen = await pypi.call("next", sub="mine")
        assert seen == []

        async def call(path: str, /, **args: object) -> str:
            return await pypi.call("mutation", name="c", path=path, args=args)

        later = await call("reminders:create", text="later", at=(time.time() + 3600) * 1000)
        await call("reminders:cancel", reminderId=later)
        await call("reminders:create", text="soon", at=(time.time() + 0.2) * 1000)
        wanted = [("soon", "sent", "success"), ("later", "cancelled", "canceled")]
        while [(reminder["text"], reminder["status"], reminder["state"]) for reminder in seen] != wanted:
            seen = await next_but(pypi, "mine", seen)

        await pypi.call("new_client", name="operator", url=server.url)
        await pypi.call("set_admin_auth", name="operator", key=ADMIN_KEY)
        args = {"address": "ann@example.com"}
        await pypi.call("subscribe", name="operator", sub="mails", path="emails:to", args=args)
        mails = await pypi.call("next", sub="mails")
        await call("users:signUp", email="ann@example.com")
        while [(mail["subject"], mail["status"]) for mail in mails] != [("Welcome", "sent")]:
            mails = await next_but(pypi, "mails", mails)
