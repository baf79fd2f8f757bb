"""Which function a name on the command line means."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.cli.function_names import wire_path
from reactor.cli.target import Deployment

KNOWN = [
    "tasks.js:countOpen",
    "tasks.js:list",
    "tasks.js:as_written",
    "deepTools/mailBox.js:sendAll",
    "deep/as_is.js:run_it",
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def call(_: Deployment, path: str, args: dict[str, Any]) -> list[dict[str, Any]]:
        asked.append(path)
        return [*({"identifier": name} for name in KNOWN), {"functionType": "HttpAction", "path": "/x"}]

    monkeypatch.setattr(Deployment, "call", call)
    return asked


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("tasks:count_open", "tasks:countOpen"),
        ("tasks.count_open", "tasks:countOpen"),
        ("functions.tasks.count_open", "tasks:countOpen"),
        ("functions/tasks:count_open", "tasks:countOpen"),
        ("tasks.countOpen", "tasks:countOpen"),
        ("tasks:list_", "tasks:list"),
        ("deep_tools/mail_box:send_all", "deepTools/mailBox:sendAll"),
        ("deep_tools.mail_box.send_all", "deepTools/mailBox:sendAll"),
        ("deep/as_is:run_it", "deep/as_is:run_it"),
        ("deep.as_is.run_it", "deep/as_is:run_it"),
        ("tasks:as_written", "tasks:as_written"),
        ("tasks.js:as_written", "tasks.js:as_written"),
        ("tasks:no_such", "tasks:no_such"),
        ("functions/tasks.py:count_open", "functions/tasks.py:count_open"),  # the server knows files by itself
    ],
)
def test_names_of_python_are_found(asked: list[str], given: str, meant: str) -> None:
    assert wire_path(Deployment("http://x", "key"), given) == meant
    assert asked == ["_system/cli/modules:apiSpec"]


@pytest.mark.parametrize("given", ["tasks:countOpen", "tasks.js:countOpen", "tasks:", "", "_system/cli/tables:default"])
def test_other_names_are_left_to_the_server(asked: list[str], given: str) -> None:
    assert wire_path(Deployment("http://x", "key"), given) == given
    assert asked == []
