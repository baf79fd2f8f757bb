"""Charging for an order. An action has no database: it asks, waits for the outside world, and has the result written."""

from __future__ import annotations

from typing import Any

import httpx

from functions import orders
from reactor import ActionCtx, ApplicationError, Environment, Id, action
from schema import Order


class Env(Environment):
    PAYMENTS_URL: str = "http://127.0.0.1:4000"
    PAYMENTS_KEY: str = "test"


@action
async def process(ctx: ActionCtx, order_id: Id[Order]) -> None:
    """Charge for an order. It can be called as often as it takes, also at the same time: money moves once."""
    order = await ctx.run_query(orders.get, order_id=order_id)
    if order is None:
        raise ApplicationError("Order not found")
    if order.status == "paid":
        return
    try:
        payment_id = await charge(ctx.env(Env), order)
    except Exception as error:
        # Clients see the order, so nothing goes there that was not meant for them. The log has the rest.
        reason = str(error) if isinstance(error, ApplicationError) else "The payment service failed; try again"
        await ctx.run_mutation(orders.set_error, order_id=order_id, error=reason)
        raise
    # If the server dies right here, the money has moved and the order does not say so. That is what the key is for:
    # the next attempt is answered with this very payment.
    await ctx.run_mutation(orders.mark_paid, order_id=order_id, payment_id=payment_id)


async def charge(env: Env, order: Order) -> str:
    """Ask the payment service for the money. Returns its payment's id, the same for the same order."""
    headers = {"Authorization": f"Bearer {env.PAYMENTS_KEY}", "Idempotency-Key": order.idempotency_key}
    async with httpx.AsyncClient(base_url=env.PAYMENTS_URL, headers=headers, timeout=20) as service:
        answer = await service.post("/charges", json={"amount": order.amount_cents})
    if answer.status_code == 402:
        raise ApplicationError("The payment was declined")
    payment: dict[str, Any] = answer.raise_for_status().json()
    return payment["id"]
