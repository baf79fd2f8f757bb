"""The doors of a deployment: everything that answers requests, and the one table of which path is whose."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from importlib.metadata import version

from reactor.admin.backup import BackupApi
from reactor.admin.clock import ClockApi
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
from reactor.auth.headers import Gatekeeper
from reactor.clock import Clock, ManualClock
from reactor.codegen.openapi_api import OpenApiApi
from reactor.config import Settings
from reactor.deploys import Deploys
from reactor.engine.database import Database
from reactor.http.api import FunctionApi
from reactor.http.body_budget import BodyBudget
from reactor.http.router import Router
from reactor.http.site import Site
from reactor.http.status_page import StatusPage
from reactor.http.storage import StorageApi
from reactor.model.environment import EnvironmentVariables
from reactor.runtime.backend import LiveBackend
from reactor.runtime.file_service import FileService
from reactor.sync.server import SyncServer
from reactor.workers.exporter import Exporter
from reactor.workers.importer import Importer
from reactor.workers.scheduler import Scheduler

__all__ = ["Doors"]


class Doors:
    """Of one started deployment. `urls` gives the two addresses that clients reach it at."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        database: Database,
        backend: LiveBackend,
        environment: EnvironmentVariables,
        files: FileService,
        scheduler: Scheduler,
        importer: Importer,
        exporter: Exporter,
        deploys: Deploys,
        gatekeeper: Gatekeeper,
        log: FunctionLog,
        metrics: FunctionMetrics,
        tracing: Tracing | None,
        urls: Callable[[], tuple[str, str]],
    ) -> None:
        self._log = log
        limits, name, release = settings.limits, settings.instance_name, version("reactor")
        on_traceparent = None if tracing is None else tracing.request
        self.sync = SyncServer(backend, gatekeeper, clock=clock, limits=limits)
        bodies = BodyBudget(limits.request_bodies_bytes)
        self.site = Site(backend, gatekeeper, limits=limits, bodies=bodies)
        """HTTP actions."""
        self.site.on_traceparent = on_traceparent
        self.health = HealthApi(database, deploys.state)
        functions = FunctionApi(backend, gatekeeper, limits=limits)
        who_asks = functions.caller

        def broken() -> str:
            error = deploys.broken
            return "" if error is None else "".join(traceback.format_exception_only(error)).strip()

        storage = StorageApi(files, limits=limits)
        deployment = DeploymentApi(urls, who_asks)
        transfer = TransferApi(importer, exporter, who_asks, limits=limits, instance_name=name)
        doors = [
            StatusPage(
                lambda: backend.app.functions.values(), broken, lambda: urls()[0], dev=settings.dev, version=release
            ),
            OpenApiApi(
                lambda: backend.app,
                who_asks,
                public=settings.dev if settings.openapi is None else settings.openapi,
                url=lambda: urls()[0],
                version=release,
            ),
            self.health,
            storage,
            deployment,
            transfer,
            EnvironmentApi(environment, who_asks),
            JobsApi(database, who_asks),
            ShapesApi(database, who_asks),
            TablesApi(database, lambda: backend.app.schema, who_asks),
            MetricsApi(
                functions=metrics,
                log=log,
                database=database,
                backend=backend,
                scheduler=scheduler,
                sync=self.sync,
                who_asks=who_asks,
                open_on_loopback=settings.open_metrics,
                version=release,
            ),
            LogApi(log, who_asks, poll_s=limits.log_poll_s),
            BackupApi(
                database,
                files,
                who_asks,
                scratch=settings.data,
                send_stall_s=limits.send_stall_s,
                version=release,
            ),
        ]
        if isinstance(clock, ManualClock):
            doors.append(ClockApi(clock, who_asks))
        self.router = Router(
            functions,
            self.sync,
            version=release,
            instance_name=name,
            site=self.site,
            routes={route: handler for door in doors for route, handler in door.routes().items()},
            routes_below=storage.routes_below() | deployment.routes_below() | transfer.routes_below(),
            on_traceparent=on_traceparent,
            bodies=bodies,
        )

    def close_sockets(self) -> None:
        """Take no new sockets, close those there are, and say that we are stopping; requests under way go on."""
        self.health.stopping = True
        self._log.close()
        self.sync.close_all()
