"""A real reactor server in its own process, which a test can stop, kill and start again on the same data and ports."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import httpx

CONFORMANCE_APP = Path(__file__).parents[1] / "apps" / "conformance"
TOOLS_APP = CONFORMANCE_APP.parent / "tools"
ADMIN_KEY = "conformance|0123456789abcdef"
READY_WITHIN_S = 30.0


def free_port() -> int:
    """A port nobody listens on, below the range that outgoing connections use.

    From that range, a client that keeps dialling a stopped server could be given the very same port and would then be
    connected to itself.
    """
    for _ in range(200):
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError("no free port between 20000 and 30000")


class ReactorProcess:
    """`reactor dev|serve` on free ports. `start` returns once `/version` answers; output is kept in `log_path`."""

    def __init__(
        self,
        work: Path,
        *,
        app: Path = CONFORMANCE_APP,
        mode: Literal["dev", "serve"] = "dev",
        options: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.work, self.app, self.mode, self.options = work, app, mode, options
        self.data = work / "data"
        self.log_path = work / "server.log"
        self.port, self.site_port = free_port(), free_port()
        self.env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.expected_exit = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/1.48.0/sync"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, env: Mapping[str, str] | None = None, ready: bool = True) -> ReactorProcess:
        """Start it; `env` is for this start only."""
        assert self._process is None, "already running"
        self.work.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "reactor.cli",
            self.mode,
            str(self.app),
            "--host=127.0.0.1",
            f"--port={self.port}",
            f"--site-port={self.site_port}",
            f"--data={self.data}",
            f"--admin-key={ADMIN_KEY}",
            *self.options,
        ]
        with self.log_path.open("ab") as log:
            log.write(f"--- {' '.join(command[1:])}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", "COLUMNS": "160", **self.env, **(env or {})},
                cwd=self.work,
                start_new_session=True,
            )
        self.expected_exit = False
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            if (code := self.poll()) is not None:
                raise AssertionError(f"the server ended with {code} before it was ready:\n{self.log()}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/version", timeout=2).status_code == 200:
                    return
            if time.monotonic() > deadline:
                raise AssertionError(f"the server was not ready within {READY_WITHIN_S} s:\n{self.log()}")
            time.sleep(0.02)

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll() if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _signal(self, number: int) -> None:
        """To the whole group: `serve` may run the server below a parent that restarts it."""
        assert self._process is not None
        self.expected_exit = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self.wait_exit()

    def terminate(self) -> int:
        """SIGTERM, and wait for the clean end. Returns the exit status."""
        assert self._process is not None
        self.expected_exit = True
        self._process.terminate()
        return self.wait_exit()

    def wait_exit(self, timeout: float = 30) -> int:
        """Wait until it ended by itself or by a signal sent before. Returns the exit status (negative: the signal)."""
        assert self._process is not None
        self.expected_exit = True
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGABRT)  # faulthandler prints where every thread stands
            time.sleep(1)
            os.killpg(self._process.pid, signal.SIGKILL)
            raise AssertionError(f"the server did not end within {timeout} s:\n{self.log()}") from None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # whatever it left behind
        self._process = None
        return code

    def restart(self, *, env: Mapping[str, str] | None = None) -> None:
        self.terminate()
        self.start(env=env)

    def close(self) -> None:
        """For the end of a test: stop it, and complain if it had ended by itself."""
        if self._process is None:
            return
        code = self.poll()
        unexpected = code is not None and not self.expected_exit
        if code is None:
            self.kill()
        else:
            self._process = None
        assert not unexpected, f"the server ended by itself with {code}:\n{self.log()}"

    def log(self, characters: int = 6000) -> str:
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.exists() else "(no output)"

    def wait_for_log(self, text: str, timeout: float = 30) -> None:
        """Return once the server has printed `text`."""
        deadline = time.monotonic() + timeout
        while text not in self.log(1_000_000):
            assert time.monotonic() < deadline, f"{text!r} was not printed within {timeout} s:\n{self.log()}"
            time.sleep(0.05)

    # One-off calls over HTTP, to look at and change things behind the back of the client under test.

    def call(self, kind: str, path: str, args: Mapping[str, Any] | None = None, **body: Any) -> dict[str, Any]:
        """The whole response object of POST /api/{kind}."""
        response = httpx.post(
            f"{self.url}/api/{kind}",
            json={"path": path, "args": dict(args or {}), "format": "convex_encoded_json", **body},
            timeout=60,
        )
        response.raise_for_status()
        return response.json()

    def _value(self, answer: dict[str, Any]) -> Any:
        assert answer["status"] == "success", answer
        return answer["value"]

    def query(self, path: str, args: Mapping[str, Any] | None = None) -> Any:
        return self._value(self.call("query", path, args))

    def mutation(self, path: str, args: Mapping[str, Any] | None = None) -> Any:
        return self._value(self.call("mutation", path, args))


@contextlib.contextmanager
def running_server(work: Path, **options: Any) -> Iterator[ReactorProcess]:
    """A started `ReactorProcess`; the options are its constructor's."""
    server = ReactorProcess(work, **options)
    try:
        yield server.start()
    finally:
        server.close()
