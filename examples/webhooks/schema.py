"""What webhooks told: the events that were taken, and the users as Clerk knows them."""

from __future__ import annotations

from reactor import Document, define_schema, define_table


class Event(Document):
    event_id: str
    type: str


class User(Document):
    clerk_id: str
    email: str
    name: str | None = None


schema = define_schema(
    events=define_table(Event).index("by_eventId", "event_id"),
    users=define_table(User).index("by_clerkId", "clerk_id").index("by_email", "email"),
)
