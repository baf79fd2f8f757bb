"""`npx convex env` against our server (deployment-api 21 to 26)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.official_cli import make_project, npx_convex
from tests.support.server import ReactorProcess

pytestmark = [pytest.mark.node, pytest.mark.process]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def npx(project: Path, server: ReactorProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return npx_convex(project, server, "env", *arguments)


def test_variables_are_set_listed_read_and_removed(project: Path, server: ReactorProcess) -> None:
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


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("CONVEX_SITE_URL", "x", "EnvVarNameForbidden"),
        ("1A", "x", "EnvironmentVariableNameInvalid"),
        ("A", "x" * 8193, "EnvironmentVariableValueTooLarge"),
    ],
)
def test_what_is_refused_is_shown(project: Path, server: ReactorProcess, name: str, value: str, code: str) -> None:
    done = npx(project, server, "set", name, value)
    assert done.returncode == 1
    assert code in done.stderr + done.stdout


def test_nobody_else_can_list_them(server: ReactorProcess) -> None:
    path = "_system/cli/queryEnvironmentVariables:default"
    answer = httpx.post(f"{server.url}/api/query", json={"path": path, "args": {}})
    assert answer.json()["status"] == "error"
    assert "You do not have permission to perform this operation" in answer.json()["errorMessage"]
