"""What people type at the command line, and what strangers wrote that it shows: said clearly, and harmless to a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from reactor.cli.download import save
from reactor.cli.run import _arguments
from reactor.cli.target import Deployment
from reactor.cli.values import shown, shown_cell
from reactor.errors import ReactorError


@pytest.mark.parametrize("value", ["\udcff", float("nan"), float("inf")], ids=repr)
def test_what_can_not_be_sent_is_said(value: Any) -> None:
    """The first is what Python makes of bytes on the command line that are no UTF-8."""
    nowhere = Deployment("http://127.0.0.1:9", "a|b")
    with pytest.raises(ReactorError, match="what was given") as refused:
        nowhere.call("notes:echo", {"x": value})
    assert refused.value.code == "BadInput"


def test_endless_nesting_is_text_or_refused() -> None:
    deep = "[" * 100_000
    assert _arguments([f"x={deep}"]) == {"x": deep}
    with pytest.raises(typer.BadParameter, match="not JSON"):
        _arguments(['{"x":' + deep])


def test_documents_give_the_terminal_no_commands() -> None:
    hostile = "\x1b]0;title\x07\x9b31m\x7f\r\bok ä"
    for text in (shown_cell(hostile, 200), shown_cell({"a": [hostile]}, 200), shown(hostile), shown({"a": hostile})):
        assert text.replace("\n", "").isprintable(), text
        assert "ok ä" in text
    assert shown({"a": ["b"]}) == '{\n  "a": [\n    "b"\n  ]\n}'


def test_what_is_downloaded_is_for_its_owner_and_goes_nowhere_else(tmp_path: Path) -> None:
    """A backup holds everybody's data, and the environment variables; the server names the file."""
    directory = tmp_path / "here"
    directory.mkdir()
    for name in ("a.zip", "../b.zip", "/etc/c.zip"):
        answer = httpx.Response(200, content=b"data", headers={"content-disposition": f"attachment; filename={name}"})
        saved = save(directory, answer, "fallback.zip")
        assert saved.parent == directory
        assert saved.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "b.zip", "c.zip", "here"]
