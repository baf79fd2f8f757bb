"""What holds for all examples: they are complete, typed, and their own tests pass where a user would run them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.examples import EXAMPLES, copy_of, run

APPS = sorted(schema.parent for schema in EXAMPLES.glob("*/schema.py"))

every_app = pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)


@every_app
def test_its_own_tests_pass_where_a_user_would_run_them(app: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=copy_of(app, tmp_path))


@every_app
def test_it_is_typed(app: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, ".", cwd=copy_of(app, tmp_path))


@every_app
def test_its_readme_is_short_and_says_how_to_start_it(app: Path) -> None:
    readme = (app / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 15
    assert f"reactor dev examples/{app.name}" in readme
