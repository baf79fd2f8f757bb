"""The list of functions follows the code, and functions may be named by their files (deployment-api 2.1, 3, 6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor import Reactor
from reactor.errors import FunctionNotFound, PermissionDenied
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.runtime.references import python_paths
from reactor.testing import Backend

NOTES = """
from reactor import QueryCtx, query


@query
async def one(ctx: QueryCtx) -> int:
    return 1
"""

SECOND = """

@query(name="exactly_so")
async def two(ctx: QueryCtx) -> int:
    return 2
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "functions" / "functions").mkdir(parents=True)
    (tmp_path / "functions" / "my_notes.py").write_text(NOTES)
    return tmp_path


async def test_the_list_of_functions_follows_the_code(app: Path) -> None:
    async with Reactor(app, data=app / "data", admin_keys=["a|b"], synchronous="OFF", dev=True) as reactor:
        backend = Backend(reactor)
        async with backend.subscribe("_system/cli/modules:apiSpec", {}) as specs:
            assert [entry["identifier"] for entry in await specs.next()] == ["myNotes.js:one"]
            await reactor.reload()
            await specs.assert_quiet()
            (app / "functions" / "my_notes.py").write_text(NOTES + SECOND)
            await reactor.reload()
            listed = [entry["identifier"] for entry in await specs.next()]
            assert listed == ["myNotes.js:one", "myNotes.js:exactly_so"]
        assert await backend.query("_system/cli/convexUrl:cloudUrl") == reactor.url
        assert await backend.query("_system/cli/convexUrl:siteUrl") == reactor.site_url
        assert await backend.query("_system/frontend/components:list") == []


@pytest.fixture
def loaded(app: Path) -> App:
    (app / "functions" / "my_notes.py").write_text(NOTES + SECOND)
    (app / "functions" / "functions" / "deep.py").write_text(NOTES)
    return AppLoader(app, private=True).load()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("myNotes:one", "myNotes:one"),
        ("my_notes.py:one", "myNotes:one"),
        ("functions/my_notes.py:one", "myNotes:one"),
        ("functions/myNotes:one", "myNotes:one"),
        ("functions/myNotes.js:one", "myNotes:one"),
        ("my_notes.py:exactly_so", "myNotes:exactly_so"),
        ("functions/deep:one", "functions/deep:one"),
        ("functions/functions/deep.py:one", "functions/deep:one"),
    ],
)
def test_a_function_is_found_by_its_file(loaded: App, text: str, path: str) -> None:
    assert loaded.resolve(text).path == path


@pytest.mark.parametrize(
    "text", ["my_notes:one", "functions/my_notes:one", "my_notes.txt:one", "my_notes.py:two", "x.py"]
)
def test_other_spellings_name_nothing(loaded: App, text: str) -> None:
    with pytest.raises(FunctionNotFound):
        loaded.resolve(text)


def test_made_up_spellings_are_not_remembered(loaded: App) -> None:
    before = len(loaded._resolved)
    for count in range(1, 50):
        assert loaded.resolve(f"my{'_' * count}notes.py:one").path == "myNotes:one"
    assert len(loaded._resolved) == before


def test_paths_that_name_no_file_have_one_meaning() -> None:
    assert python_paths("messages:list") == []
    assert python_paths("folder/messages.js:list") == []


@pytest.mark.parametrize("path", ["_system/cli/tables:default", "_system/made/up:default"])
def test_strangers_may_not_ask_for_system_functions_and_learn_nothing_of_them(loaded: App, path: str) -> None:
    with pytest.raises(PermissionDenied, match="You do not have permission to perform this operation"):
        loaded.resolve(path)
