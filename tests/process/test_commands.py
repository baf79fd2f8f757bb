"""`reactor run|data|logs|function-spec` against a server that runs, found by its data directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import ADMIN_KEY, ReactorProcess, running_server
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

SCHEMA = """
from reactor import Document, Int64, define_schema, define_table


class Note(Document):
    text: str
    stars: float = 0
    big: Int64 | None = None
    raw: bytes | None = None


schema = define_schema(notes=define_table(Note))
"""

FUNCTIONS = """
from reactor import (
    ActionCtx, ApplicationError, Id, Int64, MutationCtx, QueryCtx, action, internal_query, mutation, query
)
from schema import Note


@query
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query(Note).count()


@mutation
async def add(ctx: MutationCtx, text: str, stars: float = 0) -> Id[Note]:
    print("adding", text)
    return await ctx.db.insert(Note(text=text, stars=stars, big=Int64(2**60), raw=b"ab"))


@internal_query
async def newest(ctx: QueryCtx) -> Note | None:
    return await ctx.db.query(Note).order("desc").first()


@query
async def me(ctx: QueryCtx) -> dict[str, str]:
    identity = await ctx.auth.get_user_identity()
    return {} if identity is None else {"subject": identity.subject, "issuer": identity.issuer}


@action
async def fail(ctx: ActionCtx, why: str) -> None:
    raise ApplicationError({"why": why, "big": Int64(7)})
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    work = tmp_path_factory.mktemp("commands")
    (work / "app" / "functions").mkdir(parents=True)
    (work / "app" / "schema.py").write_text(SCHEMA)
    (work / "app" / "functions" / "notes.py").write_text(FUNCTIONS)
    with running_server(work / "server", app=work / "app") as running:
        yield running


def environment(key: str = ADMIN_KEY) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("REACTOR_", "CONVEX_"))}
    return {**environ, "REACTOR_ADMIN_KEY": key, "COLUMNS": "200", "NO_COLOR": "1"}


def reactor(server: ReactorProcess, *arguments: str, key: str = ADMIN_KEY) -> subprocess.CompletedProcess[str]:
    where = (f"--app={server.app}", f"--data={server.data}")
    return subprocess.run(
        [sys.executable, "-m", "reactor.cli", *arguments, *where],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment(key),
        timeout=60,
        check=False,
    )


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_functions_of_every_kind_are_run(server: ReactorProcess) -> None:
    added = reactor(server, "run", "notes:add", '{"text": "first", "stars": 2}')
    assert added.returncode == 0, added.stderr
    assert "[LOG] 'adding first'" in added.stderr
    assert reactor(server, "run", "notes:add", "text=second", "stars=3.5").returncode == 0
    newest = reactor(server, "run", "notes:newest")
    assert '"text": "second"' in newest.stdout
    assert '"big": 1152921504606846976n' in newest.stdout
    assert '"raw": Bytes("YWI=")' in newest.stdout
    encoded = json.loads(reactor(server, "run", "notes:newest", "--json").stdout)
    assert encoded["raw"] == {"$bytes": "YWI="}
    assert encoded["stars"] == 3.5
    failed = reactor(server, "run", "notes:fail", "why=because")
    assert failed.returncode == 1
    assert '"why": "because"' in failed.stderr
    assert '"big": 7n' in failed.stderr


def test_a_query_is_asked_as_a_user(server: ReactorProcess) -> None:
    asked = reactor(server, "run", "notes:me", "--identity", '{"subject": "ann"}')
    assert json.loads(asked.stdout) == {"subject": "ann", "issuer": "https://convex.test"}
    assert json.loads(reactor(server, "run", "notes:me").stdout) == {}


def test_what_is_wrong_is_said(server: ReactorProcess) -> None:
    missing = reactor(server, "run", "notes:ad")
    assert missing.returncode == 1
    assert "Could not find function for 'notes:ad'" in missing.stderr
    argument = reactor(server, "run", "notes:add", "text=1")
    assert argument.returncode == 1
    assert "text" in argument.stderr
    word = reactor(server, "run", "notes:add", "text")
    assert word.returncode == 2
    assert "neither a JSON object nor NAME=VALUE" in word.stderr
    refused = reactor(server, "run", "notes:count", key="wrong|key")
    assert refused.returncode == 2
    assert "The provided deploy key was invalid" in refused.stderr
    gone = reactor(server, "run", "notes:count", "--url=http://127.0.0.1:9")
    assert gone.returncode == 2
    assert "no server answers at http://127.0.0.1:9" in gone.stderr


def test_a_query_is_followed(server: ReactorProcess) -> None:
    command = [sys.executable, "-m", "reactor.cli", "run", "--watch", "notes:newest", "--json"]
    where = (f"--app={server.app}", f"--data={server.data}")
    with subprocess.Popen([*command, *where], stdout=subprocess.PIPE, text=True, env=environment()) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        server.mutation("notes:add", {"text": "third"})
        assert json.loads(watching.stdout.readline())["text"] == "third"
        watching.send_signal(2)
        assert watching.wait(20) == 0


def test_tables_and_their_documents_are_shown(server: ReactorProcess) -> None:
    for number in range(4):
        server.mutation("notes:add", {"text": f"row {number}", "stars": number})
    assert reactor(server, "data").stdout.split() == ["notes"]
    assert json.loads(reactor(server, "data", "--json").stdout) == ["notes"]
    shown = reactor(server, "data", "notes", "--limit", "2")
    head, _, newest, second = shown.stdout.strip().splitlines()
    assert head.split() == ["_id", "big", "raw", "stars", "text", "_creationTime"]
    assert "row 3" in newest
    assert "1152921504606846976n" in newest
    assert "row 2" in second
    assert "There are more than these 2" in shown.stderr
    documents = lines(reactor(server, "data", "notes", "--json", "--order", "asc", "--limit", "3").stdout)
    assert len(documents) == 3
    assert documents[0]["raw"] == {"$bytes": "YWI="}
    assert reactor(server, "data", "nowhere").stderr == "There are no documents in nowhere.\n"


def test_functions_are_described(server: ReactorProcess, tmp_path: Path) -> None:
    out = tmp_path / "spec.json"
    assert reactor(server, "function-spec", "--out", str(out)).returncode == 0
    spec = json.loads(out.read_text())
    assert spec["url"] == server.url
    assert "notes.js:newest" in {entry["identifier"] for entry in spec["functions"]}
    assert json.loads(reactor(server, "function-spec").stdout) == spec


async def test_why_a_query_ran_again_is_told(server: ReactorProcess) -> None:
    client = SyncClient(server.ws_url)
    await client.open()
    count = await client.subscribe("notes:count")
    server.mutation("notes:add", {"text": "for why"})
    await client.until(lambda: len(count.updates) == 2)
    await client.close()
    told = reactor(server, "why", "notes:count", "--limit", "1")
    assert told.returncode == 0, told.stderr
    assert "notes:add" in told.stdout
    assert "a new result for 1 subscribers" in told.stdout
    [run] = json.loads(reactor(server, "why", "notes:count", "--limit", "1", "--json").stdout)
    assert (run["cause"], run["mutation"], run["table"]) == ("commit", "notes:add", "notes")
    assert reactor(server, "why", "notes:fail").stderr == "No live query has run yet.\n"
