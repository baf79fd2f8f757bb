"""Where other services call. Who calls is proved before the body is looked at; the body is verified byte for byte."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from svix.webhooks import Webhook, WebhookVerificationError

from functions import events, users
from reactor import ActionCtx, Environment, HttpRouter, Struct


class Secrets(Environment):
    CALLBACK_SECRET: str
    HMAC_SECRET: str
    CLERK_WEBHOOK_SECRET: str


class Taken(Struct):
    """The answer to a sender. `new` is False for what had arrived before."""

    new: bool


http = HttpRouter()


@http.route("/webhook/callback", methods=["POST"])
async def callback(ctx: ActionCtx, request: Request) -> Taken:
    """A service that was given a secret to call back with: `{"id": …, "type": …}`."""
    if not same(request.headers.get("authorization", ""), f"Bearer {ctx.env(Secrets).CALLBACK_SECRET}"):
        raise HTTPException(401, "Unauthorized")
    return await take(ctx, await request.body())


@http.route("/webhook/hmac", methods=["POST"])
async def signed(ctx: ActionCtx, request: Request) -> Taken:
    """The same event, proved by a signature instead: the secret itself never travels."""
    body = await request.body()
    expected = hmac.new(ctx.env(Secrets).HMAC_SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not same(request.headers.get("x-signature", ""), expected):
        raise HTTPException(401, "Invalid signature")
    return await take(ctx, body)


@http.route("/clerk-webhook", methods=["POST"])
async def clerk(ctx: ActionCtx, request: Request) -> Response:
    """Clerk signs with Svix: id, time and body together. What is older than five minutes is refused, too."""
    body = await request.body()
    try:
        Webhook(ctx.env(Secrets).CLERK_WEBHOOK_SECRET).verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError):  # ValueError: what is no signature at all
        return PlainTextResponse("Invalid signature", status_code=400)
    event = json.loads(body)
    event_id, event_type, user = request.headers["svix-id"], event["type"], event["data"]
    if event_type in ("user.created", "user.updated"):
        await ctx.run_mutation(
            users.upsert_from_clerk,
            event_id=event_id,
            event_type=event_type,
            clerk_id=user["id"],
            email=primary_email(user),
            name=" ".join(filter(None, [user.get("first_name"), user.get("last_name")])) or None,
        )
    elif event_type == "user.deleted":
        await ctx.run_mutation(users.delete_from_clerk, event_id=event_id, event_type=event_type, clerk_id=user["id"])
    return Response()  # other events are none of our business, and fine


def same(given: str, expected: str) -> bool:
    """Compared in constant time: how long it takes tells nobody how much was right."""
    return hmac.compare_digest(given.encode(), expected.encode())


async def take(ctx: ActionCtx, body: bytes) -> Taken:
    event = json.loads(body)
    return Taken(new=await ctx.run_mutation(events.record, event_id=event["id"], type=event["type"]))


def primary_email(user: dict[str, Any]) -> str:
    addresses = {address["id"]: address["email_address"] for address in user["email_addresses"]}
    return addresses[user["primary_email_address_id"]]
