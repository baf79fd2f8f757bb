"""Orders: each function is one transaction, and can be repeated."""

from __future__ import annotations

from reactor import ApplicationError, Id, MutationCtx, QueryCtx, internal_mutation, internal_query, mutation, query
from schema import Order


@mutation
async def create(ctx: MutationCtx, idempotency_key: str, amount_cents: int) -> Id[Order]:
    """Place an order. Again with the same key, it is the same order: who did not hear the answer just asks again."""
    known = await ctx.db.query(Order).with_index("by_idempotencyKey", idempotency_key=idempotency_key).unique()
    if known is None:
        return await ctx.db.insert(Order(idempotency_key=idempotency_key, amount_cents=amount_cents))
    if known.amount_cents != amount_cents:
        raise ApplicationError("This key belongs to another order")
    return known.id


@query
async def show(ctx: QueryCtx, idempotency_key: str) -> Order | None:
    """The order with this key, which is as good as a secret: only who placed the order knows it."""
    return await ctx.db.query(Order).with_index("by_idempotencyKey", idempotency_key=idempotency_key).unique()


@internal_query
async def get(ctx: QueryCtx, order_id: Id[Order]) -> Order | None:
    return await ctx.db.get(order_id)


@internal_mutation
async def mark_paid(ctx: MutationCtx, order_id: Id[Order], payment_id: str) -> None:
    await ctx.db.patch(order_id, status="paid", payment_id=payment_id, error=None)


@internal_mutation
async def set_error(ctx: MutationCtx, order_id: Id[Order], error: str) -> None:
    """Note why an attempt failed, unless another one has succeeded meanwhile."""
    order = await ctx.db.get(order_id)
    if order is not None and order.status != "paid":
        await ctx.db.patch(order_id, status="failed", error=error)
