"""Webhooks the way senders sign them: Svix, Standard Webhooks and a plain HMAC, verified in HTTP actions.

The app is what a user would write; the signatures come from the senders' own libraries.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook
from svix.webhooks import Webhook as SvixWebhook

from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.testing import Backend
from reactor.testing import backend as make_backend

DELIVERIES = """
from typing import Any

from reactor import MutationCtx, QueryCtx, internal_mutation, internal_query


@internal_mutation
async def take(ctx: MutationCtx, sender: str, id: str, event: Any) -> bool:
    known = await ctx.db.query("deliveries").filter(lambda d: d["id"] == id and d["sender"] == sender).first()
    if known is None:
        await ctx.db.insert("deliveries", {"sender": sender, "id": id, "event": event})
    return known is None


@internal_query
async def all_(ctx: QueryCtx) -> list[Any]:
    return [d["event"] for d in await ctx.db.query("deliveries").collect()]
"""

HTTP = """
import hashlib
import hmac
import json

import standardwebhooks.webhooks
import svix.webhooks
from functions import deliveries
from reactor import ActionCtx, Environment, HttpRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

http = HttpRouter()


class Env(Environment):
    WEBHOOK_SECRET: str


@http.route("/svix", methods=["POST"])
async def from_svix(ctx: ActionCtx, request: Request) -> Response:
    body = await request.body()
    try:
        svix.webhooks.Webhook(ctx.env(Env).WEBHOOK_SECRET).verify(body, dict(request.headers))
    except (svix.webhooks.WebhookVerificationError, ValueError):
        return PlainTextResponse("bad signature", status_code=401)
    new = await ctx.run_mutation(deliveries.take, sender="svix", id=request.headers["svix-id"], event=json.loads(body))
    return PlainTextResponse("taken" if new else "known")


@http.route("/standard", methods=["POST"])
async def from_standard(ctx: ActionCtx, request: Request) -> Response:
    webhook = standardwebhooks.webhooks.Webhook(ctx.env(Env).WEBHOOK_SECRET)
    try:
        event = webhook.verify(await request.body(), dict(request.headers))
    except (standardwebhooks.webhooks.WebhookVerificationError, ValueError):
        return PlainTextResponse("bad signature", status_code=401)
    new = await ctx.run_mutation(deliveries.take, sender="standard", id=request.headers["webhook-id"], event=event)
    return PlainTextResponse("taken" if new else "known")


@http.route("/hmac", methods=["POST"])
async def from_hmac(ctx: ActionCtx, request: Request) -> Response:
    body = await request.body()
    wanted = "sha256=" + hmac.new(ctx.env(Env).WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), request.headers.get("x-hub-signature-256", "").encode()):
        return PlainTextResponse("bad signature", status_code=401)
    new = await ctx.run_mutation(
        deliveries.take, sender="hmac", id=request.headers["x-github-delivery"], event=json.loads(body)
    )
    return PlainTextResponse("taken" if new else "known")
"""

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes ok!").decode()

Sign = Callable[[str, bytes, datetime], dict[str, str]]


def sign_svix(id: str, body: bytes, at: datetime) -> dict[str, str]:
    signature = SvixWebhook(SECRET).sign(id, at, body.decode())
    return {"svix-id": id, "svix-timestamp": str(int(at.timestamp())), "svix-signature": signature}


def sign_standard(id: str, body: bytes, at: datetime) -> dict[str, str]:
    signature = StandardWebhook(SECRET).sign(id, at, body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def sign_hmac(id: str, body: bytes, at: datetime) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"x-github-delivery": id, "x-hub-signature-256": f"sha256={digest}"}


SENDERS = [
    pytest.param("/svix", sign_svix, id="svix"),
    pytest.param("/standard", sign_standard, id="standard"),
    pytest.param("/hmac", sign_hmac, id="hmac"),
]


@pytest.fixture(scope="module")
def hooks_app(tmp_path_factory: pytest.TempPathFactory) -> App:
    directory: Path = tmp_path_factory.mktemp("hooks")
    (directory / "functions").mkdir()
    (directory / "functions" / "deliveries.py").write_text(DELIVERIES)
    (directory / "functions" / "http.py").write_text(HTTP)
    return AppLoader(directory).load()


@pytest.fixture
async def hooks(hooks_app: App) -> AsyncIterator[Backend]:
    async with make_backend(hooks_app) as running:
        await running.set_environment(WEBHOOK_SECRET=SECRET)
        yield running


@pytest.mark.parametrize(("path", "sign"), SENDERS)
async def test_a_signed_event_is_taken_once(hooks: Backend, path: str, sign: Sign) -> None:
    """The very bytes are verified: spaces and letters beyond ASCII stay as they were sent."""
    body = '{ "type":"user.created",  "name": "Zoë" }'.encode()
    headers = sign("msg_1", body, datetime.now(UTC))
    assert (await hooks.fetch(path, "POST", content=body, headers=headers)).text == "taken"
    assert (await hooks.fetch(path, "POST", content=body, headers=headers)).text == "known"
    assert await hooks.query("deliveries:all") == [json.loads(body)]


@pytest.mark.parametrize(("path", "sign"), SENDERS)
async def test_nothing_else_is(hooks: Backend, path: str, sign: Sign) -> None:
    body = b'{"type":"user.deleted"}'
    headers = sign("msg_1", body, datetime.now(UTC))
    name = next(n for n in headers if "signature" in n)
    attempts = [
        (body, {}),
        (body.replace(b"deleted", b"created"), headers),
        (body, {**headers, name: "v1,AAAA"}),
        (body, {**headers, name: "nonsense"}),
        (body, {**headers, name: ""}),
    ]
    for content, given in attempts:
        assert (await hooks.fetch(path, "POST", content=content, headers=given)).status_code == 401
    assert await hooks.query("deliveries:all") == []


@pytest.mark.parametrize(("path", "sign"), SENDERS[:2])
async def test_an_old_event_is_refused(hooks: Backend, path: str, sign: Sign) -> None:
    body = b'{"type":"user.deleted"}'
    headers = sign("msg_1", body, datetime.now(UTC) - timedelta(minutes=6))
    assert (await hooks.fetch(path, "POST", content=body, headers=headers)).status_code == 401
