"""The agent worker as a user runs it: processes of their own against a real server with the sample app."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.server import ADMIN_KEY, ReactorProcess, running_server

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "agent_worker"
PATIENCE_S = 60

pytestmark = pytest.mark.process


class Operator:
    """Calls with the admin key."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def call(self, kind: str, path: str, **args: Any) -> Any:
        answer = self._http.post(f"/api/{kind}", json={"path": path, "args": args, "format": "json"}).json()
        assert answer["status"] == "success", answer
        return answer["value"]

    def project(self) -> str:
        return self.call("mutation", "projects:createForUser", userId="ann", name="Shop", framework="REACT")

    def enqueue(self, project_id: str, value: str, **more: Any) -> str:
        return self.call("mutation", "agentRuns:enqueueForSystem", projectId=project_id, value=value, **more)

    def answers(self, project_id: str) -> list[dict[str, Any]]:
        return self.call("query", "messages:listForUser", userId="ann", projectId=project_id)

    def finished(self, project_id: str, count: int) -> list[dict[str, Any]]:
        """The project's answers, once this many are complete."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            done = [answer for answer in self.answers(project_id) if answer["status"] == "COMPLETE"]
            if len(done) >= count:
                return done
            assert time.monotonic() < deadline, self.answers(project_id)
            time.sleep(0.05)


class WorkerProcess:
    def __init__(self, server: ReactorProcess, log_path: Path) -> None:
        self._log_path = log_path
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(EXAMPLE / "worker.py"), "--url", server.url],
                env={**os.environ, "REACTOR_ADMIN_KEY": ADMIN_KEY},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        return self._log_path.read_text()

    def wait_log(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.log():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReactorProcess]:
    with running_server(tmp_path / "server", app=REPOSITORY) as server:
        yield server


@pytest.fixture
def operator(server: ReactorProcess) -> Iterator[Operator]:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Convex {ADMIN_KEY}"}, timeout=30) as http:
        yield Operator(http)


@pytest.fixture
def hire(server: ReactorProcess, tmp_path: Path) -> Iterator[Callable[[], WorkerProcess]]:
    """Starts a worker, and returns when it waits for runs."""
    started: list[WorkerProcess] = []

    def start() -> WorkerProcess:
        worker = WorkerProcess(server, tmp_path / f"worker_{len(started)}.log")
        started.append(worker)
        worker.wait_log("Waiting for runs")
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()


@pytest.fixture
def worker(hire: Callable[[], WorkerProcess]) -> WorkerProcess:
    return hire()


def test_two_workers_share_the_runs_and_never_get_the_same(
    operator: Operator, hire: Callable[[], WorkerProcess]
) -> None:
    workers = [hire(), hire()]
    project_id = operator.project()
    runs = {operator.enqueue(project_id, f"page {n}"): f"page {n}" for n in range(8)}

    answers = operator.finished(project_id, len(runs))

    for worker, run_id in [(worker, run_id) for worker in workers for run_id in runs]:
        assert worker.log().count(f"{run_id}: {runs[run_id]}") <= 1
    taken = [[run_id for run_id in runs if f"{run_id}: {runs[run_id]}" in worker.log()] for worker in workers]
    assert sorted(taken[0] + taken[1]) == sorted(runs)
    assert all(taken), "one of them did everything"
    assert len(answers) == len(runs)
    assert sorted(answer["content"].partition(":")[0] for answer in answers) == sorted(
        f"Built {v}" for v in runs.values()
    )
    assert all(answer["type"] == "RESULT" and answer["fragment"]["files"] for answer in answers)
    assert operator.call("query", "agentRuns:listPending") == []


async def test_the_answer_streams_into_one_message(operator: Operator, worker: WorkerProcess) -> None:
    """Somebody who looks on sees the text grow, and then the result in the same place."""
    project_id = operator.project()
    await asyncio.to_thread(operator.enqueue, project_id, "a shop with a cart and a checkout", model="large")
    seen: list[tuple[str, str, str]] = []
    deadline = time.monotonic() + PATIENCE_S
    while not seen or seen[-1][2] != "COMPLETE":
        assert time.monotonic() < deadline
        for answer in await asyncio.to_thread(operator.answers, project_id):
            state = (answer["_id"], answer["content"], answer["status"])
            if not seen or seen[-1] != state:
                seen.append(state)

    assert len({message_id for message_id, _, _ in seen}) == 1
    streamed = [content for _, content, status in seen if status == "STREAMING"]
    assert len(streamed) > 1
    assert all("I am building a shop with a cart and a checkout with REACT.".startswith(text) for text in streamed)
    [answer] = operator.answers(project_id)
    assert answer["content"] == "Built a shop with a cart and a checkout: 1 files."
    assert answer["fragment"]["metadata"] == {"source": "webcontainer-runner", "model": "large"}


def test_the_next_run_builds_on_the_files_of_the_last(operator: Operator, worker: WorkerProcess) -> None:
    project_id = operator.project()
    operator.enqueue(project_id, "a shop")
    operator.finished(project_id, 1)
    operator.enqueue(project_id, "a cart")
    _, second = operator.finished(project_id, 2)
    assert second["fragment"]["files"] == {"requests/1.md": "# a shop\n", "requests/2.md": "# a cart\n"}


def test_a_failure_is_shown_to_the_user_and_the_worker_goes_on(operator: Operator, worker: WorkerProcess) -> None:
    project_id = operator.project()
    failing = operator.enqueue(project_id, "fail: no such framework")
    operator.enqueue(project_id, "a shop")
    [answer] = operator.finished(project_id, 1)
    assert answer["content"] == "Built a shop: 1 files."
    assert f"{failing}: failed: no such framework" in worker.log()


def test_a_run_that_its_user_stops_is_left_alone(operator: Operator, worker: WorkerProcess) -> None:
    project_id = operator.project()
    stopped = operator.enqueue(project_id, "a very long story " * 40)
    worker.wait_log(f"{stopped}: a very long")
    operator.call("mutation", "agentRuns:failRun", runId=stopped, error="Stopped by the user")
    worker.wait_log(f"{stopped}: stopped: Run is not currently running")
    assert [answer["content"] for answer in operator.answers(project_id)] in ([], ["Stopped by the user"])


def test_a_run_whose_project_is_gone_is_failed(operator: Operator, hire: Callable[[], WorkerProcess]) -> None:
    run_id = operator.enqueue(operator.project(), "a shop")
    operator.call("mutation", "importData:clearAllData")
    worker = hire()
    worker.wait_log(f"{run_id}: failed: The project is gone")
    assert operator.call("query", "agentRuns:listPending") == []


def test_a_worker_that_is_stopped_does_not_leave_its_run_behind(operator: Operator, worker: WorkerProcess) -> None:
    run_id = operator.enqueue(operator.project(), "a very long story " * 40)
    worker.wait_log(f"{run_id}: a very long")
    assert worker.stop() == 0
    assert f"{run_id}: failed: Something went wrong" in worker.log()
    assert operator.call("query", "agentRuns:listPending") == []


def test_a_worker_that_waits_ends_when_it_is_told_to(worker: WorkerProcess) -> None:
    assert worker.stop() == 0


def test_ask_shows_the_answer_as_it_comes(server: ReactorProcess, worker: WorkerProcess) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "ask.py"), "a", "shop"],
        env={**os.environ, "REACTOR_URL": server.url, "REACTOR_ADMIN_KEY": ADMIN_KEY},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "ASSISTANT: Built a shop: 1 files."


def test_it_is_typed() -> None:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "."]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
