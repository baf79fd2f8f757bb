"""Dates from elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime

from reactor import ApplicationError


def milliseconds(iso: str) -> float:
    """An ISO date in milliseconds since the epoch; without a zone it is UTC. Raises `Not an ISO date`."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        raise ApplicationError(f"Not an ISO date: {iso}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
