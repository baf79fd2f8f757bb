"""What pyright and mypy, both strict, say about user code that uses the schema part of the public API."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("schema_sample.py")
ROOT = Path(__file__).parents[2]
REFUSED = {number for number, line in enumerate(SAMPLE.read_text().splitlines(), 1) if line.endswith("# refused")}


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=170, check=False
    )
    return done.stdout or done.stderr


def report(found: dict[int, list[str]]) -> str:
    wrong = {line: texts for line, texts in sorted(found.items()) if line not in REFUSED}
    missed = sorted(REFUSED - set(found))
    return f"errors where none belong: {wrong}\nno errors where some belong: {missed}"


def test_the_sample_is_a_schema_that_loads() -> None:
    names = runpy.run_path(str(SAMPLE), run_name="schema_sample")
    assert names["schema"].prepared


@pytest.mark.process
def test_pyright_strict_understands_schemas_and_flags_mistakes(tmp_path: Path) -> None:
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
        "enableExperimentalFeatures": True,
    }
    shutil.copy(SAMPLE, tmp_path)  # pyright only reads files below its settings
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    output = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, cwd=tmp_path))
    assert output["summary"]["filesAnalyzed"] == 1
    found: dict[int, list[str]] = {}
    for item in output["generalDiagnostics"]:
        if item["severity"] == "error":
            found.setdefault(item["range"]["start"]["line"] + 1, []).append(item["message"])
    assert set(found) == REFUSED, report(found)


@pytest.mark.process
def test_mypy_strict_understands_schemas_and_flags_mistakes(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = True\nfollow_imports = silent\nmypy_path = {ROOT}\n")
    output = run("mypy", "--config-file", "mypy.ini", "--no-error-summary", str(SAMPLE), cwd=tmp_path)
    found: dict[int, list[str]] = {}
    for line in output.splitlines():
        path, number, kind, text = (*line.split(":", 3), "", "", "")[:4]
        if path.endswith("schema_sample.py") and kind.strip() == "error":
            found.setdefault(int(number), []).append(text.strip())
    assert set(found) == REFUSED, report(found) + "\n" + output
