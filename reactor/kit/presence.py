"""`Presence`: who is here. Whoever is here says so every few seconds; who stops saying so is gone.

What lists read and what heartbeats write are different documents, so a list changes (and its queries run again) only when
somebody comes, goes, or changes what they show, never because somebody is still there.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Final

from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import SchemaError
from reactor.kit import records
from reactor.model import scheduled_functions
from reactor.runtime.actions import ActionCtx
from reactor.runtime.builtin import builtin
from reactor.runtime.contexts import MutationCtx, QueryCtx
from reactor.runtime.registry import internal_mutation
from reactor.schema.dumping import dump
from reactor.schema.structs import Struct
from reactor.values.types import UNSET, values_equal

__all__ = ["Presence", "Present"]

MEMBERS: Final = "_presence"
"""One document per user in a room: what lists read."""
SESSIONS: Final = "_presence_sessions"
"""One document per session of a member, with its expiry: what heartbeats write."""
SWEEPS: Final = "_presence_sweeps"
"""At most one document: when the next sweep is due, and its job."""

_SWEEP_JOB: Final = "_reactor/kit.js:sweepPresence"
_SWEEP_AT_ONCE: Final = 256
_SWEEP_EVERY_MS: Final = 1000.0
_SLACK_MS: Final = 1.0


class Present(Struct):
    """Somebody who is here, `since` when (milliseconds since 1970), and what they show."""

    user: str
    since: float
    data: Any = None


Members = list[Present]
Rooms = list[str]


class Presence:
    """Rooms of one kind: `Presence("documents")`. Any string is a room, any string a user.

    A user is here as long as one of their sessions (browser tabs, say) had a heartbeat within `timeout`; let clients send one
    every half of that.
    """

    def __init__(self, name: str = "", *, timeout: timedelta = timedelta(seconds=20)) -> None:
        """Raises SchemaError for a timeout under a second."""
        if timeout < timedelta(seconds=1):
            raise SchemaError(f"Presence: `timeout` is a second or more, not {timeout!r}")
        self._name = name
        self._timeout_ms = timeout / timedelta(milliseconds=1)

    def heartbeat(
        self, ctx: MutationCtx | ActionCtx, room: str, user: str, *, session: str = "", data: Any = UNSET
    ) -> Coroutine[Any, Any, None]:
        """The user is here, or still here. `data` is what others see of them; left out, it stays as it was."""
        name = self._name
        data = data if data is UNSET else dump(data)

        def work(tx: WriteTransaction) -> None:
            expires = tx.now_ms + self._timeout_ms
            known = records.find(tx, SESSIONS, "by_member", name, room, user, session)
            if known is not None:
                records.update(tx, SESSIONS, known, expires=expires)
            else:
                fields = {"name": name, "room": room, "user": user, "session": session, "expires": expires}
                tx.insert(SESSIONS, fields)
                _arm(tx, expires)
            member = records.find(tx, MEMBERS, "by_room_and_user", name, room, user)
            if member is None:
                fields = {"name": name, "room": room, "user": user}
                tx.insert(MEMBERS, fields if data is UNSET else {**fields, "data": data})
            elif data is not UNSET and not values_equal(member.get("data", UNSET), data):
                records.update(tx, MEMBERS, member, data=data)

        return records.in_transaction(ctx, "Presence.heartbeat", work, writes=True)

    def leave(
        self, ctx: MutationCtx | ActionCtx, room: str, user: str, *, session: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """The user is gone: one session of theirs, or all without `session`. Nothing happens when they were not here."""
        name = self._name

        def work(tx: WriteTransaction) -> None:
            which = (name, room, user) if session is None else (name, room, user, session)
            for known in list(records.scan(tx, SESSIONS, "by_member", which)):
                _end(tx, known)

        return records.in_transaction(ctx, "Presence.leave", work, writes=True)

    def list(self, ctx: QueryCtx | ActionCtx, room: str, *, limit: int = 1000) -> Coroutine[Any, Any, Members]:
        """Who is in a room, in the order in which they came; `limit` of them at most."""

        def work(tx: Transaction) -> Members:
            found: list[Present] = []
            if limit > 0:
                for member in records.scan(tx, MEMBERS, "by_room", (self._name, room)):
                    found.append(_present(member))
                    if len(found) >= limit:
                        break
            return found

        return records.in_transaction(ctx, "Presence.list", work, counted=True)

    def get(self, ctx: QueryCtx | ActionCtx, room: str, user: str) -> Coroutine[Any, Any, Present | None]:
        """One user in a room, or None when they are not here."""

        def work(tx: Transaction) -> Present | None:
            member = records.find(tx, MEMBERS, "by_room_and_user", self._name, room, user)
            return None if member is None else _present(member)

        return records.in_transaction(ctx, "Presence.get", work)

    def count(self, ctx: QueryCtx | ActionCtx, room: str) -> Coroutine[Any, Any, int]:
        """How many users are in a room."""

        def work(tx: Transaction) -> int:
            index = records.table_of(tx, MEMBERS).indexes["by_room"]
            return tx.count(make_range(index, (self._name, room)))

        return records.in_transaction(ctx, "Presence.count", work)

    def rooms(self, ctx: QueryCtx | ActionCtx, user: str) -> Coroutine[Any, Any, Rooms]:
        """The rooms that a user is in, in the order in which they entered them."""

        def work(tx: Transaction) -> Rooms:
            return [member["room"] for member in records.scan(tx, MEMBERS, "by_user", (self._name, user))]

        return records.in_transaction(ctx, "Presence.rooms", work, counted=True)


def _present(member: dict[str, Any]) -> Present:
    return Present(user=member["user"], since=member["_creationTime"], data=member.get("data"))


def _end(tx: WriteTransaction, session: dict[str, Any]) -> None:
    """A session is over; with the last one of a user the user is gone."""
    tx.delete(records.table_of(tx, SESSIONS), session["_id"])
    who = (session["name"], session["room"], session["user"])
    if records.find(tx, SESSIONS, "by_member", *who) is None:
        member = records.find(tx, MEMBERS, "by_room_and_user", *who)
        if member is not None:
            tx.delete(records.table_of(tx, MEMBERS), member["_id"])


# Expiry: one sweep is scheduled as long as anybody is here, for when the first could be gone.


def _arm(tx: WriteTransaction, at: float) -> None:
    sweep = records.find(tx, SWEEPS, "by_creation_time")
    if sweep is not None:
        job = scheduled_functions.read_job(tx, sweep["job"])
        if job is not None and job.state == "pending":
            if sweep["at"] <= at:
                return
            scheduled_functions.cancel(tx, job.id, is_caller=lambda _: False)
    _schedule(tx, sweep, at)


def _schedule(tx: WriteTransaction, sweep: dict[str, Any] | None, at: float) -> None:
    fields = {"at": at, "job": scheduled_functions.schedule(tx, _SWEEP_JOB, b"{}", at)}
    if sweep is None:
        tx.insert(SWEEPS, fields)
    else:
        records.update(tx, SWEEPS, sweep, **fields)


def _sweep(tx: WriteTransaction) -> None:
    """End the sessions that expired, and come back when the next one may."""
    until = tx.now_ms + _SLACK_MS
    left = _SWEEP_AT_ONCE
    following: float | None = None
    for session in records.scan(tx, SESSIONS, "by_expires", lower=(0, True)):
        if session["expires"] > until:
            following = max(session["expires"], tx.now_ms + _SWEEP_EVERY_MS)
            break
        if left == 0:
            following = tx.now_ms
            break
        left -= 1
        _end(tx, session)
    sweep = records.find(tx, SWEEPS, "by_creation_time")
    if following is not None:
        _schedule(tx, sweep, following)
    elif sweep is not None:
        tx.delete(records.table_of(tx, SWEEPS), sweep["_id"])


async def _sweep_presence(ctx: MutationCtx) -> None:
    await records.in_transaction(ctx, "Presence", _sweep, writes=True)


builtin(internal_mutation(_sweep_presence), "kit:sweepPresence")
