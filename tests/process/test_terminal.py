"""What clients choose never reaches the operator's terminal as a command to it: `reactor dev` and the commands in a real terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.process.test_commands import environment
from tests.support.server import ADMIN_KEY, ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

HOSTILE = "\x1b]0;owned\x07\x9b2J\rfor ever\tand\nok ä"
SHOWN = r"\x1b]0;owned\x07\x9b2J\x0dfor ever	and"
IN_QUOTES = r"\x1b]0;owned\x07\x9b2J\rfor ever\tand\nok ä"
IN_A_CELL = r"\x1b]0;owned\x07\x9b2J\x0dfor "
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
COMMAND = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\r(?!\r*\n)")

FUNCTIONS = """
import logging
from typing import Any

from reactor import ActionCtx, ApplicationError, MutationCtx, QueryCtx, action, mutation, query


@query
async def get(ctx: QueryCtx, name: str) -> list[Any]:
    return await ctx.db.query("notes").collect()


@mutation
async def add(ctx: MutationCtx, text: str) -> str:
    logging.getLogger("app").warning("adding " + text)
    await ctx.db.insert("notes", {"text": text})
    return text


@action
async def fail(ctx: ActionCtx, text: str) -> None:
    raise ValueError("no: " + text)
"""

HTTP = """
from starlette.requests import Request
from starlette.responses import Response

from reactor import ActionCtx, HttpRouter

http = HttpRouter()


@http.route(prefix="/hook/", methods=["GET"])
async def hook(ctx: ActionCtx, request: Request) -> Response:
    raise ValueError(request.url.path)
"""


class Terminal:
    """A command in a terminal of its own; what it writes is gathered in `output`."""

    def __init__(self, *command: str) -> None:
        self._ours, theirs = pty.openpty()
        environ = {**environment(), "TERM": "xterm-256color"}
        del environ["NO_COLOR"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reactor.cli", *command], stdin=theirs, stdout=theirs, stderr=theirs, env=environ
        )
        os.close(theirs)
        self.output = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # how Linux tells that the other end was closed
                return
            if not piece:
                return
            self.output += piece

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text.encode() not in self.output:
            assert time.monotonic() < deadline, self.output
            assert self.process.poll() is None, self.output
            time.sleep(0.02)

    def text(self) -> str:
        """What was written so far, without colours; anything else that a terminal obeys is a failure."""
        plain = COLOUR.sub(b"", self.output)
        assert COMMAND.search(plain) is None, plain
        return plain.decode().replace("\r\n", "\n")

    def end(self) -> str:
        """Wait for the command's end. Returns its `text`."""
        self.process.wait(30)
        self._reader.join()
        os.close(self._ours)
        return self.text()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("terminal")
    (work / "functions").mkdir()
    (work / "functions" / "notes.py").write_text(FUNCTIONS)
    (work / "functions" / "http.py").write_text(HTTP)
    return work


@pytest.fixture(scope="module")
def server(work: Path) -> ReactorProcess:
    """Only its address and its calls are used: the process is that of `dev`."""
    return ReactorProcess(work / "server", app=work)


@pytest.fixture(scope="module")
def dev(server: ReactorProcess) -> Iterator[Terminal]:
    """`reactor dev` in a terminal, on which a client has done its worst."""
    where = (f"--port={server.port}", f"--site-port={server.site_port}", f"--data={server.data}")
    terminal = Terminal("dev", str(server.app), *where, f"--admin-key={ADMIN_KEY}")
    try:
        server.wait_ready()
        server.call("mutation", "notes:add", {"text": HOSTILE})
        server.call("action", "notes:fail", {"text": HOSTILE})
        httpx.get(f"http://127.0.0.1:{server.site_port}/hook/{quote(HOSTILE)}")
        yield terminal
    finally:
        terminal.process.terminate()
        terminal.end()


def ask(server: ReactorProcess, *command: str) -> str:
    return Terminal(*command, f"--app={server.app}", f"--data={server.data}").end()


def test_logs_show_control_characters(dev: Terminal, server: ReactorProcess) -> None:
    told = ask(server, "logs")
    assert f"[WARN] 'adding {IN_QUOTES}'" in told
    assert f"ValueError: no: {SHOWN}\nok ä" in told
    assert r"ValueError: /hook/\x1b]0;owned\x07\x9b2J" in told


def test_data_and_results_show_control_characters(dev: Terminal, server: ReactorProcess) -> None:
    assert IN_A_CELL in ask(server, "data", "notes")
    assert r"\u009b2J\rfor ever\tand\nok ä" in ask(server, "run", "notes:get", "name=x", "--json")


def test_errors_of_a_run_show_control_characters(dev: Terminal, server: ReactorProcess) -> None:
    told = ask(server, "run", "notes:fail", f"text={HOSTILE}")
    assert f"no: {SHOWN}\nok ä" in told


async def test_why_shows_control_characters(dev: Terminal, server: ReactorProcess) -> None:
    client = SyncClient(server.ws_url)
    await client.open()
    followed = await client.subscribe("notes:get", {"name": HOSTILE})
    server.mutation("notes:add", {"text": "again"})
    await client.until(lambda: len(followed.updates) == 2)
    await client.close()
    assert r"\u001b]0;owned\u0007\x9b2J" in ask(server, "why", "notes:get")


def test_the_terminal_of_the_server_shows_control_characters(dev: Terminal, server: ReactorProcess) -> None:
    dev.wait_for(f"notes:add: [WARN] 'adding {IN_QUOTES}'")
    dev.wait_for(f"ValueError: no: {SHOWN}\r\nok ä")
    dev.text()
