"""What holds for all examples: they are complete, typed, and their own tests pass where a user would run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.examples import EXAMPLES, copy_of, run

APPS = sorted(schema.parent for schema in EXAMPLES.glob("*/schema.py"))

every_app = pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)


@every_app
def test_its_own_tests_pass_where_a_user_would_run_them(app: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=copy_of(app, tmp_path))


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What pyright says of all of them, each below a root of its own; one run takes as long as three of single apps."""
    place = tmp_path_factory.mktemp("examples")
    roots = [{"root": copy_of(app, place).name} for app in APPS]
    (place / "pyrightconfig.json").write_text(json.dumps({"executionEnvironments": roots}))
    command = (sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable)
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=150, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] >= sum(len([*app.rglob("*.py")]) for app in APPS)
    return [
        (Path(complaint["file"]).relative_to(place).parts[0], complaint["message"])
        for complaint in found["generalDiagnostics"]
    ]


@every_app
def test_it_is_typed(app: Path, complaints: list[Any]) -> None:
    assert [message for name, message in complaints if name == app.name] == []


@every_app
def test_its_readme_is_short_and_says_how_to_start_it(app: Path) -> None:
    readme = (app / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 15
    assert f"reactor dev examples/{app.name}" in readme
