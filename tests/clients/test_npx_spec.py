"""`npx convex function-spec` and the generators of convex-helpers. Numbers are those of deployment-api's checklist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.driver import CLIENTS, require_node
from tests.support.official_cli import cli_environment, make_project, npx_convex, use_packages
from tests.support.server import ReactorProcess

pytestmark = [pytest.mark.node, pytest.mark.process]

EMPTY = {"type": "object", "value": {}}
STRING = {"type": "string"}
NUMBER = {"type": "number"}
NULL = {"type": "null"}
ANY = {"type": "any"}


def field(validator: Any, *, optional: bool = False) -> dict[str, Any]:
    return {"fieldType": validator, "optional": optional}


def function(kind: str, name: str, args: Any, returns: Any, visibility: str = "public") -> dict[str, Any]:
    return {
        "functionType": kind,
        "identifier": name,
        "visibility": {"kind": visibility},
        "args": args,
        "returns": returns,
    }


NOTE = {
    "type": "object",
    "value": {
        "_creationTime": field(NUMBER),
        "_id": field({"type": "id", "tableName": "notes"}),
        "big": field({"type": "bigint"}, optional=True),
        "number": field(NUMBER),
        "text": field(STRING),
    },
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own, with packages: the generators write files, and start `npx convex` themselves."""
    return use_packages(make_project(tmp_path_factory.mktemp("workplace")))


def generate(workplace: Path, server: ReactorProcess, *arguments: str) -> None:
    """`npx convex-helpers <arguments>`."""
    done = subprocess.run(
        [require_node(), str(CLIENTS / "node_modules" / "convex-helpers" / "bin.cjs"), *arguments],
        cwd=workplace,
        env=cli_environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_functions_and_routes_are_listed_with_their_validators(
    workplace: Path, tools_server: ReactorProcess
) -> None:
    """48"""
    done = npx_convex(workplace, tools_server, "function-spec")
    assert done.returncode == 0, done.stderr
    spec = json.loads(done.stdout)
    assert spec["url"] == tools_server.url
    functions = spec["functions"]
    assert [entry.get("identifier", entry.get("path")) for entry in functions] == [
        "admin/deepTools.js:sayHello",
        "/hello",
        "/hello",
        "/files/*",
        *(
            f"notes.js:{name}"
            for name in [
                "listAll",
                "list",
                "latest",
                "add",
                "fill",
                "hold",
                "remind",
                "store",
                "shout",
                "echo",
                "settings",
                "fail",
                "who",
                "secret",
                "untyped",
                "anything",
                "exact",
            ]
        ),
    ]
    assert functions[1:4] == [
        {"functionType": "HttpAction", "method": "GET", "path": "/hello"},
        {"functionType": "HttpAction", "method": "POST", "path": "/hello"},
        {"functionType": "HttpAction", "method": "GET", "path": "/files/*"},
    ]
    by_name = {entry["identifier"].partition(":")[2]: entry for entry in functions if "identifier" in entry}
    expected = [
        function(
            "Query",
            "notes.js:listAll",
            {"type": "object", "value": {"limit": field(NUMBER, optional=True)}},
            {"type": "array", "value": NOTE},
        ),
        function("Query", "notes.js:latest", EMPTY, {"type": "union", "value": [STRING, NULL]}),
        function(
            "Mutation",
            "notes.js:add",
            {
                "type": "object",
                "value": {
                    "text": field(STRING),
                    "number": field(NUMBER, optional=True),
                    "big": field({"type": "bigint"}, optional=True),
                },
            },
            {"type": "id", "tableName": "notes"},
        ),
        function("Action", "notes.js:store", {"type": "object", "value": {"text": field(STRING)}}, NULL),
        function("Query", "notes.js:who", EMPTY, ANY),
        function("Query", "notes.js:untyped", {"type": "object", "value": {"value": field(ANY)}}, ANY, "internal"),
        function("Query", "notes.js:anything", ANY, ANY, "internal"),
        function(
            "Query",
            "notes.js:exact",
            {
                "type": "object",
                "value": {
                    "kind": field({"type": "literal", "value": {"$integer": "BwAAAAAAAAA="}}),
                    "ids": field(
                        {"type": "record", "keys": STRING, "values": field({"type": "id", "tableName": "notes"})},
                        optional=True,
                    ),
                },
            },
            {"type": "bytes"},
            "internal",
        ),
    ]
    for entry in expected:
        assert by_name[entry["identifier"].partition(":")[2]] == entry
    literals = by_name["fail"]["args"]["value"]["kind"]["fieldType"]
    assert literals == {
        "type": "union",
        "value": [{"type": "literal", "value": value} for value in ("app", "plain", 7)],
    }


CLIENT = """
import { ConvexHttpClient } from "convex/browser";
import { api, internal } from "./api";

export async function use(client: ConvexHttpClient): Promise<string> {
  const id = await client.mutation(api.notes.add, { text: "x", big: 7n });
  const notes = await client.query(api.notes.listAll, { limit: 3 });
  const found = notes.find((note) => note._id === id);
  const shouted: string = await client.action(api.notes.shout, { text: found?.text ?? "" });
  await client.query(api.notes.fail, { kind: 7 });
  // @ts-expect-error there is no such kind
  await client.query(api.notes.fail, { kind: "other" });
  // @ts-expect-error text is missing
  await client.mutation(api.notes.add, { number: 1 });
  // @ts-expect-error a number is no text
  await client.action(api.notes.shout, { text: 1 });
  // @ts-expect-error there is no such function
  await client.query(api.notes.nothing, {});
  // @ts-expect-error internal functions are not for clients
  await client.query(internal.notes.secret, {});
  return shouted + (await client.query(api.admin.deepTools.sayHello, {}));
}
"""


def test_generated_typescript_checks_against_the_client(workplace: Path, tools_server: ReactorProcess) -> None:
    """49"""
    generate(workplace, tools_server, "ts-api-spec", "--output-file", "api")
    (workplace / "client.ts").write_text(CLIENT)
    tsc = CLIENTS / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--strict", "--noEmit", "--skipLibCheck", "--target", "es2022", "--module", "esnext"]
    done = subprocess.run(
        [require_node(), str(tsc), *options, "--moduleResolution", "bundler", "client.ts"],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_paths_of_generated_openapi_answer(workplace: Path, tools_server: ReactorProcess) -> None:
    """50"""
    (workplace / "spec.json").write_text(npx_convex(workplace, tools_server, "function-spec").stdout)
    generate(workplace, tools_server, "open-api-spec", "--output-file", "openapi", "--input-file", "spec.json")
    text = (workplace / "openapi.yaml").read_text()
    assert f"- url: {tools_server.url}" in text.replace('"', "").replace("'", "")
    paths = re.findall(r"^ +(/api/run/\S+):$", text, re.MULTILINE)
    assert "/api/run/notes/listAll" in paths
    assert "/api/run/admin/deepTools/sayHello" in paths
    for path in paths:
        answer = httpx.post(tools_server.url + path, json={"args": {}, "format": "json"}, timeout=30)
        assert answer.status_code == 200, path
        assert "Could not find" not in answer.text
    named = {"args": {"to": "me"}, "format": "json"}
    answer = httpx.post(f"{tools_server.url}/api/run/admin/deepTools/sayHello", json=named)
    assert answer.json() == {"status": "success", "value": "hello me"}
