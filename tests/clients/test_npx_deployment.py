"""What pushes code, and the other commands of `npx convex`. Numbers are those of deployment-api's checklist."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.official_cli import make_project, npx_convex, npx_convex_running, use_packages
from tests.support.server import ADMIN_KEY, ReactorProcess

pytestmark = [pytest.mark.node, pytest.mark.process]

OPERATOR = {"Authorization": f"Convex {ADMIN_KEY}"}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A project that a push finds all it wants in."""
    return use_packages(make_project(tmp_path))


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_a_push_is_refused_after_the_urls_were_written(workplace: Path, tools_server: ReactorProcess) -> None:
    """52"""
    done = npx_convex(workplace, tools_server, "dev", "--once")
    assert done.returncode == 1
    assert "PushNotSupported: This deployment runs Python functions" in said(done)
    written = (workplace / ".env.local").read_text().split()
    assert written == [
        f"CONVEX_URL={tools_server.url}",
        f"CONVEX_SITE_URL=http://127.0.0.1:{tools_server.site_port}",
    ]


@pytest.mark.parametrize("command", [("deploy",), ("codegen",), ("run", "notes:add", '{"text": "pushed"}', "--push")])
def test_commands_that_push_say_that_there_is_nothing_to_push(
    workplace: Path, tools_server: ReactorProcess, command: tuple[str, ...]
) -> None:
    """53, 14: and the function is not run"""
    done = npx_convex(workplace, tools_server, *command)
    assert done.returncode == 1
    assert "PushNotSupported: This deployment runs Python functions" in said(done)
    assert tools_server.query("notes:latest") != "pushed"


@pytest.mark.parametrize(("command", "status"), [("dashboard", 0), ("insights", 1)])
def test_what_only_the_cloud_has_is_refused_by_the_tool_itself(
    workplace: Path, tools_server: ReactorProcess, command: str, status: int
) -> None:
    """51"""
    done = npx_convex(workplace, tools_server, command)
    assert done.returncode == status
    assert "self-hosted" in done.stderr or "cloud deployments" in done.stderr


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        *(
            ("POST", f"/api/{path}", "PushNotSupported")
            for path in (
                "get_config",
                "get_config_hashes",
                "push_config",
                "prepare_schema",
                "deploy2/start_push",
                "deploy2/evaluate_push",
                "deploy2/wait_for_schema",
                "deploy2/finish_push",
                "deploy2/report_push_completed",
            )
        ),
        ("POST", "/api/run_test_function", "InlineQueryNotSupported"),
        ("POST", "/api/v1/update_canonical_url", "CanonicalUrlNotSupported"),
        ("GET", "/api/v1/list_usage_limits", "UnknownEndpoint"),
        ("POST", "/api/something_of_tomorrow", "UnknownEndpoint"),
    ],
)
def test_what_is_not_supported_is_a_400_and_never_a_404(
    tools_server: ReactorProcess, method: str, path: str, code: str
) -> None:
    """3"""
    answer = httpx.request(method, tools_server.url + path, json={}, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["message"]


def test_small_endpoints(tools_server: ReactorProcess) -> None:
    """57, and section 9"""

    def get(path: str) -> httpx.Response:
        return httpx.get(tools_server.url + path, headers=OPERATOR)

    for path in ("/version", "/instance_name", "/instance_version", "/"):
        assert httpx.get(tools_server.url + path).is_success
    assert httpx.get(f"{tools_server.url}/instance_name").text == "reactor"
    checked = get("/api/check_admin_key").json()
    assert (checked["success"], checked["isReadOnly"]) == (True, False)
    assert {"ViewData", "WriteData", "ActAsUser", "RunInternalQueries"} <= set(checked["allowedOps"])
    assert get("/api/v1/get_canonical_urls").json() == {
        "convexCloudUrl": tools_server.url,
        "convexSiteUrl": f"http://127.0.0.1:{tools_server.site_port}",
    }
    assert get("/api/v1/deployment_info").json() == {"kind": "selfHosted"}


def test_the_site_port_serves_http_actions_at_the_root(tools_server: ReactorProcess) -> None:
    """58: and the main port below /http"""
    site = f"http://127.0.0.1:{tools_server.site_port}"
    assert httpx.get(f"{site}/hello").text == "hello by GET"
    assert httpx.post(f"{site}/hello").text == "hello by POST"
    assert httpx.get(f"{site}/files/a/b").text == "/files/a/b"
    assert httpx.get(f"{tools_server.url}/http/hello").text == "hello by GET"


class Mcp:
    """A client of a Model Context Protocol server that speaks over its standard input and output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._id = 0

    def send(self, method: str, params: dict[str, Any], **more: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}) + "\n")
        self._process.stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        self._id += 1
        self.send(method, params, id=self._id)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._id:
                return answer["result"]
        raise AssertionError("the server ended")

    def tool(self, name: str, **arguments: Any) -> Any:
        result = self.ask("tools/call", {"name": name, "arguments": arguments})
        assert not result.get("isError"), result
        return json.loads(result["content"][0]["text"])


class _Cloud(http.server.BaseHTTPRequestHandler):
    """What the tool's own log-in check asks of Convex's cloud, answered for a user who is logged in."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        body = b'{"optInsToAccept": []}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def logged_in() -> Iterator[dict[str, str]]:
    """The environment of somebody who is logged in to Convex's cloud, which is not there: `mcp` works for nobody else."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Cloud) as cloud:
        serving = threading.Thread(target=cloud.serve_forever)
        serving.start()
        yield {
            "CONVEX_OVERRIDE_ACCESS_TOKEN": "somebody",
            "CONVEX_PROVISION_HOST": f"http://127.0.0.1:{cloud.server_address[1]}",
        }
        cloud.shutdown()
        serving.join()


def test_agents_reach_tables_data_functions_and_variables(
    workplace: Path, tools_server: ReactorProcess, logged_in: dict[str, str]
) -> None:
    """54"""
    tools_server.mutation("notes:add", {"text": "for an agent"})
    change = {"changes": [{"name": "FOR_AGENTS", "value": "yes"}]}
    httpx.post(f"{tools_server.url}/api/update_environment_variables", json=change, headers=OPERATOR)
    arguments = ("mcp", "start", "--project-dir", str(workplace))
    with npx_convex_running(workplace, tools_server, *arguments, stdin=subprocess.PIPE, env=logged_in) as process:
        mcp = Mcp(process)
        client = {"name": "test", "version": "1"}
        mcp.ask("initialize", {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client})
        mcp.send("notifications/initialized", {})
        (deployment,) = mcp.tool("status", projectDir=str(workplace))["availableDeployments"]
        assert deployment["url"] == tools_server.url
        at = {"deploymentSelector": deployment["deploymentSelector"]}

        assert mcp.tool("tables", **at)["tables"]["notes"]["schema"]["tableName"] == "notes"
        page = mcp.tool("data", tableName="notes", order="desc", limit=1, **at)
        assert [document["text"] for document in page["page"]] == ["for an agent"]
        names = [entry.get("identifier") for entry in mcp.tool("functionSpec", **at)]
        assert "notes.js:listAll" in names
        assert "FOR_AGENTS" in [variable["name"] for variable in mcp.tool("envList", **at)["variables"]]
        ran = mcp.tool("run", functionName="notes:shout", args='{"text": "x"}', **at)
        assert ran["result"] == "X"
        assert "notes:shout" in mcp.tool("logs", **at)["entries"]
