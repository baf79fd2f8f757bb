"""What the sample app's tests share: refusals, calls over HTTP, and plans for users."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from reactor import ApplicationError, MutationCtx
from reactor.testing import Backend
from schema import Subscription, SubscriptionStatus


@contextmanager
def refused(text: str) -> Iterator[None]:
    """The block is refused with exactly this text, as an application error."""
    with pytest.raises(ApplicationError) as failure:
        yield
    assert failure.value.data == text


class Wire:
    """Calls over HTTP, as whoever the backend is: what is absent there is absent."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def _authorization(self) -> str:
        """The admin key, acting as the backend's user if it has one."""
        key = self._backend.reactor.admin_keys[0]
        user = self._backend.caller.user
        if user is None:
            return f"Convex {key}"
        return f"Convex {key}:{base64.b64encode(json.dumps(user.to_value()).encode()).decode()}"

    async def _call(self, kind: str, path: str, args: dict[str, Any]) -> Any:
        transport = httpx.ASGITransport(self._backend.reactor)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            response = await client.post(
                f"/api/{kind}",
                json={"path": path, "args": args, "format": "json"},
                headers={"Authorization": self._authorization()},
            )
        answer = response.json()
        assert answer["status"] == "success", answer
        return answer["value"]

    async def query(self, path: str, **args: Any) -> Any:
        return await self._call("query", path, args)

    async def mutation(self, path: str, **args: Any) -> Any:
        return await self._call("mutation", path, args)

    async def action(self, path: str, **args: Any) -> Any:
        return await self._call("action", path, args)


class Subscriptions:
    """Gives users plans, as the payment provider's webhooks would."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def add(self, user_id: str, product_id: str, status: SubscriptionStatus = "active") -> None:
        async def insert(ctx: MutationCtx) -> None:
            now = ctx.now()
            await ctx.db.insert(
                Subscription(
                    user_id=user_id,
                    polar_subscription_id=f"sub_{user_id}_{product_id}_{status}",
                    customer_id=f"cus_{user_id}",
                    product_id=product_id,
                    price_id="price",
                    status=status,
                    interval="monthly",
                    current_period_start=now,
                    current_period_end=now + 1,
                    cancel_at_period_end=False,
                    created_at=now,
                    updated_at=now,
                )
            )

        await self._backend.run(insert)

    async def cancel_all(self, user_id: str) -> None:
        async def cancel(ctx: MutationCtx) -> None:
            async for subscription in ctx.db.query(Subscription).with_index("by_userId", user_id=user_id):
                await ctx.db.patch(subscription.id, status="canceled")

        await self._backend.run(cancel)
