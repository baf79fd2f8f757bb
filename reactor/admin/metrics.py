"""`GET /metrics`: the deployment's numbers in Prometheus' text format.

The numbers are kept by those whose they are; a collector in a registry of its own reads them when it is asked. Several
deployments in one process don't mix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from reactor.admin.function_log import FunctionLog
from reactor.admin.function_metrics import BUCKETS_S, FunctionMetrics
from reactor.engine.database import Database
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, HttpError, Request
from reactor.runtime.backend import LiveBackend
from reactor.sync.server import SyncServer
from reactor.workers.scheduler import Scheduler

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["MetricsApi"]

CHARTS: Final = (
    "udf_rate", "cache_hit_percentage", "cache_hit_percentage_top_k", "latency_percentiles", "scheduled_job_lag",
    "failure_percentage_top_k", "function_call_count_top_k", "function_concurrency", "subscription_invalidations_top_k",
)  # fmt: skip
"""What dashboards draw. Source: deployment-api 10.2."""
_LOOPBACK: Final = ("127.", "::1", "::ffff:127.")


class MetricsApi:
    """For operators; with `open_on_loopback` also for everybody who asks from this machine."""

    def __init__(
        self,
        *,
        functions: FunctionMetrics,
        log: FunctionLog,
        database: Database,
        backend: LiveBackend,
        scheduler: Scheduler,
        sync: SyncServer,
        who_asks: WhoAsks,
        open_on_loopback: bool,
        version: str,
    ) -> None:
        self._functions, self._log, self._database, self._backend = functions, log, database, backend
        self._scheduler, self._sync = scheduler, sync
        self._who_asks, self._open_on_loopback, self._version = who_asks, open_on_loopback, version
        self._registry: Any = None

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        charts = {("GET", f"/api/app_metrics/{name}"): self.app_metrics for name in CHARTS}
        return {("GET", "/metrics"): self.metrics, **charts}

    async def metrics(self, request: Request) -> None:
        """GET /metrics"""
        host = (request.scope.get("client") or ("",))[0]
        if not (self._open_on_loopback and host.startswith(_LOOPBACK)):
            await require_admin(request, self._who_asks)
        # Imported when first asked for: a server that nobody watches need not load it.
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
            ProcessCollector(registry=self._registry)
        body = generate_latest(self._registry)
        headers = [(b"content-type", CONTENT_TYPE_PLAIN_0_0_4.encode("ascii")), (b"cache-control", b"no-store")]
        await request.answer_raw(body, headers)

    async def app_metrics(self, request: Request) -> None:
        """GET /api/app_metrics/…: Convex's dashboard draws charts over time; we keep the newest numbers only."""
        await require_admin(request, self._who_asks)
        raise HttpError(
            400, "NoTimeSeries", f"{request.path} needs numbers over time, which are not kept here: collect /metrics."
        )

    def describe(self) -> Iterable[Metric]:
        """For the registry: names are not looked at when registering."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All numbers as of now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        def counter(name: str, text: str, value: float) -> Metric:
            return CounterMetricFamily(f"reactor_{name}", text, value=value)

        def gauge(name: str, text: str, value: float) -> Metric:
            return GaugeMetricFamily(f"reactor_{name}", text, value=value)

        yield InfoMetricFamily("reactor", "The server.", value={"version": self._version})
        yield from self._by_function()
        live, database = self._backend.live, self._database
        yield counter("query_cache_hits", "Queries that were answered with a result that was there.", live.cache_hits)
        yield counter("query_cache_misses", "Queries that had to run.", live.runs)
        yield gauge("live_queries", "Queries with a result in memory, followed or cached.", live.entry_count)
        yield gauge("subscriptions", "Queries that clients follow, each client counted.", live.subscription_count)
        reruns = CounterMetricFamily("reactor_live_query_runs", "Runs of followed queries by cause.", labels=["cause"])
        for cause, count in live.reruns.counts.items():
            reruns.add_metric([cause], count)
        yield reruns
        yield counter("commits", "Transactions that were committed.", database.commits)
        batches = database.batches
        yield _histogram("commit_batch_size", "Transactions in one commit to disk.", batches.sizes, batches.committed)
        yield _histogram("commit_seconds", "How long a commit to disk took.", batches.seconds, batches.total_s)
        yield gauge("writer_queue", "Mutations that wait for the writer.", database.waiting_jobs)
        yield gauge("wal_bytes", "Size of the write-ahead log.", database.store.wal_bytes())
        vectors = self._backend.vectors
        yield gauge("vector_index_bytes", "Memory that vector indexes take, about.", vectors.memory_bytes)
        yield gauge("vectors", "Vectors in memory.", sum(vectors.counts.values()))
        yield gauge("websocket_connections", "Clients connected over WebSocket.", self._sync.connections)
        yield gauge("actions_running", "Actions that run.", self._backend.running_actions)
        yield gauge("scheduled_functions_running", "Scheduled functions that run.", self._scheduler.running)
        yield gauge(
            "scheduled_functions_lag_seconds", "How late the next scheduled function is.", self._scheduler.lag_s
        )
        yield counter("log_waits", "Requests that had to wait for log entries.", self._log.waits)
        yield gauge("log_followers", "Requests that wait for log entries.", self._log.followers)

    def _by_function(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        labels = ["function", "kind"]
        executions = CounterMetricFamily(
            "reactor_function_executions", "Executions that ended, without cached results.", labels=[*labels, "outcome"]
        )
        cached = CounterMetricFamily("reactor_function_cached", "Queries answered from the cache.", labels=labels)
        durations = HistogramMetricFamily(
            "reactor_function_duration_seconds", "Time in the function, without waiting for its turn.", labels=labels
        )
        for (kind, path), stats in list(self._functions.functions.items()):
            executions.add_metric([path, kind, "success"], stats.successes)
            for outcome, count in stats.failures.items():
                executions.add_metric([path, kind, outcome], count)
            if stats.cached:
                cached.add_metric([path, kind], stats.cached)
            durations.add_metric([path, kind], _buckets(BUCKETS_S, stats.buckets), stats.seconds)
        yield executions
        yield cached
        yield durations


def _histogram(name: str, text: str, counts: tuple[tuple[float, ...], list[int]], total: float) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(f"reactor_{name}", text, buckets=_buckets(*counts), sum_value=total)


def _buckets(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    return list(zip([*map(str, bounds), "+Inf"], accumulate(counts), strict=True))
