"""`npx convex env` against our server. Numbers are those of deployment-api's checklist."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.official_cli import npx_convex, npx_convex_running
from tests.support.server import ADMIN_KEY, ReactorProcess

pytestmark = [pytest.mark.node, pytest.mark.process]

OPERATOR = {"Authorization": f"Convex {ADMIN_KEY}"}


def update(server: ReactorProcess, **changes: str | None) -> httpx.Response:
    body = {"changes": [{"name": name, "value": value} for name, value in changes.items()]}
    return httpx.post(f"{server.url}/api/update_environment_variables", json=body, headers=OPERATOR)


def variables(server: ReactorProcess) -> dict[str, str]:
    return httpx.get(f"{server.url}/api/list_environment_variables", headers=OPERATOR).json()["environmentVariables"]


def npx(project: Path, server: ReactorProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return npx_convex(project, server, "env", *arguments)


def test_variables_are_set_listed_read_and_removed(project: Path, server: ReactorProcess) -> None:
    """21, 22, 23"""
    assert npx(project, server, "set", "NPX_A", "two words").returncode == 0
    (project / "more.env").write_text("NPX_B=3\n")
    assert npx(project, server, "set", "--from-file", "more.env").returncode == 0
    listed = npx(project, server, "list", "--include-values").stdout
    assert "NPX_A=" in listed
    assert "two words" in listed
    assert "NPX_B=3" in listed
    assert npx(project, server, "get", "NPX_A").stdout.strip() == "two words"
    assert npx(project, server, "remove", "NPX_A").returncode == 0
    assert npx(project, server, "remove", "NPX_B").returncode == 0
    gone = npx(project, server, "get", "NPX_A")
    assert (gone.returncode, gone.stdout.strip()) == (0, "")
    assert "NPX_A" in gone.stderr


def test_a_file_changes_nothing_that_is_there_unless_forced(project: Path, server: ReactorProcess) -> None:
    """22"""
    assert update(server, NPX_C="old").status_code == 200
    (project / "conflict.env").write_text("NPX_C=new\nNPX_D=1\n")
    conflict = npx(project, server, "set", "--from-file", "conflict.env")
    assert conflict.returncode == 1
    assert "NPX_C" in conflict.stderr
    assert {name: variables(server).get(name) for name in ("NPX_C", "NPX_D")} == {"NPX_C": "old", "NPX_D": None}
    assert npx(project, server, "set", "--from-file", "conflict.env", "--force").returncode == 0
    assert {name: variables(server).get(name) for name in ("NPX_C", "NPX_D")} == {"NPX_C": "new", "NPX_D": "1"}


def test_what_is_refused_is_shown(project: Path, server: ReactorProcess) -> None:
    """24"""
    done = npx(project, server, "set", "CONVEX_SITE_URL", "x")
    assert done.returncode == 1
    assert 'EnvVarNameForbidden: Environment variable with name "CONVEX_SITE_URL" is built-in' in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("CONVEX_SITE_URL", "x", "EnvVarNameForbidden"),
        ("1A", "x", "EnvironmentVariableNameInvalid"),
        ("A" * 257, "x", "EnvironmentVariableNameTooLong"),
        ("A", "x" * 8193, "EnvironmentVariableValueTooLarge"),
    ],
)
def test_one_bad_change_and_nothing_is_changed(server: ReactorProcess, name: str, value: str, code: str) -> None:
    """24, 26"""
    refused = update(server, **{"NPX_GOOD": "x", name: value})
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert "NPX_GOOD" not in variables(server)


def test_a_query_that_reads_a_variable_runs_again(project: Path, tools_server: ReactorProcess) -> None:
    """25"""
    watch = ("run", "--watch", "notes:settings", '{"name": "NPX_LIVE"}')
    update(tools_server, NPX_LIVE="before")
    with npx_convex_running(project, tools_server, *watch) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline()) == "before"
        update(tools_server, NPX_LIVE="after")
        assert json.loads(watching.stdout.readline()) == "after"


def test_nobody_else_can_list_them(server: ReactorProcess) -> None:
    path = "_system/cli/queryEnvironmentVariables:default"
    answer = httpx.post(f"{server.url}/api/query", json={"path": path, "args": {}})
    assert answer.json()["status"] == "error"
    assert "You do not have permission to perform this operation" in answer.json()["errorMessage"]
