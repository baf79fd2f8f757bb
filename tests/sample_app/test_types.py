"""What people copy is typed: the sample app satisfies both checkers at their strictest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The app alone, as it would stand in a user's directory."""
    shutil.copytree(REPOSITORY / "functions", tmp_path / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "schema.py", tmp_path)
    return tmp_path


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_strict(app: Path) -> None:
    (app / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", "pythonVersion": "3.11"}))
    run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, cwd=app)


def test_mypy_strict(app: Path) -> None:
    options = ("--strict", "--follow-imports=silent", "--python-executable", sys.executable)
    run(sys.executable, "-m", "mypy", *options, "schema.py", "functions", cwd=app)
