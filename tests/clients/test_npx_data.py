"""`npx convex data` against our server, and what a wrong key gets. Numbers are those of deployment-api's checklist."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.official_cli import npx_convex
from tests.support.server import TOOLS_APP, ReactorProcess, running_server

pytestmark = [pytest.mark.node, pytest.mark.process]

ROWS = 25_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    """One of this file's own, with more notes than a page takes, numbered from the oldest, and none of other tests."""
    with running_server(tmp_path_factory.mktemp("data"), app=TOOLS_APP) as server:
        for start in range(0, ROWS, 12_500):
            server.mutation("notes:fill", {"start": start, "count": 12_500})
        yield server


def data(project: Path, server: ReactorProcess, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return npx_convex(project, server, "data", *arguments, **options)


def test_tables_are_listed_by_name(project: Path, server: ReactorProcess) -> None:
    """15"""
    done = data(project, server)
    assert (done.returncode, done.stdout.split()) == (0, ["holders", "notes", "nothings"])


def test_the_newest_hundred_are_shown_and_that_there_are_more(project: Path, server: ReactorProcess) -> None:
    """16"""
    done = data(project, server, "notes")
    head, _, *rows = done.stdout.strip().splitlines()
    assert [column.strip() for column in head.split("|")][:2] == ["_id", "_creationTime"]
    assert len(rows) == 100
    assert f'"note {ROWS - 1}"' in rows[0]
    assert "Showing the 100 most recently created documents" in done.stderr


def test_limit_and_order(project: Path, server: ReactorProcess) -> None:
    """16, 17: and JSON lines"""
    oldest = data(project, server, "notes", "--limit", "5", "--order", "asc", "--format", "jsonl")
    numbers = [json.loads(line)["number"] for line in oldest.stdout.splitlines()]
    assert numbers == [0, 1, 2, 3, 4]


def test_a_table_that_needs_several_pages(project: Path, server: ReactorProcess) -> None:
    """17, 20: every document once, in order"""
    done = data(project, server, "notes", "--limit", str(ROWS), "--format", "json")
    numbers = [document["number"] for document in json.loads(done.stdout)]
    assert numbers == list(range(ROWS - 1, -1, -1))


def test_int64_and_bytes_are_shown_as_what_they_are(project: Path, server: ReactorProcess) -> None:
    """16"""
    content = {"big": {"$integer": "BwAAAAAAAAA="}, "raw": {"$bytes": "AAH/"}}
    server.mutation("notes:hold", {"content": content})
    (row,) = [line for line in data(project, server, "holders").stdout.splitlines() if "Bytes" in line]
    assert "7n" in row
    assert 'Bytes("AAH/")' in row


def test_system_tables(project: Path, server: ReactorProcess) -> None:
    """18"""
    server.mutation("notes:remind")
    server.call("action", "notes:store", {"text": "four"})
    jobs = data(project, server, "_scheduled_functions", "--format", "jsonl")
    assert json.loads(jobs.stdout.splitlines()[0])["name"] == "notes.js:add"
    files = data(project, server, "_storage", "--format", "jsonl")
    assert json.loads(files.stdout.splitlines()[0])["size"] == 4


def test_an_unknown_table_has_no_documents(project: Path, server: ReactorProcess) -> None:
    """19"""
    done = data(project, server, "nowhere")
    assert (done.returncode, done.stdout) == (0, "")
    assert "There are no documents in this table." in done.stderr


def test_a_wrong_key_ends_the_tools_with_a_sentence(project: Path, server: ReactorProcess) -> None:
    """1, 2: over WebSocket and over HTTP; neither hangs nor comes back for ever"""
    watched = data(project, server, admin_key="reactor|wrong", timeout_s=30)
    assert watched.returncode == 1
    assert 'Failed to authenticate: "The provided deploy key was invalid' in watched.stderr
    assert "You do not have permission to perform this operation" in watched.stderr
    assert "    at " not in watched.stderr, "a stack trace"
    posted = npx_convex(project, server, "env", "set", "A", "1", admin_key="reactor|wrong")
    assert posted.returncode == 1
    assert posted.stderr.strip().startswith("✖ The provided deploy key was invalid for deployment")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/update_environment_variables"),
        ("GET", "/api/check_admin_key"),
        ("POST", "/api/get_config_hashes"),
        ("POST", "/api/deploy2/start_push"),
        ("POST", "/api/run_test_function"),
    ],
)
def test_admin_endpoints_refuse_a_wrong_key(server: ReactorProcess, method: str, path: str) -> None:
    """1"""
    wrong = httpx.request(method, server.url + path, json={}, headers={"Authorization": "Convex reactor|wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (403, "BadDeployKey")
    assert "The provided deploy key was invalid for deployment 'reactor'" in wrong.json()["message"]
    nobody = httpx.request(method, server.url + path, json={})
    assert (nobody.status_code, nobody.json()["code"]) == (403, "BadDeployKey")
