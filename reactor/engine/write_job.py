"""What the writer runs: a job, and what became of it."""

from __future__ import annotations

from typing import Protocol

from reactor.engine.commit_record import CommitRecord
from reactor.engine.write_transaction import WriteTransaction
from reactor.store.protocol import RequestRecord

__all__ = ["Done", "Nobody", "WriteJob"]


class WriteJob(Protocol):
    """A mutation, or anything else that writes."""

    lane: str
    """Jobs of one lane run in the order they were submitted."""
    request: tuple[str, int] | None
    """(session, request id): a success is recorded under it, and answered from the record if it comes again."""
    usual_s: float
    """How long it usually runs; a batch is committed before a long one starts."""
    background: bool
    """Scheduled work, backfill, pruning: at most a quarter of a batch while others wait."""
    by: tuple[str, str] | None
    """The function it runs and the id of its request, once it has run: for the commit record."""

    def execute(self, tx: WriteTransaction) -> bytes:
        """Run on the writer's thread. The bytes returned are kept for `request`. Raises to roll back."""
        ...

    def replay(self, record: RequestRecord) -> None:
        """It succeeded before: take the outcome from the record. On the writer's thread."""
        ...

    def succeed(self, ts: int) -> None:
        """On the event loop, once its commit is durable and published up to this job's order. `ts`: of its commit."""
        ...

    def fail(self, error: BaseException) -> None:
        """On the event loop: it was rolled back, or never ran."""
        ...


class Done:
    """A job with what became of it."""

    __slots__ = ("error", "job", "record", "ts")

    def __init__(self, job: WriteJob, error: BaseException | None, record: CommitRecord | None, ts: int) -> None:
        self.job, self.error, self.record, self.ts = job, error, record, ts


class Nobody:
    """The job of a commit that nobody asked for by itself."""

    lane = ""
    request: tuple[str, int] | None = None
    usual_s = 0.0
    background = True
    by: tuple[str, str] | None = None

    def execute(self, tx: WriteTransaction) -> bytes:
        raise AssertionError("never run")

    def replay(self, record: RequestRecord) -> None:
        raise AssertionError("never run")

    def succeed(self, ts: int) -> None:
        return

    def fail(self, error: BaseException) -> None:
        return
