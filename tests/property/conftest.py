"""One server for all property tests; examples clear the tables they use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import ReactorProcess, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    with running_server(tmp_path_factory.mktemp("reactor")) as server:
        yield server
