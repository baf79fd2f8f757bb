"""Sessions that go stale, what is measured of them, and a report a day."""

from __future__ import annotations

from reactor import Document, define_schema, define_table


class Session(Document):
    user: str
    last_seen_at: float


class Sample(Document):
    """How many sessions there were at a time: that of its creation."""

    sessions: int


class HealthCheck(Document):
    ok: bool
    detail: str


class Report(Document):
    day: str
    """Like 2026-01-31, in UTC."""
    most_sessions: int
    checks: int
    failed_checks: int


schema = define_schema(
    sessions=define_table(Session).index("by_user", "user").index("by_lastSeenAt", "last_seen_at"),
    samples=define_table(Sample),
    health_checks=define_table(HealthCheck),
    reports=define_table(Report),
)
