"""What a transaction has used of its limits, counted as it goes; the error comes before the work that would exceed them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reactor.errors import LimitExceeded
from reactor.limits import Limits

__all__ = ["FIELDS", "Usage"]

_ADVICE: Final = (
    " Consider using smaller limits in your queries, paginating your queries, or using indexed queries with a "
    "selective index range expressions."
)

_TEXTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "documents_read": (
        "TooManyDocumentsRead",
        "Too many documents read in a single function execution (limit: {limit})." + _ADVICE,
        "Many documents read in a single function execution (actual: {used}, limit: {limit}).",
    ),
    "bytes_read": (
        "TooManyBytesRead",
        "Too many bytes read in a single function execution (limit: {limit} bytes)." + _ADVICE,
        "Many bytes read in a single function execution (actual: {used} bytes, limit: {limit} bytes).",
    ),
    "database_queries": (
        "TooManyReads",
        "Too many reads in a single function execution (limit: {limit})." + _ADVICE,
        "Many reads in a single function execution (actual: {used}, limit: {limit}).",
    ),
    "documents_written": (
        "TooManyWrites",
        "Too many writes in a single function execution (limit: {limit}). Split the work into several mutations.",
        "Many writes in a single function execution (actual: {used}, limit: {limit}).",
    ),
    "bytes_written": (
        "TooManyBytesWritten",
        "Too many bytes written in a single function execution (limit: {limit} bytes). Split the work into several mutations.",
        "Many bytes written in a single function execution (actual: {used} bytes, limit: {limit} bytes).",
    ),
    "functions_scheduled": (
        "TooManyFunctionsScheduled",
        "Too many functions scheduled by this mutation (limit: {limit})",
        "Many functions scheduled by this mutation (actual: {used}, limit: {limit}).",
    ),
    "scheduled_arguments_bytes": (
        "ScheduledFunctionsArgumentsTooLarge",
        "Too large total size of the arguments of scheduled functions from this mutation (limit: {limit} bytes)",
        "Large total size of the arguments of scheduled functions (actual: {used} bytes, limit: {limit} bytes).",
    ),
}

FIELDS: Final = tuple(_TEXTS)
WARN_AT: Final = 0.8


class Usage:
    """Counters, one attribute per field of `FIELDS`, and what each may reach.

    `fatal` holds the error once a limit of the whole function was passed: such a transaction cannot commit, whether the
    error was caught or not. A narrower budget (`narrow`) of a sub-transaction leaves it None. `sizes_observed` is set when
    the function could tell how large the documents were that it read, so that its result depends on all of their fields.
    """

    __slots__ = (*FIELDS, "caps", "fatal", "limits", "sizes_observed")

    def __init__(self, limits: Limits) -> None:
        self.documents_read = 0
        self.bytes_read = 0
        self.database_queries = 0
        self.documents_written = 0
        self.bytes_written = 0
        self.functions_scheduled = 0
        self.scheduled_arguments_bytes = 0
        self.limits = limits
        self.caps: Limits = limits
        self.fatal: LimitExceeded | None = None
        self.sizes_observed = False

    def read_document(self, size: int) -> None:
        self.documents_read += 1
        self.bytes_read += size
        caps = self.caps
        if self.documents_read > caps.documents_read:
            self._exceeded("documents_read")
        if self.bytes_read > caps.bytes_read:
            self._exceeded("bytes_read")

    def query(self) -> None:
        self.database_queries += 1
        if self.database_queries > self.caps.database_queries:
            self._exceeded("database_queries")

    def write_document(self, size: int) -> None:
        self.documents_written += 1
        self.bytes_written += size
        caps = self.caps
        if self.documents_written > caps.documents_written:
            self._exceeded("documents_written")
        if self.bytes_written > caps.bytes_written:
            self._exceeded("bytes_written")

    def schedule(self, arguments_size: int) -> None:
        self.functions_scheduled += 1
        self.scheduled_arguments_bytes += arguments_size
        caps = self.caps
        if self.functions_scheduled > caps.functions_scheduled:
            self._exceeded("functions_scheduled")
        if self.scheduled_arguments_bytes > caps.scheduled_arguments_bytes:
            self._exceeded("scheduled_arguments_bytes")

    def narrow(self, budget: Mapping[str, int]) -> Limits:
        """Allow only `budget` more from here on, per field and never more than now; returns the caps to go back to.

        Raises ValueError for an unknown field.
        """
        self.sizes_observed |= "bytes_read" in budget
        before = self.caps
        changes: dict[str, int] = {}
        for name, amount in budget.items():
            if name not in _TEXTS:
                raise ValueError(f"unknown limit {name!r}: one of {', '.join(FIELDS)}")
            changes[name] = min(getattr(before, name), getattr(self, name) + int(amount))
        values = {f: getattr(before, f) for f in before.__struct_fields__}
        self.caps = Limits(**{**values, **changes})
        return before

    def remaining(self, name: str) -> int:
        return max(0, getattr(self.caps, name) - getattr(self, name))

    def warnings(self) -> list[str]:
        """A line for each limit of which more than four fifths are used."""
        lines: list[str] = []
        for name, (_, _, text) in _TEXTS.items():
            used, limit = getattr(self, name), getattr(self.limits, name)
            if used > limit * WARN_AT:
                lines.append(text.format(used=used, limit=limit))
        return lines

    def _exceeded(self, name: str) -> None:
        self.sizes_observed |= name == "bytes_read"
        code, text, _ = _TEXTS[name]
        error = LimitExceeded(text.format(limit=getattr(self.caps, name)), code=code)
        if getattr(self, name) > getattr(self.limits, name):
            self.fatal = error
        raise error
