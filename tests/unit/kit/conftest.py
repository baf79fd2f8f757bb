"""`project`: writes an app's files and opens a whole backend for it, with a manual clock."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.runtime.loader import AppLoader
from reactor.testing import Backend
from reactor.testing import backend as open_backend

Project = Callable[..., contextlib.AbstractAsyncContextManager[Backend]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    @contextlib.asynccontextmanager
    async def open_project(functions: str, schema: str = "") -> AsyncIterator[Backend]:
        (tmp_path / "functions").mkdir()
        (tmp_path / "functions" / "f.py").write_text(textwrap.dedent(functions))
        if schema:
            (tmp_path / "schema.py").write_text(textwrap.dedent(schema))
        loader = AppLoader(tmp_path)
        try:
            async with open_backend(loader.load()) as backend:
                yield backend
        finally:
            loader.close()

    return open_project


async def rows(backend: Backend, table: str) -> int:
    """How many documents one of our own tables holds."""

    def count(tx: Transaction) -> int:
        info = tx.table(table)
        assert info is not None
        return tx.count(make_range(info.indexes["by_creation_time"]))

    return await backend.reactor.database.read(count)
