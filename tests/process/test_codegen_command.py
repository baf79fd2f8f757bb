"""`reactor codegen`, and `reactor dev --codegen`, which keeps what it writes fresh."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import ReactorProcess

pytestmark = pytest.mark.process

CODEGEN_APP = Path(__file__).parents[1] / "apps" / "codegen"
Server = Callable[..., ReactorProcess]


def reactor(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REACTOR_")}
    return subprocess.run(
        [sys.executable, "-m", "reactor.cli", *arguments],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(CODEGEN_APP, tmp_path / "app")
    (tmp_path / "app" / "pyproject.toml").write_text('[tool.reactor]\ncodegen = "web/convex/_generated"\n')
    return tmp_path / "app"


def test_files_are_written_once_and_checked(project: Path) -> None:
    done = reactor(project, "codegen", "--out", "out", "--python")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        "out/api.d.ts", "out/api.js", "out/dataModel.d.ts", "functions/_generated/api.pyi",
    }  # fmt: skip
    assert (project / "functions" / "_generated" / "api.py").is_file()
    again = reactor(project, "codegen", "--out", "out")
    assert (again.returncode, again.stdout) == (0, "")
    assert "out is up to date." in again.stderr
    assert reactor(project, "codegen", "--out", "out", "--python", "--check").returncode == 0
    (project / "functions" / "more.py").write_text((project / "functions" / "admin" / "tools.py").read_text())
    stale = reactor(project, "codegen", "--out", "out", "--check")
    assert stale.returncode == 1
    assert "not up to date: out/api.d.ts" in stale.stderr
    assert "more" not in (project / "out" / "api.d.ts").read_text()


def test_the_place_may_stand_in_pyproject(project: Path) -> None:
    done = reactor(project, "codegen")
    assert done.returncode == 0, done.stderr
    assert (project / "web" / "convex" / "_generated" / "dataModel.d.ts").is_file()


def test_without_a_place_it_says_what_to_write(project: Path) -> None:
    (project / "pyproject.toml").unlink()
    done = reactor(project, "codegen")
    assert done.returncode == 2
    assert "--out web/convex/_generated" in done.stderr.replace("\n", " ")


def test_a_file_that_somebody_wrote_is_left_alone(project: Path) -> None:
    (project / "out").mkdir()
    (project / "out" / "api.js").write_text("mine")
    done = reactor(project, "codegen", "--out", "out")
    assert done.returncode == 2
    assert "was not generated" in done.stderr
    assert (project / "out" / "api.js").read_text() == "mine"
    assert not (project / "out" / "api.d.ts").exists()


def test_a_broken_app_is_an_error_that_names_the_line(project: Path) -> None:
    (project / "functions" / "broken.py").write_text("import nowhere\n")
    done = reactor(project, "codegen", "--out", "out")
    assert done.returncode == 2
    assert "broken.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_code_that_imports_the_stub_can_be_generated_from_the_start(project: Path) -> None:
    (project / "functions" / "ported.py").write_text(
        "from functions._generated.api import api\n\nlisted = api.things\n"
    )
    done = reactor(project, "codegen", "--python")
    assert done.returncode == 0, done.stderr
    assert "list = functions.things.list_" in (project / "functions" / "_generated" / "api.pyi").read_text()


def test_dev_keeps_the_types_fresh(project: Path, server: Server) -> None:
    types = project / "types" / "api.d.ts"
    running = server(project, options=("--codegen", str(types.parent))).start()
    assert "nothing:" in types.read_text()
    text = (project / "functions" / "things.py").read_text()
    (project / "functions" / "things.py").write_text(text.replace("async def nothing", "async def something"))
    running.wait_for_log("reloaded functions/things.py")
    running.wait_for_log("wrote api.d.ts")
    assert "something:" in types.read_text()
