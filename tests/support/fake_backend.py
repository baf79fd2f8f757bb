"""A `Backend` of a few lines: named counters with a commit clock, whose every step a test can hold back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from reactor.auth.identity import Caller
from reactor.runtime.waist import Cut, Deliver, Failure, Outcome, QueryUpdate, Success, Version

START_TS = 1_700_000_000_000_000_000


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class FakeSubscriber:
    def __init__(self, backend: FakeBackend, caller: Caller) -> None:
        self.backend, self.caller = backend, caller
        self.queries: dict[int, tuple[str, bytes, str | None]] = {}
        self.told: dict[int, Version] = {}
        self.stale = False
        self.closed = False
        self.busy = False
        self.cuts = 0
        self._deliver: Deliver | None = None
        self._task: asyncio.Task[None] | None = None
        backend.subscribers.append(self)

    def add(self, query_id: int, path: str, args: bytes, journal: str | None = None) -> None:
        assert not self.busy, "the query set must not change under a cut"
        assert query_id not in self.queries
        self.queries[query_id] = (path, args, journal)
        self.stale = True

    def remove(self, query_id: int) -> None:
        assert not self.busy
        del self.queries[query_id]
        self.told.pop(query_id, None)

    def set_caller(self, caller: Caller) -> None:
        assert not self.busy
        self.caller = caller
        self.stale = True

    def pull(self, deliver: Deliver, not_before: int | None = None) -> None:
        assert not self.busy, "only one cut at a time"
        self._deliver = deliver
        if not_before is not None or self.stale:
            self._begin(not_before or 0)

    def withdraw(self) -> None:
        self._deliver = None
        self.busy = False
        if self._task is not None:
            self._task.cancel()

    def wake(self) -> None:
        self.stale = True
        if self._deliver is not None and not self.busy:
            self._begin(0)

    def _begin(self, not_before: int) -> None:
        self.busy = True
        self.cuts += 1
        self.stale = False
        self._task = asyncio.get_running_loop().create_task(self._compute(not_before))

    async def _compute(self, not_before: int) -> None:
        await self.backend.gate("cut")
        while self.backend.processed_ts < not_before:
            await asyncio.sleep(0)
        updates = []
        for query_id, (path, args, journal) in self.queries.items():
            try:
                outcome = self.backend.run_query(path, args, self.caller, journal)
            except Exception as error:
                self._end(error)
                return
            old = self.told.get(query_id)
            if old is None or old.outcome != outcome:
                version = Version(0, outcome)
                self.told[query_id] = version
                updates.append(QueryUpdate(query_id, version))
        self._end(Cut(self.backend.processed_ts, updates))

    def _end(self, cut: Cut | Exception) -> None:
        deliver, self._deliver = self._deliver, None
        self._task = None
        self.busy = False
        assert deliver is not None
        if deliver(cut):
            self.pull(deliver)

    def close(self) -> None:
        self.closed = True
        self.withdraw()


class FakeBackend:
    """Counters: `counters:get {name}`, `counters:add {name, by}`. Others: see `run_query` and `run_mutation`."""

    def __init__(self) -> None:
        self.processed_ts = START_TS
        self.counters: Counter[str] = Counter()
        self.subscribers: list[FakeSubscriber] = []
        self.mutations: deque[tuple[Any, ...]] = deque()
        self.ran: list[tuple[str, bytes, Caller]] = []
        self.request_ids: list[str | None] = []
        self.records: dict[tuple[str, int], Success] = {}
        self.actions_running = 0
        self.actions_ended = 0
        self.redacted = False
        self.big = "x"
        self._gates: dict[str, asyncio.Event] = {}
        self._scheduled = False

    # --- holding things back

    def hold(self, what: str) -> asyncio.Event:
        """Hold back "cut", "mutation" or "action"; set the event to let them go on."""
        self._gates[what] = asyncio.Event()
        return self._gates[what]

    async def gate(self, what: str) -> None:
        if (event := self._gates.get(what)) is not None:
            await event.wait()

    # --- the waist

    def subscriber(self, caller: Caller, *, door: str = "SyncWorker") -> FakeSubscriber:
        return FakeSubscriber(self, caller)

    async def query(
        self, path: str, args: bytes, caller: Caller, *, at_ts: int | None = None, asked_by: str = ""
    ) -> Outcome:
        return self.run_query(path, args, caller, None)

    def mutation(
        self,
        path: str,
        args: bytes,
        caller: Caller,
        done: Callable[[Outcome], None],
        *,
        session: tuple[str, int] | None = None,
        request_id: str | None = None,
    ) -> None:
        self.request_ids.append(request_id)
        self.mutations.append((path, args, caller, done, session))
        if not self._scheduled:
            self._scheduled = True
            task = asyncio.get_running_loop().create_task(self._drain())
            self._task = task

    async def _drain(self) -> None:
        await self.gate("mutation")
        self._scheduled = False
        batch, self.mutations = self.mutations, deque()
        ts = self.processed_ts
        answers = []
        for path, args, caller, done, session in batch:
            ts += 1000
            if session is not None and session in self.records:
                outcome: Outcome = self.records[session]
            else:
                self.ran.append((path, args, caller))
                outcome = self.run_mutation(path, args, caller, ts)
                if session is not None and isinstance(outcome, Success):
                    self.records[session] = outcome
            answers.append((done, outcome))
        # In the order of engine rule 11: responses into outboxes, then P, then waking up.
        for done, outcome in answers:
            done(outcome)
        self.processed_ts = ts
        self.wake()

    def wake(self) -> None:
        for subscriber in self.subscribers:
            subscriber.wake()

    def commit(self, name: str, by: int = 1) -> int:
        """Somebody else's write."""
        self.processed_ts += 1000
        self.counters[name] += by
        self.wake()
        return self.processed_ts

    async def action(
        self, path: str, args: bytes, caller: Caller, *, request_id: str | None = None, door: str = "HttpApi"
    ) -> Outcome:
        self.actions_running += 1
        try:
            await self.gate("action")
            return self.run_any(path, args, caller)
        finally:
            self.actions_running -= 1
            self.actions_ended += 1

    async def call(self, path: str, args: bytes, caller: Caller, *, request_id: str | None = None) -> Outcome:
        return self.run_any(path, args, caller)

    async def pin_snapshot(self) -> int:
        return self.processed_ts

    # --- functions

    def run_query(self, path: str, args: bytes, caller: Caller, journal: str | None) -> Outcome:
        given = json.loads(args)
        if path == "counters:get":
            value = self.counters[given["name"]]
            if value < 0:
                return self._failure("Uncaught Error: negative")
            if value == 13:
                return Failure("Uncaught ConvexError: bad luck", data=b'{"luck":"bad"}')
            return Success(encoded(value))
        if path == "counters:page":
            return Success(b"[]", journal=journal or f"end{self.counters['page']}")
        if path == "big:get":
            return Success(encoded(self.big))
        return self.run_any(path, args, caller)

    def run_mutation(self, path: str, args: bytes, caller: Caller, ts: int) -> Outcome:
        given = json.loads(args)
        if path == "counters:add":
            self.counters[given["name"]] += given.get("by", 1)
            return Success(encoded(self.counters[given["name"]]), ts=ts)
        if path == "counters:read":
            return Success(encoded(self.counters[given["name"]]), ts=self.processed_ts)
        outcome = self.run_any(path, args, caller)
        return Success(outcome.value, outcome.log_lines, ts) if isinstance(outcome, Success) else outcome

    def run_any(self, path: str, args: bytes, caller: Caller) -> Outcome:
        if path == "demo:echo":
            return Success(args)
        if path == "demo:log":
            return Success(b"null", ("[LOG] 'hello'", "[WARN] 'ünï'"))
        if path == "demo:boom":
            return self._failure("Uncaught Error: boom", ("[LOG] 'before'",))
        if path == "demo:convexError":
            return self._failure("Uncaught ConvexError: bad", data=b'{"why":"bad"}')
        if path == "demo:overloaded":
            return Failure("Too many requests", code="TooManyConcurrentRequests", overloaded=True)
        if path == "demo:values":
            return Success(
                b'{"big":{"$integer":"IQAAAAAAAAA="},"bytes":{"$bytes":"AQID"},"nan":{"$float":"AAAAAAAA+H8="},"one":1}'
            )
        if path == "auth:whoami":
            return Success(encoded(caller.user.to_value() if caller.user else None))
        if path == "internal:secret" and caller.is_admin:
            return Success(b'"secret"')
        return Failure(f"Could not find public function for '{path}'.", code="FunctionNotFound")

    def _failure(self, message: str, logs: tuple[str, ...] = (), data: bytes | None = None) -> Failure:
        if self.redacted:
            return Failure("[Request ID: 0123456789abcdef] Server Error", data)
        return Failure(f"[Request ID: 0123456789abcdef] Server Error\n{message}\n", data, logs)
