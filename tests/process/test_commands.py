"""`reactor run|data|logs|function-spec` against a server that runs, found by its data directory."""

from __future__ import annotations

import json
import os
import select
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


@query
async def count_all(ctx: QueryCtx) -> str:
    return "the wire name is countAll"


@query(name="count_really")
async def count_exactly(ctx: QueryCtx) -> str:
    return "the wire name is count_really"


@query(name="countReally")
async def count_otherwise(ctx: QueryCtx) -> str:
    return "the wire name is countReally"


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


@pytest.mark.parametrize("name", ["notes:countAll", "notes:count_all", "notes.count_all", "functions.notes.count_all"])
def test_functions_may_be_named_as_in_python(server: ReactorProcess, name: str) -> None:
    assert reactor(server, "run", name).stdout == '"the wire name is countAll"\n'


def test_exact_names_win(server: ReactorProcess) -> None:
    assert "count_really" in reactor(server, "run", "notes:count_really").stdout
    assert "countReally" in reactor(server, "run", "notes:countReally").stdout
    assert "Could not find function for 'notes:count_nothing'" in reactor(server, "run", "notes:count_nothing").stderr


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
    assert [run] == json.loads(reactor(server, "why", "notes.count", "--limit", "1", "--json").stdout)
    assert (run["cause"], run["mutation"], run["table"]) == ("commit", "notes:add", "notes")
    assert reactor(server, "why", "notes:fail").stderr == "No live query has run yet.\n"


def test_logs_are_told_and_followed(server: ReactorProcess) -> None:
    server.mutation("notes:add", {"text": "in the logs"})
    server.call("action", "notes:fail", {"why": "for the logs"})
    told = reactor(server, "logs", "--history", "2")
    assert told.returncode == 0, told.stderr
    assert "mutation notes:add [LOG] 'adding in the logs'" in told.stdout
    assert "action notes:fail" in told.stdout
    assert "for the logs" in told.stdout
    entries = lines(reactor(server, "logs", "--json", "--history", "2").stdout)
    assert [entry["identifier"] for entry in entries] == ["notes:add", "notes:fail"]
    command = [sys.executable, "-m", "reactor.cli", "logs", "--follow", "--history", "0", "--success"]
    where = (f"--app={server.app}", f"--data={server.data}")
    with subprocess.Popen([*command, *where], stdout=subprocess.PIPE, text=True, env=environment()) as following:
        assert following.stdout is not None
        # It begins with what happens after its first question, so ask until it has asked.
        while not select.select([following.stdout], [], [], 0.2)[0]:
            server.query("notes:count")
        assert "query notes:count took" in following.stdout.readline()
        following.send_signal(2)
        assert following.wait(20) == 0


def test_documents_are_imported_and_exported(server: ReactorProcess, tmp_path: Path) -> None:
    before = server.query("notes:count")
    new = tmp_path / "new.jsonl"
    new.write_text('{"text": "one", "stars": 1}\n{"text": "two"}\n')
    refused = reactor(server, "import", str(new), "--table", "notes")
    assert refused.returncode == 2
    assert "already exists" in refused.stderr
    added = reactor(server, "import", str(new), "--table", "notes", "--append")
    assert added.returncode == 0, added.stderr
    assert "Imported 2 documents." in added.stderr
    assert server.query("notes:count") == before + 2

    exported = reactor(server, "export", str(tmp_path))
    assert exported.returncode == 0, exported.stderr
    archive = Path(exported.stdout.strip())
    assert archive.suffix == ".zip"
    assert reactor(server, "export", str(archive)).returncode == 2  # it is there already

    unsure = reactor(server, "import", str(new), "--table", "notes", "--replace")
    assert unsure.returncode == 2
    assert "--yes" in unsure.stderr
    assert server.query("notes:count") == before + 2
    assert reactor(server, "import", str(new), "--table", "notes", "--replace", "--yes").returncode == 0
    assert server.query("notes:count") == 2
    back = reactor(server, "import", str(archive), "--replace-all", "--yes")
    assert back.returncode == 0, back.stderr
    assert server.query("notes:count") == before + 2


def test_imports_that_can_not_be_are_refused_before_anything_is_sent(server: ReactorProcess, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "a.what").write_text("{}\n")
    for arguments, text in (
        (("nowhere.jsonl", "--table", "notes"), "there is no file"),
        (("a.jsonl",), "--table says where the documents go"),
        (("a.what", "--table", "notes"), "say so with --format"),
        (("a.jsonl", "--table", "notes", "--append", "--replace"), "choose one of"),
    ):
        file, *rest = arguments
        done = reactor(server, "import", str(tmp_path / file), *rest)
        assert done.returncode == 2
        assert text in done.stderr
    bad = reactor(server, "import", str(tmp_path / "a.jsonl"), "--table", "notes", "--append")
    assert bad.returncode == 2
    assert "text" in bad.stderr
