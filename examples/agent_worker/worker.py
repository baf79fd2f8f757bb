"""A worker for agent runs: waits for pending ones, claims one, streams what the model says into its message, finishes it.

Run as many as you like, anywhere: each run is claimed by exactly one of them.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from convex import ConvexClient, ConvexError
from model import Answer, LocalModel, Model, ModelError, Task

REPORT_EVERY_S = 0.1
"""Models make tokens faster than anybody reads: each report is a transaction, so not every token is one."""

MODELS: Mapping[str, Callable[[], Model]] = {"local": LocalModel}

logger = logging.getLogger("agent_worker")


class Stopped(Exception):
    """The run is not ours any more: it was failed by somebody, or its project is gone."""


class Worker:
    """Works for everybody, as the operator: `client` carries the admin key."""

    def __init__(self, client: ConvexClient, model: Model) -> None:
        self._client = client
        self._model = model

    def serve(self) -> None:
        """Work for ever. The subscription wakes us; what to do next is asked for afresh after each run."""
        for pending in cast("Iterable[Any]", self._client.subscribe("agentRuns:listPending")):
            while pending:
                claimed = self._claim_first(pending)
                if claimed is not None:
                    self.work_on(claimed)
                pending = self._client.query("agentRuns:listPending")

    def _claim_first(self, pending: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The oldest run that is still free; None when others took them all."""
        for run in pending:
            try:
                return self._client.mutation("agentRuns:claimRun", {"runId": run["_id"]})
            except ConvexError as refusal:
                if refusal.data == "Project not found":
                    self._fail(run["_id"], "The project is gone")
                elif refusal.data != "Run already claimed":
                    raise
        return None

    def work_on(self, run: dict[str, Any]) -> None:
        """Carry out a run that is claimed. However this ends, the run has ended, too."""
        run_id = run["runId"]
        logger.info("%s: %s", run_id, run["value"])
        task = Task(run["value"], run["framework"], run["baseFiles"], run.get("model"))
        try:
            self._complete(run_id, task, self._model.build(task, self._reporter(run_id)))
            logger.info("%s: completed", run_id)
        except Stopped as reason:
            logger.info("%s: stopped: %s", run_id, reason)
        except ModelError as error:
            self._fail(run_id, str(error))
        except BaseException as error:  # ours, or somebody stops the worker: nobody else would ever finish the run
            self._fail(run_id, "Something went wrong. Please try again.")
            if not isinstance(error, Exception):
                raise
            logger.exception("%s", run_id)

    def _reporter(self, run_id: str) -> Callable[[str], None]:
        last = 0.0

        def report(text: str) -> None:
            nonlocal last
            if time.monotonic() - last >= REPORT_EVERY_S:
                self._write("agentRuns:reportProgress", {"runId": run_id, "content": text})
                last = time.monotonic()

        return report

    def _complete(self, run_id: str, task: Task, answer: Answer) -> None:
        result = {"summary": answer.summary, "files": answer.files, "framework": task.framework}
        self._write("agentRuns:completeRun", {"runId": run_id, **result})

    def _write(self, path: str, args: dict[str, Any]) -> None:
        try:
            self._client.mutation(path, args)
        except ConvexError as refusal:
            raise Stopped(refusal.data) from None

    def _fail(self, run_id: str, error: str) -> None:
        logger.info("%s: failed: %s", run_id, error)
        try:
            self._client.mutation("agentRuns:failRun", {"runId": run_id, "error": error})
        except ConvexError as refusal:
            logger.info("%s: %s", run_id, refusal.data)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url", default=os.environ.get("REACTOR_URL", "http://127.0.0.1:3210"))
    options.add_argument("--model", choices=MODELS, default="local")
    given = options.parse_args()
    key = os.environ.get("REACTOR_ADMIN_KEY")
    if not key:
        sys.exit("Set REACTOR_ADMIN_KEY to the key that the server was started with.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    client = ConvexClient(given.url)
    client.set_admin_auth(key)
    logger.info("Waiting for runs")
    Worker(client, MODELS[given.model]()).serve()


if __name__ == "__main__":
    main()
