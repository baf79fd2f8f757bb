"""`reactor env` against a server that runs, found by its data directory (server-semantics 49)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.server import ADMIN_KEY, ReactorProcess, running_server

pytestmark = pytest.mark.process

FUNCTIONS = """
from reactor import QueryCtx, query


@query
async def read(ctx: QueryCtx, name: str) -> str | None:
    return ctx.env.get(name)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    work = tmp_path_factory.mktemp("env")
    (work / "app" / "functions").mkdir(parents=True)
    (work / "app" / "functions" / "settings.py").write_text(FUNCTIONS)
    with running_server(work / "server", app=work / "app") as running:
        yield running


def reactor(
    *arguments: str, server: ReactorProcess | None = None, cwd: Path | None = None, stdin: str = "", key: bool = True
) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("REACTOR_", "CONVEX_"))}
    if server is not None:
        arguments = (*arguments, f"--app={server.app}", f"--data={server.data}")
        if key:
            environ["REACTOR_ADMIN_KEY"] = ADMIN_KEY  # the server was given one; else it would be in the directory
    return subprocess.run(
        [sys.executable, "-m", "reactor.cli", "env", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        env={**environ, "COLUMNS": "200", "NO_COLOR": "1"},
        cwd=cwd,
        timeout=60,
        check=False,
    )


def read(server: ReactorProcess, name: str) -> str | None:
    answer = httpx.post(f"{server.url}/api/query", json={"path": "settings:read", "args": {"name": name}})
    return answer.json()["value"]


def test_variables_are_set_read_listed_and_removed(server: ReactorProcess) -> None:
    assert reactor("set", "EMAIL", "help@example.com", server=server).returncode == 0
    assert read(server, "EMAIL") == "help@example.com"
    assert reactor("set", "A=1", "B=two words", "C=x=y", server=server).returncode == 0
    assert (read(server, "A"), read(server, "B"), read(server, "C")) == ("1", "two words", "x=y")
    secret = "-----BEGIN-----\nline\n-----END-----\n"
    assert reactor("set", "KEY", stdin=secret, server=server).returncode == 0
    assert read(server, "KEY") == secret.removesuffix("\n")
    assert reactor("get", "EMAIL", server=server).stdout == "help@example.com\n"
    listed = reactor("list", server=server).stdout.splitlines()
    assert listed == [
        "A=1",
        'B="two words"',
        "C=x=y",
        "EMAIL=help@example.com",
        r'KEY="-----BEGIN-----\nline\n-----END-----"',
    ]
    assert reactor("remove", "A", "B", "C", "EMAIL", "KEY", server=server).returncode == 0
    assert read(server, "EMAIL") is None
    gone = reactor("get", "EMAIL", server=server)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert reactor("list", server=server).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set", "1A", "x"), 'Environment variable name "1A" is invalid'),
        (("set", "CONVEX_SITE_URL", "x"), "is built-in and cannot be overridden"),
        (("set", "A", "x" * 9000), "is too large"),
        (("set", "A=1", "B"), "'B' is not NAME=VALUE"),
    ],
)
def test_what_is_refused_is_said_in_a_line(server: ReactorProcess, arguments: tuple[str, ...], message: str) -> None:
    done = reactor(*arguments, server=server)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_deployment_elsewhere_is_named_with_its_key(server: ReactorProcess, tmp_path: Path) -> None:
    at = (f"--url={server.url}", f"--admin-key={ADMIN_KEY}")
    assert reactor("set", "ELSEWHERE", "yes", *at, cwd=tmp_path).returncode == 0
    assert reactor("get", "ELSEWHERE", *at, cwd=tmp_path).stdout == "yes\n"
    wrong = reactor("list", f"--url={server.url}", "--admin-key=wrong|key", cwd=tmp_path)
    assert (wrong.returncode, "deploy key was invalid" in wrong.stderr) == (2, True)
    keyless = reactor("list", f"--url={server.url}", cwd=tmp_path)
    assert (keyless.returncode, "the admin key of" in keyless.stderr) == (2, True)


def test_the_key_that_is_kept_with_the_data_is_found(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "settings.py").write_text(FUNCTIONS)
    none_yet = reactor("list", cwd=tmp_path)
    assert (none_yet.returncode, "there is no deployment in" in none_yet.stderr) == (2, True)
    process = subprocess.Popen(
        [sys.executable, "-m", "reactor.cli", "dev", "--port=0", "--site-port=0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any("ready in" in line for line in process.stdout)
        assert reactor("set", "A", "1", cwd=tmp_path).returncode == 0
        assert reactor("get", "A", cwd=tmp_path).stdout == "1\n"
    finally:
        process.terminate()
        process.communicate(timeout=30)
    with socket.socket() as nobody:  # at the port where one is looked for then; by default another server may be there
        nobody.bind(("127.0.0.1", 0))
        (tmp_path / "pyproject.toml").write_text(f"[tool.reactor]\nport = {nobody.getsockname()[1]}\n")
        stopped = reactor("list", cwd=tmp_path)
    assert (stopped.returncode, "no server answers at" in stopped.stderr) == (2, True)
