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
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from reactor.admin import system as _system  # noqa: F401  # makes its functions part of every app
from reactor.admin.function_log import FunctionLog
from reactor.admin.function_metrics import FunctionMetrics
from reactor.admin.tracing import Tracing, exporting_provider
from reactor.auth.admin_key import AdminKeys
from reactor.auth.headers import Gatekeeper
from reactor.auth.identities import Identities
from reactor.auth.identity import Caller
from reactor.auth.kept_key import KeptAdminKey, KeptKey, migrate_key, provide_key
from reactor.clock import Clock, ManualClock, SystemClock
from reactor.config import Settings, load_settings
from reactor.deploys import Code, Deploys
from reactor.doors import Doors
from reactor.engine.backfill import Progress
from reactor.engine.database import Database
from reactor.errors import ReactorError
from reactor.http.request import HttpError, Receive, Request, Scope, Send
from reactor.http.router import Router
from reactor.kept import kept_secret, open_blobs
from reactor.model.environment import EnvironmentVariables
from reactor.model.system_tables import ensure_system_tables
from reactor.restore import refuse_half_restored
from reactor.runtime.app import App
from reactor.runtime.backend import LiveBackend
from reactor.runtime.executions import Executions, print_log_lines
from reactor.runtime.file_service import FileService
from reactor.runtime.host import Host, HostEnvironment
from reactor.runtime.poison import PoisonGuard
from reactor.store.sqlite.retention import Retention
from reactor.store.sqlite.store import SqliteStore
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

__all__ = ["Reactor"]

logger = logging.getLogger("reactor.server")


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
        bound = f"http://{self.settings.host}"
        self.serving_at(f"{bound}:{self.settings.port}", f"{bound}:{self.settings.site_port}")
        self._code = Code(self.settings.app, isolated=isolated, loaded=loaded)
        self._deploys: Deploys | None = None
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
                environment=HostEnvironment(self._urls),
                variables=self.environment,
                poison=poison,
                cursor_key=await kept_secret(database, "cursor_key"),
                dev=settings.dev,
                files=self.files,
            )
            self.log = FunctionLog(self.executions, self.clock)
            undo.callback(self.log.close)
            metrics = FunctionMetrics(self.executions)
            undo.callback(metrics.stop)
            provider = self._tracer_provider or (exporting_provider() if settings.traces else None)
            tracing = None if provider is None else Tracing(self.executions, provider)
            if tracing is not None:
                undo.callback(tracing.stop)
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
            self._deploys = deploys = Deploys(
                self._code,
                database,
                self.backend,
                self.scheduler,
                self.crons,
                self.identities,
                progress=lambda: self.on_progress,
            )
            self.environment.listen(deploys.variables_changed)
            await deploys.first(tolerate_broken=tolerate_broken_app)
            self._doors = Doors(
                settings,
                self.clock,
                database=database,
                backend=self.backend,
                environment=self.environment,
                files=self.files,
                scheduler=self.scheduler,
                importer=self.importer,
                exporter=self.exporter,
                deploys=deploys,
                gatekeeper=Gatekeeper(admin_keys, self.identities, instance_name=settings.instance_name),
                log=self.log,
                metrics=metrics,
                tracing=tracing,
                urls=self._urls,
            )
            undo.push_async_callback(self._doors.site.close, settings.stop_grace_s)
            self._router = self._doors.router
            self.backfills.start()
            self._loop = asyncio.get_running_loop()
            self._closing = undo.pop_all()

    async def stop(self) -> None:
        """Close the sockets, finish what was accepted, close the database. Does nothing when not started."""
        router, self._router = self._router, None
        self._starting = None
        if router is None:
            return
        self._doors.close_sockets()
        try:
            await self._doors.sync.finish_actions(self.settings.stop_grace_s)
        finally:
            await self._closing.aclose()

    def quiesce(self) -> None:
        """Take no new sockets and close those there are; requests under way go on."""
        if self._router is not None:
            self._doors.site.quiesce()
            self._doors.close_sockets()

    async def reload(self) -> None:
        """Load the app's code afresh and put it into force; live queries run again.

        When it does not load, or the documents don't fit its schema, the code from before stays. Raises what was wrong.
        """
        assert self._deploys is not None, "not started"
        await self._deploys.again()

    @property
    def broken(self) -> BaseException | None:
        """What keeps the app's present code from being in force, in development."""
        return None if self._deploys is None else self._deploys.broken

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

    @property
    def router(self) -> Router:
        """What answers requests once started: for servers that start and stop us themselves."""
        assert self._router is not None, "not started"
        return self._router

    @property
    def functions(self) -> Mapping[str, RegisteredFunction]:
        """The app's functions in force, by path."""
        return self.backend.app.functions

    def serving_at(self, url: str, site_url: str) -> None:
        """Tell where clients reach us, once that is known."""
        public = self.settings.public_url
        self.url = public or url
        self.site_url = self.settings.public_site_url or (site_url if public is None else f"{public.rstrip('/')}/http")

    def _urls(self) -> tuple[str, str]:
        return self.url, self.site_url

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
        await self._doors.site(scope, receive, send, caller=caller)

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


async def _refuse(error: BaseException, scope: Scope, receive: Receive, send: Send) -> None:
    """A mounted deployment that can't start: everybody is told to try later, the log why."""
    logger.error("reactor can't start: %s", error, exc_info=None if isinstance(error, ReactorError) else error)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013})
        return
    request = Request(scope, receive, send, scope["path"])
    await request.answer_error(HttpError(503, "Unavailable", "The server can't start. Its log says why."))
