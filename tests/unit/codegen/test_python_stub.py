"""The Python stub, judged by pyright and mypy, both strict; and the module beside it, run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reactor.codegen.python_stub import python_files
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from tests.unit.codegen.conftest import CODEGEN_APP

ROOT = Path(__file__).parents[3]

PORTED = """\
from functions._generated.api import api, internal
from reactor import ActionCtx, Id, Int64, action
from schema import Everything, User


@action
async def all_of(ctx: ActionCtx, owner: Id[User]) -> list[Everything]:
    found = await ctx.run_query(api.things.list, owner=owner)
    again: list[Everything] = await ctx.run_query(api.things.list_, owner, 3)
    big: Int64 = await ctx.run_mutation(api.things.echo, big=Int64(1), raw=b"", point=found[0].points[0])
    await ctx.run_query(api.admin.tools)
    assert big
    await ctx.run_query(api.things.list, owner=owner, more=1)  # refused
    await ctx.run_mutation(api.things.list, owner=owner)  # refused
    await ctx.run_query(api.things.lst, owner=owner)  # refused
    await ctx.run_mutation(internal.things.sweep, user=1)  # refused
    return found + again
"""
REFUSED = {number for number, line in enumerate(PORTED.splitlines(), 1) if line.endswith("# refused")}


@pytest.fixture
def project(tmp_path: Path, app: App) -> Path:
    shutil.copytree(CODEGEN_APP, tmp_path, dirs_exist_ok=True)
    generated = tmp_path / "functions" / "_generated"
    generated.mkdir()
    for name, text in python_files(app).items():
        (generated / name).write_text(text)
    (tmp_path / "functions" / "ported.py").write_text(PORTED)
    return tmp_path


def run(project: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, timeout=170, check=False
    )
    return done.stdout or done.stderr


def test_pyright_sees_the_functions_behind_the_paths(project: Path) -> None:
    (project / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "pythonVersion": "3.11"})
    )
    found = json.loads(run(project, "pyright", "--outputjson", "functions/ported.py", "functions/_generated"))
    errors = {d["range"]["start"]["line"] + 1: d["message"] for d in found["generalDiagnostics"]}
    assert set(errors) == REFUSED, errors


def test_mypy_sees_them_too(project: Path) -> None:
    found = run(project, "mypy", "--strict", "--explicit-package-bases", "functions/ported.py")
    lines = [line for line in found.splitlines() if line.startswith("functions/ported.py") and ": error:" in line]
    assert {int(line.split(":")[1]) for line in lines} == REFUSED, found


def test_ported_code_loads_and_its_references_are_paths(project: Path) -> None:
    """The package has no functions of its own, whatever `api` gives."""
    loader = AppLoader(project)
    app = loader.load()
    try:
        assert "ported:allOf" in app.functions
        assert not any("generated" in path for path in app.functions)
        ported = app.modules["ported"]
        assert str(ported.api.things.list_) == "things:list"
        assert "allOf = functions.ported.all_of" in python_files(app)["api.pyi"]
    finally:
        loader.close()
