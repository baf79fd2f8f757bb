"""Why live queries ran: the last runs with their causes, down to the key that was written and the range it fell into.

A commit leaves a reference to its record with the entries it touches, and only when such an entry runs again is it looked
up what touched it, among what the entry had read. Names of tables and indexes, and readable keys, are made when asked for.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import msgspec

from reactor.engine.commit_record import ANY_TABLE, CommitRecord
from reactor.engine.read_set import Interval, ReadSet
from reactor.errors import InvalidValue
from reactor.limits import LOG_KEY_MAX_BYTES
from reactor.runtime.builtin import SYSTEM_PREFIX
from reactor.store.catalogue import Catalogue, IndexInfo
from reactor.values.keys import decode_key
from reactor.values.types import UNSET
from reactor.values.wire import decode

__all__ = ["EXPIRED", "FIRST", "IDENTITY", "Cause", "Rerun", "Reruns", "StaleBy", "described"]

Cause = Literal["commit", "replaced", "code", "environment", "table", "identity", "time", "first"]
"""What counts are kept by: a written document, tables replaced at once (by an import, or deleted), new code, a changed variable, a table that came or went, another user, a
result that had looked at the clock and got old, a query that nobody had followed before."""

FIRST: Final = "first"
IDENTITY: Final = "identity"
EXPIRED: Final = "time"

StaleBy = CommitRecord | Literal["first", "identity", "time"] | None
"""What an entry waits to run for; None for a commit that is no longer known."""

KEPT: Final = 1_000
ARGS_KEPT: Final = 1_024
MOST_COMPARISONS: Final = 100_000
"""For a commit and a read set that would take more, only the commit is named: it is the event loop that looks."""


class Rerun(msgspec.Struct, gc=False):
    """One run of a live query. What there is none of is None, or empty."""

    at_ns: int
    path: str
    args: bytes
    """The encoded argument object, cut at 1 KiB."""
    cause: Cause
    followers: int
    seconds: float
    changed: bool
    """Whether the result differs from the one before."""
    failed: bool
    commit_ts: int = 0
    by: tuple[str, str] | None = None
    """The function that committed, and the id of its request."""
    name: str = ""
    table: int = 0
    document: str = ""
    operation: str = ""
    key: bytes = b""
    interval: Interval | None = None


class Reruns:
    """The last runs of one deployment, and how many there were by cause. Lives on the event loop."""

    def __init__(self, environment_table: Callable[[], int | None]) -> None:
        self._kept: deque[Rerun] = deque(maxlen=KEPT)
        self._environment_table = environment_table
        self.counts: Counter[Cause] = Counter()

    def note(
        self,
        path: str,
        args: bytes,
        stale_by: StaleBy,
        read_set: ReadSet,
        *,
        followers: int,
        seconds: float,
        changed: bool,
        failed: bool,
    ) -> None:
        """Remember a run. `read_set` is what the run before had read."""
        rerun = Rerun(time.time_ns(), path, args[:ARGS_KEPT], "commit", followers, seconds, changed, failed)
        if isinstance(stale_by, CommitRecord):
            self._explain(rerun, stale_by, read_set)
        elif stale_by is not None:
            rerun.cause = stale_by
        self.counts[rerun.cause] += 1
        # Those who look at this would push out what they look for.
        if not path.startswith(SYSTEM_PREFIX):
            self._kept.append(rerun)

    def _explain(self, rerun: Rerun, record: CommitRecord, read_set: ReadSet) -> None:
        rerun.commit_ts, rerun.by = record.ts, record.by
        if len(record.writes) * len(read_set.intervals) > MOST_COMPARISONS:
            return
        hit = read_set.first_hit(record)
        if hit is None:  # the read set is not the one that was touched: it had run meanwhile
            return
        rerun.name = hit.name
        if hit.replaced:
            rerun.cause = "replaced"
        if hit.name:
            rerun.cause = "code" if hit.name == "code" else "table"
        if hit.write is not None:
            rerun.table, rerun.document, rerun.operation = hit.write.table, hit.write.id, hit.write.operation
            rerun.key, rerun.interval = hit.key[:LOG_KEY_MAX_BYTES], hit.interval
            if rerun.table == self._environment_table():
                rerun.cause = "environment"

    def newest(self, path: str | None = None) -> Iterator[Rerun]:
        """Those of one function, or all; the newest first."""
        return (rerun for rerun in reversed(tuple(self._kept)) if path is None or rerun.path == path)


def described(rerun: Rerun, catalogue: Catalogue) -> dict[str, Any]:
    """A run as tools show it, in values of the wire; `why` says it in words."""
    found: dict[str, Any] = {
        "function": rerun.path,
        "args": _args(rerun.args),
        "at": rerun.at_ns / 1e6,
        "cause": rerun.cause,
        "subscribers": rerun.followers,
        "seconds": rerun.seconds,
        "changed": rerun.changed,
        "failed": rerun.failed,
    }
    if rerun.commit_ts:
        found["commitTs"] = str(rerun.commit_ts)
    if rerun.by is not None:
        found["mutation"], found["requestId"] = rerun.by
    if rerun.table:
        found |= _written(rerun, catalogue)
    found["why"] = _in_words(rerun, found)
    return found


def _args(raw: bytes) -> Any:
    try:
        return decode(raw)
    except InvalidValue:  # it was cut, or never was any
        return raw.decode("utf-8", "replace")


def _written(rerun: Rerun, catalogue: Catalogue) -> dict[str, Any]:
    table = catalogue.by_number.get(rerun.table)
    found: dict[str, Any] = {
        "table": f"(dropped table {rerun.table})" if table is None else table.name,
        "document": rerun.document,
        "operation": rerun.operation,
    }
    interval = rerun.interval
    if interval is None or table is None:
        return found
    index = next((i for i in table.indexes.values() if i.number == interval.index_number), None)
    if index is None:
        return {**found, "index": f"(dropped index {interval.index_number})"}
    fields = (*index.fields, "_creationTime", "_id") if not index.is_by_id else ("_id",)
    return {**found, "index": index.name, "key": _key(fields, rerun.key), "range": _range(index, fields, interval)}


def _key(fields: tuple[str, ...], key: bytes) -> dict[str, Any]:
    values = _values(key)
    return {} if values is None else {f: v for f, v in zip(fields, values, strict=False) if v is not UNSET}


def _values(key: bytes) -> list[Any] | None:
    """The values of a bound, which is a key with or without one more byte; None for one that was cut."""
    for candidate in (key, key[:-1]):
        try:
            return decode_key(candidate)
        except InvalidValue:
            continue
    return None


def _range(index: IndexInfo, fields: tuple[str, ...], interval: Interval) -> str:
    """Like `projectId = "abc" and createdAt > 3`."""
    equal = _values(interval.prefix) or []
    parts = [f"{field} = {_shown(value)}" for field, value in zip(fields, equal, strict=False)]
    rest = fields[len(equal) :]
    length = len(interval.prefix)
    lower = interval.start[length:]
    if lower and (text := _bound(rest, lower, ">" if lower.endswith(b"\xff") else ">=")):
        parts.append(text)
    if interval.end is not None and interval.end.startswith(interval.prefix):
        upper = interval.end[length:]
        if upper and upper != b"\xff" and (text := _bound(rest, upper, "<" if _is_key(upper) else "<=")):
            parts.append(text)
    return " and ".join(parts) or f"all of {index.table}.{index.name}"


def _is_key(data: bytes) -> bool:
    try:
        decode_key(data)
    except InvalidValue:
        return False
    return True


def _bound(fields: tuple[str, ...], bound: bytes, sign: str) -> str:
    values = _values(bound)
    if not values:
        return ""
    shown = [_shown(value) for value in values]
    names = list(fields[: len(values)])
    return f"{names[0]} {sign} {shown[0]}" if len(values) == 1 else f"({', '.join(names)}) {sign} ({', '.join(shown)})"


def _shown(value: Any) -> str:
    if value is UNSET:
        return "(missing)"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return repr(value)


_DONE: Final = {"insert": "inserted", "update": "updated", "delete": "deleted"}


def _in_words(rerun: Rerun, found: dict[str, Any]) -> str:
    who = f"{rerun.by[0]} (request {rerun.by[1]})" if rerun.by is not None else "a change of the system's own"
    match rerun.cause:
        case "first":
            return "the first run: nobody had asked for it with these arguments"
        case "identity":
            return "the client signed in or out, and the query had looked at who asks"
        case "time":
            return "the result was older than 17 s and had looked at the clock"
        case "code":
            return "the app's code changed"
        case "table":
            table = "a table" if rerun.name == ANY_TABLE else f"the table {rerun.name.removeprefix('table:')}"
            return f"{table} came to be, or went"
        case "replaced":
            return f"{who} replaced all documents of a table that it had read"
        case "environment":
            key = found.get("key") or {}
            return f"the environment variable {key.get('name', '')} changed"
        case "commit":
            if not rerun.table:
                return f"{who} committed something that it had read"
            text = f"{who} {_DONE[rerun.operation]} {rerun.document} in {found['table']}"
            if "range" in found:
                return f"{text}, within {found['index']}: {found['range']}"
            return f"{text}, which it had looked up by its id"
