"""Orders, each known by the key that whoever placed it made up."""

from __future__ import annotations

from typing import Literal

from reactor import Document, define_schema, define_table


class Order(Document):
    idempotency_key: str
    amount_cents: int
    status: Literal["pending", "paid", "failed"] = "pending"
    payment_id: str | None = None
    error: str | None = None


schema = define_schema(orders=define_table(Order).index("by_idempotencyKey", "idempotency_key"))
