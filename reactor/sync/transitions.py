"""`Transition` messages, whose bytes are shared by all who are told the same: made once, or not copied at all.

After a commit thousands of sessions are told of the same result. Most of them follow it under the same number and were told
of the same timestamp before, so that only the client's own clock skew differs; it comes last.
"""

from __future__ import annotations

from collections.abc import Sequence

from reactor.runtime.waist import Outcome, QueryUpdate, Success, Version
from reactor.sync import messages

__all__ = ["TransitionEncoder", "closing"]

JOIN_BYTES = 16 * 1024
"""Up to here copying a value is cheaper than handing it on as a piece of its own."""
SAME_TIME_NS = 1_000_000
"""A `serverTs` is shared for as long; clients count with milliseconds."""


class TransitionEncoder:
    """Encodes the transitions of all sessions of one server. It remembers the last one with a single small result."""

    __slots__ = ("_end", "_query_id", "_server_ts", "_shared", "_start", "_version")

    def __init__(self) -> None:
        self._start = self._end = self._shared = b""
        self._query_id = -1
        self._server_ts = 0
        self._version: Version | None = None

    def encode(
        self,
        start: bytes,
        end: bytes,
        updates: Sequence[QueryUpdate],
        removed: Sequence[int],
        server_ts: int,
        tail: bytes,
    ) -> tuple[bytes, ...]:
        """One message between two versions (`messages.encode_version`), in pieces that need not be joined.

        `server_ts`: now, in nanoseconds. `tail`: the session's `closing`.
        """
        if len(updates) == 1 and not removed:
            update = updates[0]
            version = update.version
            if (
                version is self._version
                and update.query_id == self._query_id
                and start == self._start
                and end == self._end
                and 0 <= server_ts - self._server_ts < SAME_TIME_NS
            ):
                return (self._shared, tail)
            parts = [*_opening(start, end), *result_parts(update.query_id, version.outcome), _time(server_ts)]
            if sum(map(len, parts)) > JOIN_BYTES:
                return (*_coalesced(parts), tail)
            self._start, self._end, self._version, self._query_id = start, end, version, update.query_id
            self._server_ts = server_ts
            self._shared = b"".join(parts)
            return (self._shared, tail)
        parts = [*_opening(start, end)]
        for number, update in enumerate(updates):
            if number:
                parts.append(b",")
            parts += result_parts(update.query_id, update.version.outcome)
        for number, query_id in enumerate(removed):
            if number or updates:
                parts.append(b",")
            parts.append(messages.query_removed(query_id))
        parts += (_time(server_ts), tail)
        return tuple(_coalesced(parts))


def closing(clock_skew_ms: int | None) -> bytes:
    """The end of every transition of one session."""
    return b',"clientClockSkew":%b}' % (b"null" if clock_skew_ms is None else b"%d" % clock_skew_ms)


def _time(server_ts: int) -> bytes:
    return b'],"serverTs":%d' % server_ts


def result_parts(query_id: int, outcome: Outcome) -> tuple[bytes, ...]:
    """`messages.query_result` in pieces, one of which is the value itself."""
    if not isinstance(outcome, Success) or len(outcome.value) <= JOIN_BYTES:
        return (messages.query_result(query_id, outcome),)
    return messages.query_updated(query_id, outcome)


def _opening(start: bytes, end: bytes) -> tuple[bytes, ...]:
    return (b'{"type":"Transition","startVersion":', start, b',"endVersion":', end, b',"modifications":[')


def _coalesced(parts: Sequence[bytes]) -> list[bytes]:
    """The same bytes with the small pieces joined."""
    whole: list[bytes] = []
    small: list[bytes] = []
    for part in parts:
        if len(part) <= JOIN_BYTES:
            small.append(part)
            continue
        whole.append(b"".join(small))
        whole.append(part)
        small.clear()
    if small:
        whole.append(b"".join(small))
    return whole
