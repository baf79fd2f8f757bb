"""One live or cached query: what it is called with, its newest result, and when that result was valid.

A result is valid from the snapshot it was read at until the first commit that touched its read set. `Version.number` is a
fingerprint of the outcome, so that equal results are recognized across re-runs, merged entries and reconnects.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from reactor.auth.identity import Caller
from reactor.engine.read_set import EMPTY, ReadSet
from reactor.errors import InvalidValue
from reactor.runtime.executions import Finished
from reactor.runtime.reruns import FIRST, StaleBy
from reactor.runtime.waist import Cut, Failure, Outcome, Success, Version
from reactor.values.wire import decode, encode

if TYPE_CHECKING:
    from reactor.runtime.subscriber import Followed

__all__ = ["SHARED", "Entry", "Family", "QueryCall", "QueryRun", "make_version"]

SHARED = ""
"""The caller key of an entry that every identity may use, because its last run did not look at the identity."""

_REQUEST_ID = re.compile(r"^\[Request ID: [^\]]*\] ")


class Family(NamedTuple):
    """What entries that differ only in the identity have in common."""

    path: str
    args: bytes
    journal: str | None
    admin: bool


@dataclass(frozen=True, slots=True)
class QueryCall:
    """What to run. `args` is the encoded argument object as the client sent it."""

    path: str
    args: bytes
    journal: str | None
    caller: Caller

    @classmethod
    def of(cls, path: str, args: bytes, journal: str | None, caller: Caller) -> QueryCall:
        """A call with its arguments in canonical form, so that equal ones share an entry however they were written."""
        with contextlib.suppress(InvalidValue):  # running it will say what is wrong with them
            args = encode(decode(args))
        return cls(path, args, journal, caller)

    @property
    def family(self) -> Family:
        return Family(self.path, self.args, self.journal, self.caller.is_admin)

    def with_journal(self, journal: str | None) -> QueryCall:
        return replace(self, journal=journal)


@dataclass(frozen=True, slots=True)
class QueryRun:
    """What came of running a call once."""

    outcome: Outcome
    read_set: ReadSet
    observed_identity: bool
    observed_time: bool
    seconds: float
    finished: Finished | None = None
    """What is reported of it; None while nobody listens."""


def make_version(outcome: Outcome) -> Version:
    """Wrap an outcome under its fingerprint. Errors are compared without their request id."""
    if isinstance(outcome, Success):
        fingerprint = hash((True, outcome.value, outcome.log_lines, outcome.journal))
    else:
        message = _REQUEST_ID.sub("", outcome.message)
        fingerprint = hash((False, message, outcome.data, outcome.log_lines, outcome.journal))
    return Version(fingerprint, outcome)


class Entry:
    """The mutable state of one query entry; touched on the event loop only."""

    __slots__ = (
        "call",
        "caller_key",
        "family",
        "followers",
        "in_flight",
        "last_cut",
        "observed_time",
        "ran_at_ns",
        "read_set",
        "stale_by",
        "valid_from",
        "valid_until",
        "version",
    )  # fmt: skip

    def __init__(self, call: QueryCall) -> None:
        self.call = call
        self.family = call.family
        self.caller_key = call.caller.key
        self.version: Version | None = None
        self.valid_from = 0
        self.valid_until: int | None = 0
        """The first commit that made `version` stale; None while it is fresh."""
        self.stale_by: StaleBy = FIRST
        """What made it stale; for people who ask why it ran."""
        self.read_set: ReadSet = EMPTY
        self.observed_time = False
        self.ran_at_ns = 0
        self.in_flight = False
        self.followers: dict[Followed, None] = {}
        self.last_cut: Cut | None = None
        """The last one with nothing but `version` in it, which others can have, too."""

    def valid_at(self, ts: int) -> bool:
        """Whether `version` is the result at the snapshot `ts`."""
        return (
            self.version is not None and self.valid_from <= ts and (self.valid_until is None or ts < self.valid_until)
        )

    @property
    def is_fresh(self) -> bool:
        return self.valid_until is None

    @property
    def size(self) -> int:
        """Roughly how many bytes it takes."""
        outcome = self.version.outcome if self.version is not None else None
        body = len(outcome.value) if isinstance(outcome, Success) else 200
        if isinstance(outcome, Failure):
            body += len(outcome.message)
        return 500 + len(self.call.args) + body + self.read_set.size
