"""A mutation on its way through the committer: run on the writer's thread, told about on the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from reactor.auth.identity import Caller
from reactor.engine.write_transaction import WriteTransaction
from reactor.runtime.execute import Execution, execute_mutation
from reactor.runtime.logs import LogLine, line_texts
from reactor.runtime.registry import RegisteredFunction
from reactor.store.protocol import RequestRecord

if TYPE_CHECKING:
    from reactor.runtime.app import App
    from reactor.runtime.host import Host

__all__ = ["MutationJob"]


class _Payload(msgspec.Struct, array_like=True, frozen=True):
    """What is kept under a session's request: enough to answer it again."""

    value: bytes
    log_lines: tuple[str, ...]
    """As texts: a client that asks again gets what it would have got."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Payload)


class MutationJob:
    """See `engine.committer.WriteJob`. `finished(execution or error, ts)` is called once, on the event loop."""

    __slots__ = (
        "_app", "_args", "_caller", "_execution", "_finished", "_fn", "_host", "_request_id", "background", "by",
        "lane", "request", "usual_s",
    )  # fmt: skip

    def __init__(
        self,
        app: App,
        fn: RegisteredFunction,
        args: bytes,
        caller: Caller,
        host: Host,
        finished: Callable[[Execution | BaseException, int], None],
        *,
        lane: str,
        request: tuple[str, int] | None = None,
        request_id: str,
        background: bool = False,
    ) -> None:
        self._app, self._fn, self._args, self._caller, self._host = app, fn, args, caller, host
        self._finished = finished
        self._request_id = request_id
        self.by: tuple[str, str] | None = (fn.path, request_id)
        self._execution: Execution | None = None
        self.lane = lane
        self.request = request
        self.usual_s = fn.usual_s
        self.background = background

    def execute(self, tx: WriteTransaction) -> bytes:
        fn = self._fn
        guard = self._host.poison if self.request is not None else None
        if guard is not None and self.request is not None:
            guard.enter(*self.request)
        began = time.monotonic()
        try:
            self._execution = execution = execute_mutation(
                self._app, fn, self._args, tx, self._caller, host=self._host, request_id=self._request_id
            )
        finally:
            if guard is not None and self.request is not None:
                guard.leave()
                guard.survived(*self.request)
            fn.usual_s = fn.usual_s * 0.8 + (time.monotonic() - began) * 0.2
        if self.request is None:
            return b""
        return _encoder.encode(_Payload(execution.value, line_texts(execution.log_lines)))

    def replay(self, record: RequestRecord) -> None:
        payload = _decoder.decode(record.payload)
        self._execution = Execution(payload.value, tuple(map(LogLine.of_text, payload.log_lines)))

    def succeed(self, ts: int) -> None:
        assert self._execution is not None
        self._finished(self._execution, ts)

    def fail(self, error: BaseException) -> None:
        self._finished(error, 0)
