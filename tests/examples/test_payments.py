"""The payments example through the official client, in production, where only what is meant for clients reaches them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.support.driver import Driver, RemoteError
from tests.support.examples import EXAMPLES, next_but
from tests.support.server import running_server

pytestmark = pytest.mark.process

APP = EXAMPLES / "payments"


def payment_service() -> Any:
    spec = importlib.util.spec_from_file_location("payment_service", APP / "payment_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PaymentService()


async def test_an_order_is_paid_once_and_failures_show(tmp_path: Path, pypi: Driver) -> None:
    with (
        payment_service() as service,
        running_server(tmp_path, app=APP, mode="serve", env={"PAYMENTS_URL": service.url}) as server,
    ):
        await pypi.call("new_client", name="c", url=server.url)

        async def process(key: str, cents: int) -> Any:
            args = {"idempotencyKey": key, "amountCents": cents}
            order = await pypi.call("mutation", name="c", path="orders:create", args=args)
            return await pypi.call("action", name="c", path="payments:process", args={"orderId": order})

        await pypi.call("subscribe", name="c", sub="order", path="orders:show", args={"idempotencyKey": "k1"})
        assert await pypi.call("next", sub="order") is None
        assert [await process("k1", 1200), await process("k1", 1200)] == [None, None]
        order = await next_but(pypi, "order", None)
        while order["status"] == "pending":
            order = await next_but(pypi, "order", order)
        assert (order["status"], order["paymentId"]) == ("paid", "pay_k1")

        with pytest.raises(RemoteError) as declined:
            await process("k2", 666)
        assert declined.value.data == "The payment was declined"
        service.broken = True
        with pytest.raises(RemoteError) as broken:
            await process("k3", 1200)
        assert not broken.value.data
        assert service.charges == {"k1": 1200, "k3": 1200}

        with pytest.raises(RemoteError):  # internal
            await pypi.call("mutation", name="c", path="orders:markPaid", args={"orderId": "", "paymentId": ""})
