"""What pyright and mypy, both strict, say about HTTP actions and environment variables."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

SAMPLE = Path(__file__).with_name("http_sample.py")
ROOT = Path(__file__).parents[2]
REFUSED = {number for number, line in enumerate(SAMPLE.read_text().splitlines(), 1) if line.endswith("# refused")}


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=170, check=False
    )
    return done.stdout or done.stderr


def test_pyright_strict_understands_http_actions_and_flags_mistakes(tmp_path: Path) -> None:
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "extraPaths": [str(ROOT)]}
    shutil.copy(SAMPLE, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    output = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, cwd=tmp_path))
    errors = [item for item in output["generalDiagnostics"] if item["severity"] == "error"]
    assert {item["range"]["start"]["line"] + 1 for item in errors} == REFUSED, errors


def test_mypy_strict_understands_http_actions_and_flags_mistakes(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = True\nfollow_imports = silent\nmypy_path = {ROOT}\n")
    output = run("mypy", "--config-file", "mypy.ini", "--no-error-summary", str(SAMPLE), cwd=tmp_path)
    errors = [line for line in output.splitlines() if "http_sample.py:" in line and ": error:" in line]
    assert {int(line.split(":")[1]) for line in errors} == REFUSED, errors
