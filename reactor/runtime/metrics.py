"""`ctx.metrics`: what the transaction has used of its limits so far, and what is left."""

from __future__ import annotations

from reactor.engine.usage import Usage

__all__ = ["Metric", "Metrics"]


class Metric:
    """One counter: `used`, and how much is `remaining` before LimitExceeded."""

    __slots__ = ("_name", "_usage")

    def __init__(self, usage: Usage, name: str) -> None:
        self._usage = usage
        self._name = name

    @property
    def used(self) -> int:
        return getattr(self._usage, self._name)

    @property
    def remaining(self) -> int:
        return self._usage.remaining(self._name)

    def __repr__(self) -> str:
        return f"<{self._name}: {self.used} used, {self.remaining} remaining>"


class Metrics:
    """The counters of one transaction. They move as the function goes on."""

    __slots__ = ("_usage",)

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    @property
    def documents_read(self) -> Metric:
        return Metric(self._usage, "documents_read")

    @property
    def bytes_read(self) -> Metric:
        self._usage.sizes_observed = True
        return Metric(self._usage, "bytes_read")

    @property
    def database_queries(self) -> Metric:
        return Metric(self._usage, "database_queries")

    @property
    def documents_written(self) -> Metric:
        return Metric(self._usage, "documents_written")

    @property
    def bytes_written(self) -> Metric:
        return Metric(self._usage, "bytes_written")

    @property
    def functions_scheduled(self) -> Metric:
        return Metric(self._usage, "functions_scheduled")

    @property
    def scheduled_arguments_bytes(self) -> Metric:
        return Metric(self._usage, "scheduled_arguments_bytes")
