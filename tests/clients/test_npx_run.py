"""`npx convex run` against our server. Numbers are those of deployment-api's checklist."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.official_cli import npx_convex, npx_convex_running
from tests.support.server import ADMIN_KEY, ReactorProcess

pytestmark = [pytest.mark.node, pytest.mark.process]

OPERATOR = {"Authorization": f"Convex {ADMIN_KEY}"}


@pytest.fixture
def server(tools_server: ReactorProcess) -> ReactorProcess:
    return tools_server


def run(project: Path, server: ReactorProcess, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return npx_convex(project, server, "run", *arguments, **options)


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def function(server: ReactorProcess, path: str, headers: dict[str, str] | None = None, query: str = "") -> Any:
    """POST /api/function as `npx convex run` sends it."""
    body = {"path": path, "format": "convex_encoded_json", "args": {}}
    return httpx.post(f"{server.url}/api/function{query}", json=body, headers=headers, timeout=30)


def test_queries_mutations_and_actions_print_their_result(project: Path, server: ReactorProcess) -> None:
    """6, 11: the result on stdout, `null` as nothing, log lines on stderr"""
    note = result(run(project, server, "notes:add", "{text: 'run', number: 1}"))
    listed = run(project, server, "notes:listAll", '{"limit": 1}')
    assert result(listed)[0]["_id"] == note
    assert "[CONVEX ?(notes:listAll)] [LOG] 'listing 1'" in listed.stderr
    assert result(run(project, server, "notes:shout", '{"text": "x"}')) == "X"
    nothing = run(project, server, "notes:hold", '{"content": 1}')
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_values_go_there_and_back(project: Path, server: ReactorProcess) -> None:
    """7: JSON5 arguments, nested, with int64 and bytes"""
    value = "{big: {$integer: 'BwAAAAAAAAA='}, raw: {$bytes: 'AAH/'}, list: [1, -0.5, null, {deep: [true]},],}"
    assert result(run(project, server, "notes:echo", f"{{value: {value}}}")) == {
        "big": {"$integer": "BwAAAAAAAAA="},
        "raw": {"$bytes": "AAH/"},
        "list": [1, -0.5, None, {"deep": [True]}],
    }


def test_internal_functions_run_with_the_admin_key_and_for_nobody_else(project: Path, server: ReactorProcess) -> None:
    """8"""
    assert result(run(project, server, "notes:secret")) == "internal"
    assert function(server, "notes:secret").json()["code"] == "BadDeployKey"
    for kind in ("query", "run/notes/secret"):
        body = {"path": "notes:secret", "args": {}}
        answer = httpx.post(f"{server.url}/api/{kind}", json=body).json()
        assert "Could not find" in answer["errorMessage"]


def test_of_an_unknown_name_the_functions_there_are_are_listed(project: Path, server: ReactorProcess) -> None:
    """9"""
    done = run(project, server, "nope:fn")
    assert done.returncode == 1
    assert "Could not find function for 'nope:fn'" in done.stderr
    assert "Available functions:" in done.stderr
    for name in ("notes:secret", "notes:listAll", "admin/deepTools:sayHello"):
        assert f"• {name}" in done.stderr
    assert "/hello" not in done.stderr


def test_the_operator_may_act_as_a_user(project: Path, server: ReactorProcess) -> None:
    """10"""
    assert result(run(project, server, "notes:who", "--identity", '{"name": "J", "subject": "s"}')) == {
        "name": "J",
        "subject": "s",
        "issuer": "https://convex.test",
        "tokenIdentifier": "https://convex.test|s",
    }


def test_a_function_that_fails_says_why(project: Path, server: ReactorProcess) -> None:
    """11"""
    done = run(project, server, "notes:fail", '{"kind": "plain"}')
    assert (done.returncode, done.stdout) == (1, "")
    assert "[LOG] 'about to fail'" in done.stderr
    assert "Uncaught ValueError: a plain error" in done.stderr
    assert "functions/notes.py" in done.stderr


def test_a_query_can_be_watched(project: Path, server: ReactorProcess) -> None:
    """12, 5: over a socket for which the client offers compression"""
    server.mutation("notes:add", {"text": "before"})
    with npx_convex_running(project, server, "run", "--watch", "notes:latest") as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline()) == "before"
        server.mutation("notes:add", {"text": "after"})
        assert json.loads(watching.stdout.readline()) == "after"
    assert watching.returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        "notes:latest",
        "notes.js:latest",
        "notes.py:latest",
        "functions/notes:latest",
        "functions/notes.js:latest",
        "functions/notes.py:latest",
        "admin/deepTools:sayHello",
        "admin/deep_tools.py:say_hello",
        "functions/admin/deep_tools.py:say_hello",
        "functions/admin/deep_tools.py:sayHello",
    ],
)
def test_functions_may_be_named_by_their_file(server: ReactorProcess, name: str) -> None:
    """13: the ways to write a name, as the command line sends them"""
    assert function(server, name, OPERATOR).json()["status"] == "success"


def test_functions_may_be_named_as_code_does(project: Path, server: ReactorProcess) -> None:
    """13: what the command line translates itself, and what it sends as it is"""
    assert result(run(project, server, "api.admin.deepTools.sayHello")) == "hello you"
    assert result(run(project, server, "functions/admin/deep_tools.py:say_hello", '{"to": "me"}')) == "hello me"


@pytest.mark.parametrize("name", ["functions/functions/notes:latest", "functions/nope.py:latest", "notes.txt:latest"])
def test_names_of_other_files_are_of_no_function(server: ReactorProcess, name: str) -> None:
    assert "Could not find function" in function(server, name, OPERATOR).json()["errorMessage"]


def test_a_query_in_javascript_is_refused(project: Path, server: ReactorProcess) -> None:
    """14"""
    done = run(project, server, "--inline-query", "await ctx.db.query('notes').first()")
    assert done.returncode == 1
    assert "InlineQueryNotSupported" in done.stderr
    assert "npx convex data" in done.stderr


@pytest.mark.parametrize(
    "key", [ADMIN_KEY, f"prod:{ADMIN_KEY}", f"self-hosted:{ADMIN_KEY}"], ids=["plain", "prod", "self-hosted"]
)
@pytest.mark.parametrize("scheme", ["Convex", "convex", "CONVEX"])
def test_the_forms_of_an_admin_key(server: ReactorProcess, key: str, scheme: str) -> None:
    """4"""
    assert function(server, "notes:secret", {"Authorization": f"{scheme} {key}"}).json()["value"] == "internal"


def test_the_admin_key_may_be_a_parameter(server: ReactorProcess) -> None:
    """4"""
    good = function(server, "notes:secret", query=f"?adminKey={ADMIN_KEY.replace('|', '%7C')}")
    assert good.json()["value"] == "internal"
    assert function(server, "notes:secret", query="?adminKey=wrong").status_code == 403


def test_operators_see_errors_and_log_lines_in_production_and_nobody_else_does(
    project: Path, tmp_path: Path, server: ReactorProcess
) -> None:
    """11, in production"""
    production = ReactorProcess(tmp_path, app=server.app, mode="serve", options=("--no-supervise",)).start()
    try:
        body = {"path": "notes:fail", "args": {"kind": "plain"}}
        told = httpx.post(f"{production.url}/api/query", json=body).json()
        assert told["errorMessage"].endswith("Server Error")
        assert "logLines" not in told
        done = run(project, production, "notes:fail", '{"kind": "plain"}')
        assert "Uncaught ValueError: a plain error" in done.stderr
        assert "[LOG] 'about to fail'" in done.stderr
        wrong = npx_convex(project, production, "data", admin_key="wrong")
        assert (wrong.returncode, "You do not have permission" in wrong.stderr) == (1, True)
    finally:
        production.close()
