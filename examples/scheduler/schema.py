"""Reminders that fire at their time, users, and the mails that are sent to them."""

from __future__ import annotations

from typing import Literal

from reactor import Document, Id, ScheduledFunction, define_schema, define_table


class User(Document):
    token_identifier: str
    email: str


class Reminder(Document):
    user_id: str
    text: str
    at: float
    """Milliseconds since the epoch."""
    status: Literal["scheduled", "sent", "cancelled"] = "scheduled"
    scheduled_id: Id[ScheduledFunction] | None = None


class Email(Document):
    to: str
    subject: str
    status: Literal["queued", "sent"] = "queued"


schema = define_schema(
    users=define_table(User).index("by_tokenIdentifier", "token_identifier"),
    reminders=define_table(Reminder).index("by_userId", "user_id"),
    emails=define_table(Email).index("by_to", "to"),
)
