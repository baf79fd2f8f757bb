"""The command line, as far as it goes without a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reactor.cli.commands import cli

runner = CliRunner(env={"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"})


def test_version_is_told() -> None:
    from importlib.metadata import version

    assert runner.invoke(cli, ["--version"]).output == f"reactor {version('reactor')}\n"


@pytest.mark.parametrize("command", [[], ["dev"], ["serve"], ["init"]])
def test_help_explains_with_an_example(command: list[str]) -> None:
    result = runner.invoke(cli, [*command, "--help"])
    assert result.exit_code == 0
    assert "reactor dev" in result.output or "reactor serve" in result.output
    if command in (["dev"], ["serve"]):
        for option in ("--host", "--port", "--site-port", "--data", "--admin-key", "--manual-clock", "3210", "3211"):
            assert option in result.output, option


def test_version_and_help_load_neither_engine_nor_server() -> None:
    code = (
        "import sys; from reactor.cli.commands import cli; import reactor.cli\n"
        "try: cli(['--version'])\nexcept SystemExit: pass\n"
        "heavy = {'uvicorn','starlette','watchfiles','httpx','aiosqlite','sqlite3','reactor.server'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["dev", "no/such/place"], {}, "there is no directory"),
        (["dev", "--port", "99999"], {}, "--port must be a port number"),
        (["serve"], {"REACTOR_PORT": "x"}, "REACTOR_PORT must be a port number"),
    ],
)
def test_a_wrong_setting_ends_with_one_line_and_status_2(
    arguments: list[str], env: dict[str, str], message: str, tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "reactor.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **env},
        timeout=60,
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
