"""Which code is in force: the app is loaded and put into force at the start, on request, and when what it read changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from reactor.auth.identities import Identities
from reactor.engine.backfill import Progress
from reactor.engine.database import Database
from reactor.errors import ReactorError
from reactor.kit.aggregate import use_aggregates
from reactor.kit.work import check_pools_soon
from reactor.model.deployment_events import record_push
from reactor.runtime.app import App
from reactor.runtime.backend import LiveBackend
from reactor.runtime.cron_declarations import declared_crons
from reactor.runtime.deployed import describe_app
from reactor.runtime.environment import loading_with
from reactor.runtime.loader import AppLoader
from reactor.workers.crons import CronWorker
from reactor.workers.scheduler import Scheduler

__all__ = ["Code", "Deploys"]

logger = logging.getLogger("reactor.server")


class Code:
    """The code of a directory, which outlives starts and stops: what is loaded again replaces the modules from before."""

    def __init__(self, directory: Path, *, isolated: bool, loaded: App | None) -> None:
        """`isolated` keeps its modules apart from the process's own; `loaded` is taken instead of any code."""
        self._directory, self._isolated, self._loaded = directory, isolated, loaded
        self._loader: AppLoader | None = None
        self.variables: set[str] = set()
        """The environment variables that it read while it was loaded."""

    def load(self, variable: Callable[[str], str | None]) -> App:
        """The app as it is written now; it reads environment variables by `variable`. Raises what its code raised."""
        if self._loaded is not None:
            return self._loaded
        read_before = self.variables
        with loading_with(variable) as self.variables:
            try:
                if self._loader is None:
                    self._loader = AppLoader(self._directory, private=self._isolated)
                    return self._loader.load()
                return self._loader.reload()
            except Exception:
                self.variables |= read_before  # which the code that stays in force had read
                raise


class Deploys:
    """Of one started deployment: one at a time, and each of all that the app's code decides about."""

    def __init__(
        self,
        code: Code,
        database: Database,
        backend: LiveBackend,
        scheduler: Scheduler,
        crons: CronWorker,
        identities: Identities,
        *,
        progress: Callable[[], Progress | None],
    ) -> None:
        """`progress` gives what to tell of a schema change while it is brought to the documents."""
        self._code, self._database, self._backend = code, database, backend
        self._scheduler, self._crons, self._identities = scheduler, crons, identities
        self._progress = progress
        self._turn = asyncio.Lock()
        self.broken: BaseException | None = None
        """What keeps the app's present code from being in force, in development."""

    async def first(self, *, tolerate_broken: bool) -> None:
        """Put the code into force at the start. Raises what was wrong with it, unless that is tolerated."""
        try:
            await self._deploy()
        except Exception as error:
            if not tolerate_broken:
                raise
            self.broken = error

    async def again(self) -> None:
        """Load the code afresh and put it into force. Raises what was wrong; then the code from before stays."""
        try:
            await self._deploy()
        except Exception as error:
            self.broken = error
            raise
        self.broken = None

    def variables_changed(self, names: frozenset[str]) -> asyncio.Task[None] | None:
        """Code that read a variable while it loaded (`auth_config`) is loaded again when that changes."""
        names &= self._code.variables
        return asyncio.create_task(self._again_for(names), name="reload for the environment") if names else None

    async def _again_for(self, names: frozenset[str]) -> None:
        try:
            await self.again()
        except Exception as error:
            logger.error(
                "%s changed, but the app can't be loaded with it; the code from before keeps serving: %s",
                ", ".join(sorted(names)),
                error,
                exc_info=None if isinstance(error, ReactorError) else error,
            )

    async def _deploy(self) -> None:
        async with self._turn:
            await self._put_into_force(self._code.load(self._backend.host.committed_variable))

    async def _put_into_force(self, app: App) -> None:
        # Checked first: providers that can't be used keep the code from being put into force.
        identities = self._identities.check(app.modules)
        crons = declared_crons(app)
        await self._backend.deploy(app, progress=self._progress())
        await use_aggregates(self._database, app)
        await self._database.write(check_pools_soon)
        await self._scheduler.start()
        await self._crons.use(crons)
        self._identities.use(identities)
        deployed = describe_app(app, crons, [provider.describe() for provider in identities.providers])
        try:
            await self._database.write(lambda tx: record_push(tx, deployed))
        except ReactorError as error:  # the code is in force all the same
            logger.warning("the history of deploys has no entry for this one: %s", error)

    def state(self) -> str:
        """Of the code in force: "ok", "stale" when newer code does not load, "missing" when none ever did."""
        if not self._backend.has_app:
            return "missing"
        return "ok" if self.broken is None else "stale"
