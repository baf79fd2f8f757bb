"""What pyright and mypy, both strict, say about user functions and references; and that the sample runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reactor.runtime.loader import AppLoader

SAMPLE = Path(__file__).with_name("functions_sample.py")
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


def test_the_sample_is_an_app_that_loads(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    shutil.copy(SAMPLE, tmp_path / "functions" / "tasks.py")
    (tmp_path / "schema.py").write_text("from functions.tasks import schema\n")
    loader = AppLoader(tmp_path)
    functions = loader.load().functions
    loader.close()
    assert [
        path for path in functions if path in ("tasks:listTasks", "tasks:addTask", "tasks:act", "tasks:wrapped")
    ] == [
        "tasks:listTasks",
        "tasks:addTask",
        "tasks:act",
        "tasks:wrapped",
    ]


@pytest.mark.process
def test_pyright_strict_understands_functions_and_flags_mistakes(tmp_path: Path) -> None:
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
def test_mypy_strict_understands_functions_and_flags_mistakes(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = True\nfollow_imports = silent\nmypy_path = {ROOT}\n")
    output = run("mypy", "--config-file", "mypy.ini", "--no-error-summary", str(SAMPLE), cwd=tmp_path)
    found: dict[int, list[str]] = {}
    for line in output.splitlines():
        path, number, kind, text = (*line.split(":", 3), "", "", "")[:4]
        if path.endswith("functions_sample.py") and kind.strip() == "error":
            found.setdefault(int(number), []).append(text.strip())
    assert set(found) == REFUSED, report(found) + "\n" + output
