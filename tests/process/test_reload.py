"""Live reload: what is saved is live, on connections that stay open, and what is broken changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process
Server = Callable[..., ReactorProcess]


HELLO = """
from reactor import QueryCtx, query


@query
async def hello(ctx: QueryCtx) -> str:
    return "here"
"""


def save(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def test_a_saved_change_reaches_subscribers_on_their_open_socket(app: Path, server: Server) -> None:
    running = server(app).start()
    client = SyncClient(running.ws_url)
    await client.open()
    word = await client.subscribe("notes:word")
    assert word.value == "first"
    save(app / "functions" / "notes.py", '"first"', '"second"')
    await client.until_value(word, lambda value: value == "second")
    assert client.connection_count == 1
    assert running.query("notes:word") == "second"
    assert "reloaded functions/notes.py" in running.log()
    await client.close()


async def test_new_modules_and_functions_appear(app: Path, server: Server) -> None:
    running = server(app).start()
    client = SyncClient(running.ws_url)
    await client.open()
    later = client.new_query("more:hello")
    await client.modify({"type": "Add", "queryId": later.id, "udfPath": "more:hello", "args": [{}]})
    await client.until(lambda: bool(later.updates))
    assert later.last["type"] == "QueryFailed"
    (app / "functions" / "more.py").write_text(HELLO)
    await client.until_value(later, lambda value: value == "here")
    await client.close()


def test_the_first_module_of_an_empty_app_goes_live(tmp_path: Path, server: Server) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    running = server(empty).start()
    assert "no functions yet" in running.log()
    (empty / "functions" / "inner").mkdir(parents=True)
    (empty / "functions" / "inner" / "deep.py").write_text(HELLO)
    _wait_until(lambda: running.call("query", "inner/deep:hello")["status"] == "success")


async def test_a_helper_beside_the_functions_is_reloaded_too(app: Path, server: Server) -> None:
    (app / "words.py").write_text('WORD = "one"\n')
    save(app / "functions" / "notes.py", 'WORD = "first"', "from words import WORD")
    running = server(app).start()
    assert running.query("notes:word") == "one"
    (app / "words.py").write_text('WORD = "two"\n')
    _wait_until(lambda: running.query("notes:word") == "two")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("def x(:\n", "SyntaxError"),
        ("import no_such_module_anywhere\n", "no_such_module_anywhere"),
        ("from reactor import query\n\n\n@query\ndef sync(ctx):\n    pass\n", "async def"),
    ],
    ids=["syntax", "import", "declaration"],
)
async def test_a_broken_file_is_told_and_the_old_code_keeps_serving(
    app: Path, server: Server, broken: str, told: str
) -> None:
    running = server(app).start()
    client = SyncClient(running.ws_url)
    await client.open()
    word = await client.subscribe("notes:word")
    path = app / "functions" / "notes.py"
    good = path.read_text()
    path.write_text(broken)
    _wait_until(lambda: "keeps serving" in running.log())
    assert told in running.log()
    assert "notes.py" in running.log()
    assert running.query("notes:word") == "first"
    page = httpx.get(f"{running.url}/", headers={"Accept": "text/html"}).text
    assert "does not load" in page
    path.write_text(good.replace('"first"', '"mended"'))
    await client.until_value(word, lambda value: value == "mended")
    assert "does not load" not in httpx.get(f"{running.url}/", headers={"Accept": "text/html"}).text
    assert client.connection_count == 1
    await client.close()


async def test_a_schema_that_the_documents_do_not_fit_is_refused(app: Path, server: Server) -> None:
    running = server(app).start()
    note_id = running.mutation("notes:add", {"text": "not a number"})
    (app / "schema.py").write_text(
        "from reactor import define_schema, define_table, v\n\n"
        'schema = define_schema(notes=define_table({"text": v.number()}))\n'
    )
    client = SyncClient(running.ws_url)
    await client.open()
    _wait_until(lambda: "keeps serving" in running.log())
    assert note_id in running.log(), "the first offender is named"
    running.mutation("notes:add", {"text": "still no schema"})
    assert running.query("notes:count") == 2
    await client.close()


def test_an_app_that_is_broken_at_the_start_is_served_once_mended(app: Path, server: Server) -> None:
    path = app / "functions" / "notes.py"
    good = path.read_text()
    path.write_text("def x(:\n")
    running = server(app).start()
    assert "SyntaxError" in running.log()
    path.write_text(good)
    _wait_until(lambda: running.call("query", "notes:word")["status"] == "success")


def test_production_refuses_to_start_with_a_broken_app(app: Path, server: Server) -> None:
    (app / "functions" / "notes.py").write_text("def x(:\n")
    running = server(app, mode="serve")
    running.start(ready=False)
    assert running.wait_exit() == 2
    assert "SyntaxError" in running.log()


def _wait_until(condition: Callable[[], bool]) -> None:
    """Polling: nothing tells when a log file grows."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited 20 s in vain"
        time.sleep(0.02)
