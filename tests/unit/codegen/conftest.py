from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader

CODEGEN_APP = Path(__file__).parents[2] / "apps" / "codegen"


@pytest.fixture(scope="session")
def app() -> Iterator[App]:
    loader = AppLoader(CODEGEN_APP)
    yield loader.load()
    loader.close()
