"""`project`: writes an app's files, loads it and opens a database for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from reactor.limits import DEFAULT_LIMITS, Limits
from tests.unit.runtime.harness import Harness, write_files

Project = Callable[..., Awaitable[Harness]]


@pytest.fixture
async def project(tmp_path: Path) -> AsyncIterator[Project]:
    opened: list[Harness] = []

    async def open_project(files: Mapping[str, str], limits: Limits = DEFAULT_LIMITS) -> Harness:
        root = tmp_path / str(len(opened))
        write_files(root / "app", files)
        harness = await Harness.open(root, limits)
        opened.append(harness)
        return harness

    yield open_project
    for harness in opened:
        await harness.close()
