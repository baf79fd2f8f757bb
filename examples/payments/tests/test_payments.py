"""Money moves once, and an order says what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from payment_service import DECLINED_AMOUNT, PaymentService

from functions import orders, payments
from reactor import ApplicationError, Id, MutationCtx
from reactor.testing import Backend
from schema import Order


@pytest_asyncio.fixture
async def service(backend: Backend) -> AsyncIterator[PaymentService]:
    with PaymentService() as running:
        await backend.set_environment(PAYMENTS_URL=running.url)
        yield running


async def show(backend: Backend, key: str = "k1") -> Order:
    order = await backend.query(orders.show, idempotency_key=key)
    assert order is not None
    return order


async def test_an_order_is_paid(backend: Backend, service: PaymentService) -> None:
    order_id = await backend.mutation(orders.create, idempotency_key="k1", amount_cents=1200)
    async with backend.subscribe(orders.show, idempotency_key="k1") as updates:
        assert (await show(backend)).status == "pending"
        await updates.next()
        await backend.action(payments.process, order_id=order_id)
        paid = await updates.next()
    assert paid is not None
    assert (paid.status, paid.payment_id, paid.error) == ("paid", "pay_k1", None)
    assert service.charges == {"k1": 1200}


async def test_what_is_repeated_happens_once(backend: Backend, service: PaymentService) -> None:
    first = await backend.mutation(orders.create, idempotency_key="k1", amount_cents=1200)
    assert await backend.mutation(orders.create, idempotency_key="k1", amount_cents=1200) == first
    with pytest.raises(ApplicationError, match="another order"):
        await backend.mutation(orders.create, idempotency_key="k1", amount_cents=1)

    await asyncio.gather(*(backend.action(payments.process, order_id=first) for _ in range(5)))
    await backend.action(payments.process, order_id=first)
    assert service.charges == {"k1": 1200}


async def test_a_declined_payment_is_noted_and_told(backend: Backend, service: PaymentService) -> None:
    order_id = await backend.mutation(orders.create, idempotency_key="k1", amount_cents=DECLINED_AMOUNT)
    with pytest.raises(ApplicationError, match="declined"):
        await backend.action(payments.process, order_id=order_id)
    order = await show(backend)
    assert (order.status, order.error) == ("failed", "The payment was declined")
    assert service.charges == {}


async def test_when_the_answer_was_lost_the_next_attempt_finds_the_payment(
    backend: Backend, service: PaymentService
) -> None:
    order_id = await backend.mutation(orders.create, idempotency_key="k1", amount_cents=1200)
    service.broken = True
    with pytest.raises(httpx.HTTPStatusError):
        await backend.action(payments.process, order_id=order_id)
    order = await show(backend)
    assert (order.status, order.error) == ("failed", "The payment service failed; try again")

    service.broken = False
    await backend.action(payments.process, order_id=order_id)
    order = await show(backend)
    assert (order.status, order.payment_id, order.error) == ("paid", "pay_k1", None)
    assert service.charges == {"k1": 1200}


async def test_a_late_failure_does_not_hide_that_the_order_is_paid(backend: Backend) -> None:
    order_id = await backend.mutation(orders.create, idempotency_key="k1", amount_cents=1200)
    await backend.mutation(orders.mark_paid, order_id=order_id, payment_id="pay_k1")
    await backend.mutation(orders.set_error, order_id=order_id, error="timed out")
    assert (await show(backend)).status == "paid"


async def test_an_order_that_is_gone_is_not_charged(backend: Backend, service: PaymentService) -> None:
    async def gone(ctx: MutationCtx) -> Id[Order]:
        order_id = await ctx.db.insert(Order(idempotency_key="k1", amount_cents=1200))
        await ctx.db.delete(order_id)
        return order_id

    order_id = await backend.run(gone)
    with pytest.raises(ApplicationError, match="Order not found"):
        await backend.action(payments.process, order_id=order_id)
    assert service.charges == {}
