"""OpenTelemetry traces of executions, with the extra `reactor[otel]`: a span each, below what called it.

A listener of executions: spans are made when the outermost execution has ended, from the times that were measured, so a
function that runs does no more work for being traced. A request that carries a `traceparent` header is the parent of what
it runs. Below a mutation that did not fail, a span `commit` tells how long it then waited for the rest of its batch and for the
disk; the mutation's own lasts until then, as its caller's wait does. Nothing of OpenTelemetry is imported unless a deployment is given a tracer.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from reactor.config import ConfigError
from reactor.runtime.executions import Executions, Finished, wall_clock_ns

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["Tracing", "exporting_provider"]

WAITING_MOST: Final = 10_000
"""Executions that wait for the end of their action, and parents that wait for their executions; the oldest are let go."""
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def exporting_provider() -> TracerProvider:
    """One that sends spans by OTLP, where OpenTelemetry's own settings say. Raises ConfigError without the extra."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError("traces needs OpenTelemetry: pip install 'reactor[otel]'") from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Makes spans with tracers of `provider`. Lives on the event loop."""

    def __init__(self, executions: Executions, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("reactor")
        self._children: OrderedDict[str, list[tuple[Finished, int]]] = OrderedDict()
        """By the action that they wait for, with when they were told of, in nanoseconds since 1970."""
        self._parents: OrderedDict[str, Any] = OrderedDict()
        """Contexts by request id."""
        self.stop = executions.listen(self._finished)

    def request(self, request_id: str, traceparent: bytes) -> None:
        """A request is about to run something; headers that are none are ignored."""
        match = _TRACEPARENT.fullmatch(traceparent.strip())
        if match is None:
            return
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        trace_id, span_id, flags = (int(part, 16) for part in match.groups())
        if trace_id and span_id:
            parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
            self._parents[request_id] = set_span_in_context(NonRecordingSpan(parent))
            if len(self._parents) > WAITING_MOST:
                self._parents.popitem(last=False)

    def _finished(self, finished: Finished) -> None:
        told_ns = wall_clock_ns()
        if finished.parent is None:
            request_id = finished.asked_by or finished.request_id
            self._make(finished, told_ns, self._parents.pop(request_id, None))
            return
        self._children.setdefault(finished.parent, []).append((finished, told_ns))
        if len(self._children) > WAITING_MOST:
            self._children.popitem(last=False)

    def _make(self, finished: Finished, told_ns: int, context: Any) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        attributes: dict[str, Any] = {
            "reactor.kind": finished.kind,
            "reactor.request_id": finished.request_id,
            "reactor.caller": finished.door,
            "reactor.cached": finished.is_cached,
        }
        if (usage := finished.usage) is not None:
            attributes["reactor.documents_read"] = usage.documents_read
            attributes["reactor.documents_written"] = usage.documents_written
        if finished.ts and finished.kind == "mutation":
            attributes["reactor.commit_ts"] = finished.ts
        if finished.status:
            attributes["http.response.status_code"] = finished.status
        span = self._tracer.start_span(
            finished.path if finished.is_known else "(unknown)",
            # An empty one, not None: that would be whatever span the listener happens to run in.
            context=Context() if context is None else context,
            kind=SpanKind.INTERNAL if finished.parent is not None else SpanKind.SERVER,
            attributes=attributes,
            start_time=finished.began_ns,
        )
        if finished.error is not None:
            span.set_status(Status(StatusCode.ERROR, finished.error.partition("\n")[0]))
        for child, child_told_ns in self._children.pop(finished.id, ()):
            self._make(child, child_told_ns, set_span_in_context(span))
        ended_ns = finished.began_ns + int(finished.seconds * 1e9)
        if finished.kind == "mutation" and finished.ts:
            commit = self._tracer.start_span("commit", context=set_span_in_context(span), start_time=ended_ns)
            ended_ns = max(ended_ns, told_ns)
            commit.end(ended_ns)
        span.end(ended_ns)
