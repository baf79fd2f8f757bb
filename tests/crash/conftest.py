"""A server of its own for each test: it is there to be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import ReactorProcess, running_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReactorProcess]:
    """In production mode, and with no parent that would start it again."""
    with running_server(tmp_path / "reactor", mode="serve", options=("--no-supervise",)) as server:
        yield server
