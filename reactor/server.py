"""The composition root: builds store, database, backend and doors from settings, and starts and stops them in order.

Nothing here is global: several `Reactor`s live in one process, each on a data directory of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from reactor.admin import system as _system  # noqa: F401  # makes its functions part of every app
from reactor.admin.backup import BackupApi
from reactor.admin.deployment import DeploymentApi
from reactor.admin.environment import EnvironmentApi
from reactor.admin.function_log import FunctionLog
from reactor.admin.function_metrics import FunctionMetrics
from reactor.admin.health import HealthApi
from reactor.admin.jobs import JobsApi
from reactor.admin.log_stream import LogApi
from reactor.admin.metrics import MetricsApi
from reactor.admin.shapes import ShapesApi
from reactor.admin.tables import TablesApi
from reactor.admin.tracing import Tracing
from reactor.admin.transfer import TransferApi
from reactor.auth.admin_key import AdminKeys
from reactor.auth.headers import Gatekeeper
from reactor.auth.identities import Identities
from reactor.auth.identity import Caller
from reactor.auth.kept_key import KeptAdminKey, KeptKey, migrate_key, provide_key
from reactor.clock import Clock, ManualClock, SystemClock
from reactor.codegen.openapi_api import OpenApiApi
from reactor.config import ConfigError, Settings, load_settings
from reactor.engine.backfill import Progress
from reactor.engine.database import Database
from reactor.errors import ReactorError
from reactor.http.access import require_admin
from reactor.http.api import FunctionApi
from reactor.http.request import HttpError, Receive, Request, Scope, Send
from reactor.http.router import Router
from reactor.http.site import Site
from reactor.http.status_page import ListedFunction, render_status_page
from reactor.http.storage import StorageApi
from reactor.kept import kept_secret, open_blobs
from reactor.kit.aggregate import use_aggregates
from reactor.kit.work import check_pools_soon
from reactor.model.deployment_events import record_push
from reactor.model.environment import EnvironmentVariables
from reactor.model.system_tables import ensure_system_tables
from reactor.restore import refuse_half_restored
from reactor.runtime.app import App
from reactor.runtime.backend import LiveBackend
from reactor.runtime.cron_declarations import declared_crons
from reactor.runtime.deployed import describe_app
from reactor.runtime.environment import loading_with
from reactor.runtime.executions import Executions, print_log_lines
from reactor.runtime.file_service import FILE_PATH, UPLOAD_PATH, FileService
from reactor.runtime.host import Host
from reactor.runtime.loader import AppLoader
from reactor.runtime.poison import PoisonGuard
from reactor.store.sqlite.retention import Retention
from reactor.store.sqlite.store import SqliteStore
from reactor.sync.server import SyncServer
from reactor.workers.backfill import BackfillWorker
from reactor.workers.crons import CronWorker
from reactor.workers.exporter import Exporter
from reactor.workers.file_collector import FileCollector
from reactor.workers.importer import Importer
from reactor.workers.reaper import Reaper
from reactor.workers.scheduler import Scheduler

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from reactor.runtime.registry import RegisteredFunction

__all__ = ["Reactor", "version"]

logger = logging.getLogger("reactor.server")


def version() -> str:
    """The version of the installed package."""
    from importlib.metadata import version

    return version("reactor")


class Reactor:
    """A deployment, as an ASGI application.

    `app` is the directory of `functions/` and `schema.py`. Served by itself it starts with the server's lifespan; mounted
    inside another application, with the first request, or with `lifespan=reactor.lifespan` of that application.
    """

    def __init__(
        self,
        app: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        tracer_provider: TracerProvider | None = None,
        isolated: bool = True,
        loaded: App | None = None,
        **options: Any,
    ) -> None:
        """`options` are fields of `Settings`, and win over the environment and pyproject.toml.

        `isolated` keeps the app's modules apart from the process's own (`functions` and `schema` are then private to it);
        `loaded` is an app to serve instead of loading one. Raises ConfigError.
        """
        self.settings = settings or load_settings(app, flags=options)
        self.clock: Clock = clock or (ManualClock() if self.settings.manual_clock else SystemClock())
        self.on_fatal: Callable[[BaseException], None] = self._log_fatal
        """Called when the store can't go on, from the event loop. The server should then be stopped and started again."""
        self.on_progress: Progress | None = None
        """Called while a schema change is brought to the documents: with what is going on, how many it has
        covered and about how many there are."""
        self._tracer_provider = tracer_provider
        self.executions = Executions()
        """Told of every function that was run."""
        self.executions.listen(print_log_lines)
        self.admin_keys: tuple[str, ...] = self.settings.admin_keys
        """The keys that are known here: those of the settings, or the one that was made. None, if only its hash is left."""
        self.kept_key: KeptKey | None = None
        """The key that was made and kept, when there is none in the settings."""
        self.broken: BaseException | None = None
        """What keeps the app's present code from being in force, in development."""
        bound = f"http://{self.settings.host}"
        self.serving_at(f"{bound}:{self.settings.port}", f"{bound}:{self.settings.site_port}")
        self._isolated = isolated
        self._deploying = asyncio.Lock()
        self._read_at_load: set[str] = set()
        self._loader: AppLoader | None = None
        self._loaded = loaded
        self._router: Router | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stop_with_loop: AsyncIterator[None] | None = None
        self._closing = contextlib.AsyncExitStack()

    # ------------------------------------------------------------------------------------------------ starting, stopping

    async def start(self, *, tolerate_broken_app: bool = False) -> None:
        """Open the database, load the app, open the doors. Does nothing when started.

        With `tolerate_broken_app` code that does not load is told on the status page, and reloading mends it. Raises
        ReactorError, or what the app's code raised.
        """
        if self._router is not None:
            return
        settings = self.settings
        refuse_half_restored(settings.data)
        async with contextlib.AsyncExitStack() as undo:
            store = SqliteStore(
                settings.data,
                readers=settings.readers,
                synchronous=settings.synchronous,
                clock=self.clock,
                retention=Retention.of(settings.limits),
            )
            database = Database(store, self.clock, settings.limits, on_fatal=lambda error: self.on_fatal(error))
            await database.open()
            # Behind the database in line: closing that runs what was accepted.
            guards = undo.enter_context(contextlib.ExitStack())
            undo.push_async_callback(database.close)
            await ensure_system_tables(database)
            poison = guards.enter_context(contextlib.closing(PoisonGuard(settings.data)))
            admin_keys = self._provide_admin_key()
            self.database = database
            self.environment = EnvironmentVariables(database)
            await self.environment.load()
            self.environment.listen(self._variables_changed)
            self.files = FileService(
                database,
                await open_blobs(settings, database),
                self.clock,
                settings.limits,
                secret=await kept_secret(database, "upload_key"),
                origin=lambda: self.url,
            )
            self.host = Host(
                limits=settings.limits,
                clock=self.clock,
                environment=_Environment(self),
                variables=self.environment,
                poison=poison,
                cursor_key=await kept_secret(database, "cursor_key"),
                dev=settings.dev,
                files=self.files,
            )
            self.log = FunctionLog(self.executions, self.clock)
            undo.callback(self.log.close)
            self._function_metrics = FunctionMetrics(self.executions)
            undo.callback(self._function_metrics.stop)
            tracing = self._tracing()
            if tracing is not None:
                undo.callback(tracing.stop)
            self._health = HealthApi(database, self._code_state)
            self.backend = LiveBackend(database, self.host, dev=settings.dev, executions=self.executions)
            undo.push_async_callback(self.backend.close)
            self.scheduler = Scheduler(database, self.backend)
            undo.push_async_callback(self.scheduler.close, settings.stop_grace_s)
            self.crons = CronWorker(database, self.backend, splay=settings.cron_splay)
            undo.push_async_callback(self.crons.close, settings.stop_grace_s)
            collector = FileCollector(self.files, database, self.clock)
            collector.start()
            undo.push_async_callback(collector.close)
            self.importer = Importer(database, self.files, settings.data / "transfer")
            self.exporter = Exporter(database, self.files, settings.data / "transfer")
            await self.importer.start()
            await self.exporter.start()
            undo.push_async_callback(self.importer.close)
            undo.push_async_callback(self.exporter.close)
            reaper = Reaper(database)
            reaper.start()
            undo.push_async_callback(reaper.close)
            self.backfills = BackfillWorker(database)
            undo.push_async_callback(self.backfills.close)
            self.identities = Identities.of(settings, self.clock)
            undo.push_async_callback(self.identities.close)
            try:
                await self._deploy()
            except Exception as error:
                if not tolerate_broken_app:
                    raise
                self.broken = error
            gatekeeper = Gatekeeper(admin_keys, self.identities, instance_name=settings.instance_name)
            self._sync = SyncServer(self.backend, gatekeeper, clock=self.clock, limits=settings.limits)
            self._functions_api = FunctionApi(self.backend, gatekeeper, limits=settings.limits)
            self._site = Site(self.backend, gatekeeper, limits=settings.limits)
            if tracing is not None:
                self._site.on_traceparent = tracing.request
            undo.push_async_callback(self._site.close, settings.stop_grace_s)
            storage = StorageApi(self.files, limits=settings.limits)
            self._deployment_api = DeploymentApi(lambda: (self.url, self.site_url), self._functions_api.caller)
            self._transfer_api = TransferApi(
                self.importer,
                self.exporter,
                self._functions_api.caller,
                limits=settings.limits,
                instance_name=settings.instance_name,
            )
            self._router = Router(
                self._functions_api,
                self._sync,
                version=version(),
                instance_name=settings.instance_name,
                site=self._site,
                routes=self._routes() | {("POST", UPLOAD_PATH): storage.upload},
                on_traceparent=None if tracing is None else tracing.request,
                routes_below={
                    ("GET", FILE_PATH): storage.download,
                    ("HEAD", FILE_PATH): storage.download,
                    **self._deployment_api.routes_below(),
                    **self._transfer_api.routes_below(),
                },
            )
            self.backfills.start()
            self._loop = asyncio.get_running_loop()
            self._closing = undo.pop_all()

    async def stop(self) -> None:
        """Close the sockets, finish what was accepted, close the database. Does nothing when not started."""
        router, self._router = self._router, None
        self._starting = None
        if router is None:
            return
        self._health.stopping = True
        self.log.close()
        self._sync.close_all()
        try:
            await self._sync.finish_actions(self.settings.stop_grace_s)
        finally:
            await self._closing.aclose()

    def quiesce(self) -> None:
        """Take no new sockets and close those there are; requests under way go on."""
        if self._router is not None:
            self._health.stopping = True
            self.log.close()
            self._site.quiesce()
            self._sync.close_all()

    async def reload(self) -> None:
        """Load the app's code afresh and put it into force; live queries run again.

        When it does not load, or the documents don't fit its schema, the code from before stays. Raises what was wrong.
        """
        try:
            await self._deploy()
        except Exception as error:
            self.broken = error
            raise
        self.broken = None

    async def _deploy(self) -> None:
        async with self._deploying:
            await self._put_into_force(self._load())

    def _load(self) -> App:
        if self._loaded is not None:
            return self._loaded
        read_before = self._read_at_load
        with loading_with(self.host.committed_variable) as self._read_at_load:
            try:
                if self._loader is None:
                    self._loader = AppLoader(self.settings.app, private=self._isolated)
                    return self._loader.load()
                return self._loader.reload()
            except Exception:
                self._read_at_load |= read_before  # which the code that stays in force had read
                raise

    def _variables_changed(self, names: frozenset[str]) -> asyncio.Task[None] | None:
        """Code that read a variable while it loaded (`auth_config`) is loaded again when that changes."""
        if names.isdisjoint(self._read_at_load):
            return None
        return asyncio.create_task(self._reload_for(names & self._read_at_load), name="reload for the environment")

    async def _reload_for(self, names: frozenset[str] | set[str]) -> None:
        try:
            await self.reload()
        except Exception as error:
            logger.error(
                "%s changed, but the app can't be loaded with it; the code from before keeps serving: %s",
                ", ".join(sorted(names)),
                error,
                exc_info=None if isinstance(error, ReactorError) else error,
            )

    async def _put_into_force(self, app: App) -> None:
        # Checked first: providers that can't be used keep the code from being put into force.
        identities = self.identities.check(app.modules)
        crons = declared_crons(app)
        await self.backend.deploy(app, progress=self.on_progress)
        await use_aggregates(self.database, app)
        await self.database.write(check_pools_soon)
        await self.scheduler.start()
        await self.crons.use(crons)
        self.identities.use(identities)
        deployed = describe_app(app, crons, [provider.describe() for provider in identities.providers])
        try:
            await self.database.write(lambda tx: record_push(tx, deployed))
        except ReactorError as error:  # the code is in force all the same
            logger.warning("the history of deploys has no entry for this one: %s", error)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Any = None) -> AsyncIterator[None]:
        """For `FastAPI(lifespan=reactor.lifespan)` and `async with reactor.lifespan():`."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def __aenter__(self) -> Reactor:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def serving_at(self, url: str, site_url: str) -> None:
        """Tell where clients reach us, once that is known."""
        public = self.settings.public_url
        self.url = public or url
        self.site_url = self.settings.public_site_url or (site_url if public is None else f"{public.rstrip('/')}/http")

    # --------------------------------------------------------------------------------------------------------------- ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._router is None or self._loop is not asyncio.get_running_loop():
            try:
                await self._start_at_first_request()
            except Exception as error:
                await _refuse(error, scope, receive, send)
                return
        assert self._router is not None
        await self._router(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:
            traceback.print_exception(error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start_at_first_request(self) -> None:
        """Mounted applications get no lifespan: the first request starts the engine, and the end of its loop stops it."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise RuntimeError("this Reactor runs on another event loop; make one Reactor per loop")
            self._router, self._starting = None, None
        if self._starting is None:
            self._starting = asyncio.create_task(self._start_until_loop_ends(), name="reactor start")
        try:
            await asyncio.shield(self._starting)
        except Exception:
            self._starting = None  # the next request tries again
            raise

    async def _start_until_loop_ends(self) -> None:
        await self.start()
        if self.settings.switch_interval_s and sys.getswitchinterval() > self.settings.switch_interval_s:
            logger.info(
                "threads of this process take turns of %g s; sys.setswitchinterval(%g) makes reactor answer sooner "
                "while queries run",
                sys.getswitchinterval(),
                self.settings.switch_interval_s,
            )

        async def stop_at_the_end() -> AsyncIterator[None]:
            try:
                yield
            finally:
                await self.stop()

        # Event loops close the async generators that still run when they end: the only end that a mounted app is told.
        self._stop_with_loop = stop_at_the_end()
        await anext(self._stop_with_loop)

    async def site(self, scope: Scope, receive: Receive, send: Send, caller: Caller | None = None) -> None:
        """The application of the site port, where HTTP actions are served at the root.

        `caller` asks, whatever the request's headers say (tests).
        """
        if scope["type"] == "lifespan":
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        await self._site(scope, receive, send, caller=caller)

    # ------------------------------------------------------------------------------------------------------ small routes

    @property
    def router(self) -> Router:
        """What answers requests once started: for servers that start and stop us themselves."""
        assert self._router is not None, "not started"
        return self._router

    @property
    def functions(self) -> Mapping[str, RegisteredFunction]:
        """The app's functions in force, by path."""
        return self.backend.app.functions

    def _routes(self) -> dict[tuple[str, str], Callable[[Request], Awaitable[None]]]:
        routes: dict[tuple[str, str], Callable[[Request], Awaitable[None]]] = {("GET", "/"): self._status}
        openapi = OpenApiApi(
            lambda: self.backend.app,
            self._functions_api.caller,
            public=self.settings.openapi if self.settings.openapi is not None else self.settings.dev,
            url=lambda: self.url,
            version=version(),
        )
        routes.update(openapi.routes())
        routes.update(self._deployment_api.routes())
        who_asks = self._functions_api.caller
        routes.update(EnvironmentApi(self.environment, who_asks).routes())
        routes.update(JobsApi(self.database, who_asks).routes())
        routes.update(ShapesApi(self.database, who_asks).routes())
        routes.update(TablesApi(self.database, lambda: self.backend.app.schema, who_asks).routes())
        routes.update(self._transfer_api.routes())
        metrics = MetricsApi(
            functions=self._function_metrics,
            log=self.log,
            database=self.database,
            backend=self.backend,
            scheduler=self.scheduler,
            sync=self._sync,
            who_asks=who_asks,
            open_on_loopback=self.settings.open_metrics,
            version=version(),
        )
        routes.update(metrics.routes())
        routes.update(self._health.routes())
        routes.update(LogApi(self.log, who_asks, poll_s=self.settings.limits.log_poll_s).routes())
        routes.update(
            BackupApi(
                self.database,
                self.files,
                who_asks,
                scratch=self.settings.data,
                send_stall_s=self.settings.limits.send_stall_s,
                version=version(),
            ).routes()
        )
        if isinstance(self.clock, ManualClock):
            routes["POST", "/api/testing/advance_clock"] = self._advance_clock
        return routes

    def _tracing(self) -> Tracing | None:
        provider = self._tracer_provider
        if provider is None and self.settings.traces:
            try:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
                from opentelemetry.sdk.trace import TracerProvider
                from opentelemetry.sdk.trace.export import BatchSpanProcessor
            except ImportError:
                raise ConfigError("traces needs OpenTelemetry: pip install 'reactor[otel]'") from None
            made = TracerProvider()
            made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            provider = made
        return None if provider is None else Tracing(self.executions, provider)

    def _code_state(self) -> str:
        if not self.backend.has_app:
            return "missing"
        return "ok" if self.broken is None else "stale"

    async def _status(self, request: Request) -> None:
        headers: dict[bytes, bytes] = dict(request.scope["headers"])
        if b"text/html" not in headers.get(b"accept", b""):
            await request.answer_text("This Convex deployment is running. See https://docs.convex.dev/.")
            return
        root = request.scope.get("root_path", "").rstrip("/")
        host = headers.get(b"host", b"").decode("latin-1")
        url = f"{request.scope.get('scheme', 'http')}://{host}{root}" if host else self.url
        listed = None
        if self.settings.dev:
            listed = [_listed(fn) for fn in self.functions.values()]
        broken = None
        if self.broken is not None and self.settings.dev:
            broken = "".join(traceback.format_exception_only(self.broken)).strip()
        page = render_status_page(url, listed, version=version(), broken=broken)
        await request.answer_raw(
            page, [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
        )

    async def _advance_clock(self, request: Request) -> None:
        """POST /api/testing/advance_clock {"advance_ms": n}, for the operator: move the manual clock."""
        await require_admin(request, self._functions_api.caller)
        try:
            asked = msgspec.json.decode(await request.body(1000), type=_Advance)
        except msgspec.MsgspecError as error:
            raise HttpError(400, "BadJsonBody", f'Expected {{"advance_ms": milliseconds}}: {error}') from None
        if not 0 <= asked.advance_ms < 1e15:
            raise HttpError(400, "BadAdvance", "`advance_ms` must be a number of milliseconds from 0 up.")
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(round(asked.advance_ms * 1e6))
        await request.answer(msgspec.json.encode({"now_ms": self.clock.now_ns() / 1e6}))

    # -------------------------------------------------------------------------------------------------------------- parts

    def _provide_admin_key(self) -> AdminKeys:
        """Those of the settings; without any, the one whose hash is kept with the data, made at the first start."""
        settings = self.settings
        if settings.admin_keys:
            migrate_key(settings.data)
            self.admin_keys = settings.admin_keys
            return AdminKeys(self.admin_keys)
        self.kept_key = kept = provide_key(settings.data, settings.instance_name)
        self.admin_keys = () if kept.key is None else (kept.key,)
        if kept.is_new and kept.path is None:
            logger.warning("the admin key, shown this once because it can't be kept (%s): %s", kept.problem, kept.key)
        elif kept.is_new:
            logger.info("the admin key is kept in %s", kept.path)
        return KeptAdminKey(settings.data)

    def _log_fatal(self, error: BaseException) -> None:
        logger.critical("the database can't go on: %s. Restart the server.", error)


class _Advance(msgspec.Struct):
    advance_ms: float


class _Environment(Mapping[str, str]):
    """Environment variables as functions see them: the process's, and where this deployment is reached."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def _own(self) -> dict[str, str]:
        return {"CONVEX_CLOUD_URL": self._reactor.url, "CONVEX_SITE_URL": self._reactor.site_url}

    def __getitem__(self, name: str) -> str:
        own = self._own()
        return own[name] if name in own else os.environ[name]

    def __iter__(self) -> Any:
        return iter({**os.environ, **self._own()})

    def __len__(self) -> int:
        return len({**os.environ, **self._own()})


def _listed(fn: RegisteredFunction) -> ListedFunction:
    text = (fn.function.__doc__ or "").strip()
    return ListedFunction(fn.path, fn.kind, fn.is_internal, text.splitlines()[0] if text else "")


async def _refuse(error: BaseException, scope: Scope, receive: Receive, send: Send) -> None:
    """A mounted deployment that can't start: everybody is told to try later, the log why."""
    logger.error("reactor can't start: %s", error, exc_info=None if isinstance(error, ReactorError) else error)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013})
        return
    request = Request(scope, receive, send, scope["path"])
    await request.answer_error(HttpError(503, "Unavailable", "The server can't start. Its log says why."))
