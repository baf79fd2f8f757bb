"""Webhooks of the payment provider (Polar) and of the identity provider (Clerk)."""

from __future__ import annotations

import json
import logging
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from functions import webhooks
from functions.rules import signatures
from functions.rules.credits import Products
from functions.rules.metadata import fields_of
from functions.webhooks import Received
from reactor import ActionCtx, Environment, HttpRouter, Struct

http = HttpRouter()
logger = logging.getLogger(__name__)

CLERK_EVENTS = {"user.created", "user.updated", "user.deleted", "session.created", "session.ended", "session.removed"}


class Secrets(Environment):
    """What the senders of webhooks sign with."""

    POLAR_WEBHOOK_SECRET: str | None = None
    CLERK_WEBHOOK_SECRET: str | None = None


class Health(Struct):
    """Whether payments can work, and what of it is configured."""

    status: str
    checks: dict[str, bool]


@http.route("/api/webhooks/polar", methods=["POST"])
async def polar_webhook(ctx: ActionCtx, request: Request) -> Response | Received:
    """Take an event of Polar's: signed, recent, and processed once however often it is sent."""
    if "webhook-signature" not in request.headers:
        return _error(401, "Missing webhook signature")
    secret = ctx.env(Secrets).POLAR_WEBHOOK_SECRET
    if not secret:
        return _error(500, "Webhook secret not configured")
    body = await request.body()
    if not _is_signed(ctx, request, body, secret, "webhook"):
        return _error(401, "Invalid webhook signature")

    event_id, event_type = request.headers["webhook-id"], ""
    try:
        payload = json.loads(body)
        event_type = str(fields_of(payload).get("type", ""))
        return await ctx.run_mutation(
            webhooks.receive_polar_event, event_id=event_id, event_type=event_type, payload=payload
        )
    except Exception as error:
        logger.exception("Polar's event %s (%s) could not be processed", event_id, event_type)
        await ctx.run_mutation(
            webhooks.polar_event_failed,
            event_id=event_id,
            event_type=event_type,
            body=body.decode(errors="replace"),
            error=str(error),
        )
        return _error(500, "Webhook processing failed")


@http.route("/api/webhooks/polar", methods=["GET"])
async def polar_health(ctx: ActionCtx, request: Request) -> Health:
    products = ctx.env(Products)
    checks = {
        "webhookSecret": bool(ctx.env(Secrets).POLAR_WEBHOOK_SECRET),
        "proProduct": bool(products.NEXT_PUBLIC_POLAR_PRO_PRODUCT_ID),
        "unlimitedProduct": bool(products.NEXT_PUBLIC_POLAR_UNLIMITED_PRODUCT_ID),
    }
    return Health(status="healthy" if all(checks.values()) else "degraded", checks=checks)


@http.route("/api/webhooks/clerk", methods=["POST"])
async def clerk_webhook(ctx: ActionCtx, request: Request) -> Response:
    """Take note of what happened to users. There is no users table, so nothing else follows."""
    if not {"svix-id", "svix-timestamp", "svix-signature"} <= set(request.headers):
        return Response("Missing Svix headers", 400)
    secret = ctx.env(Secrets).CLERK_WEBHOOK_SECRET
    if not secret:
        return Response("Webhook secret not configured", 500)
    body = await request.body()
    if not _is_signed(ctx, request, body, secret, "svix"):
        return Response("Invalid signature", 400)
    event = fields_of(_json(body))
    if event.get("type") in CLERK_EVENTS:
        logger.info("Clerk: %s %s", event["type"], fields_of(event.get("data")).get("id"))
    return Response()


def _is_signed(ctx: ActionCtx, request: Request, body: bytes, secret: str, prefix: str) -> bool:
    """Clerk's headers are named after Svix, Polar's after the standard that came of it."""
    return signatures.is_signed(
        secret,
        message_id=request.headers.get(f"{prefix}-id", ""),
        timestamp=request.headers.get(f"{prefix}-timestamp", ""),
        signatures=request.headers[f"{prefix}-signature"],
        body=body,
        now_ms=ctx.now(),
    )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
