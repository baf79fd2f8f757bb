"""The pytest plugin: the fixtures, tests that need no marker, and an environment without pytest-asyncio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

APP = """
from reactor import MutationCtx, QueryCtx, mutation, query


@query
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query("things").count()


@mutation
async def add(ctx: MutationCtx) -> None:
    await ctx.db.insert("things", {})
"""


def run_pytest(project: Path, tests: str, *options: str, app: str = "", without_asyncio: bool = False) -> str:
    """Run pytest in a new project whose app is in the directory `app`; returns what it prints."""
    functions = project / app / "functions"
    functions.mkdir(parents=True)
    # With an __init__.py, or the sample app's `functions`, which this environment can import, would come first.
    (functions / "__init__.py").write_text("")
    (functions / "things.py").write_text(APP)
    (project / "pyproject.toml").write_text(
        (f'[tool.reactor]\napp = "{app}"\n' if app else "[tool.reactor]\n")
        + '[tool.pytest.ini_options]\nasyncio_default_fixture_loop_scope = "function"\n'
    )
    (project / "test_it.py").write_text(tests)
    code = "import sys, pytest\n"
    if without_asyncio:
        (project / "pytest_asyncio.py").write_text("raise ImportError\n")
        options = (*options, "-p", "no:asyncio", "-c", "/dev/null", "--rootdir", str(project))
    code += "sys.exit(pytest.main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", code, "-p", "no:cacheprovider", "-q", "test_it.py", *options],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.stdout + result.stderr


TESTS = """
from functions import things


async def test_by_backend(backend):
    await backend.mutation(things.add)
    assert await backend.query(things.count) == 1


async def test_by_the_other_name(reactor_backend):
    assert await reactor_backend.query(things.count) == 0


class TestInAClass:
    async def test_method(self, backend):
        assert await backend.query("things:count") == 0


async def test_both_names_are_one_backend(backend, reactor_backend):
    assert backend is reactor_backend
"""


def test_coroutine_tests_that_take_the_fixture_need_no_marker(tmp_path: Path) -> None:
    assert "4 passed" in run_pytest(tmp_path, TESTS)


def test_it_works_in_automatic_mode_too(tmp_path: Path) -> None:
    assert "4 passed" in run_pytest(tmp_path, TESTS, "-o", "asyncio_mode=auto")


def test_the_app_may_be_elsewhere(tmp_path: Path) -> None:
    assert "4 passed" in run_pytest(tmp_path, TESTS, app="server/live")


def test_without_pytest_asyncio_the_fixture_says_what_to_install(tmp_path: Path) -> None:
    output = run_pytest(tmp_path, "def test_it(backend):\n    pass\n", without_asyncio=True)
    assert "1 error" in output
    assert "pip install pytest-asyncio" in output


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys, pytest, pytest_asyncio; before = set(sys.modules); import reactor.testing.plugin\n"
        "heavy = {'msgspec', 'reactor.server', 'sqlite3', 'starlette', 'uvicorn'} & (set(sys.modules) - before)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
