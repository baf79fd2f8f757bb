"""`reactor init`: a working app in one command, and nothing of anybody's lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reactor.cli.commands import cli
from reactor.cli.scaffold import create_app

runner = CliRunner(env={"COLUMNS": "120"})


def test_a_new_app_has_schema_functions_a_test_and_a_readme(tmp_path: Path) -> None:
    written = {str(p.relative_to(tmp_path / "shop")) for p in create_app(tmp_path / "shop")}
    assert {"schema.py", "functions/tasks.py", "tests/test_tasks.py", "README.md", ".gitignore"} <= written
    assert "convex" in json.loads((tmp_path / "shop" / "package.json").read_text())["devDependencies"]
    assert (tmp_path / "shop" / "README.md").read_text().startswith("# shop\n")
    assert not [p for p in (tmp_path / "shop").rglob("*") if p.is_file() and "__APP_NAME__" in p.read_text()]


def test_the_tests_of_a_new_app_pass(tmp_path: Path) -> None:
    create_app(tmp_path / "shop")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "shop",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 passed" in result.stdout


def test_a_fresh_repository_counts_as_empty_and_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("mine")
    create_app(tmp_path)
    assert (tmp_path / "schema.py").exists()
    assert (tmp_path / ".gitignore").read_text() == "mine"


def test_an_occupied_directory_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "schema.py").write_text("precious")
    with pytest.raises(FileExistsError, match=r"is not empty: it has schema\.py"):
        create_app(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["schema.py"]
    result = runner.invoke(cli, ["init", str(tmp_path)])
    assert result.exit_code == 2
    assert "is not empty" in result.output


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        create_app(tmp_path / "x")


def test_the_command_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(cli, ["init", "shop"])
    assert result.exit_code == 0
    assert result.output.endswith("Next:\n  cd shop && reactor dev\n")
