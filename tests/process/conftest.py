"""Apps on disk that a test may edit, and servers that it may stop and kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import CONFORMANCE_APP, ReactorProcess

NOTES = """
from reactor import MutationCtx, QueryCtx, mutation, query

WORD = "first"


@query
async def word(ctx: QueryCtx) -> str:
    return WORD


@query
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query("notes").count()


@mutation
async def add(ctx: MutationCtx, text: str) -> str:
    return await ctx.db.insert("notes", {"text": text})
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app: "notes:word", "notes:count", "notes:add"."""
    functions = tmp_path / "app" / "functions"
    functions.mkdir(parents=True)
    (functions / "notes.py").write_text(NOTES)
    return functions.parent


@pytest.fixture
def conformance(tmp_path: Path) -> Path:
    """A copy of the conformance app."""
    return Path(shutil.copytree(CONFORMANCE_APP, tmp_path / "conformance"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., ReactorProcess]]:
    """Make servers (not started yet); all are gone at the end of the test."""
    made: list[ReactorProcess] = []

    def make(app: Path, **options: Any) -> ReactorProcess:
        made.append(ReactorProcess(tmp_path / f"server{len(made)}", app=app, **options))
        return made[-1]

    yield make
    for process in made:
        process.close()
