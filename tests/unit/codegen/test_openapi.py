"""The OpenAPI document: valid, its examples fit their schemas, and its paths answer as it says."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openapi_spec_validator
import pytest

from reactor.codegen.openapi import openapi_document
from reactor.runtime.app import App
from reactor.runtime.loader import AppLoader
from reactor.server import Reactor
from reactor.values.types import Int64
from tests.unit.codegen.conftest import CODEGEN_APP
from tests.unit.runtime.harness import write_files

SEVEN = {"$integer": base64.b64encode((7).to_bytes(8, "little")).decode()}
EVERYTHING: dict[str, Any] = {
    "text": "a", "big": Int64(7), "raw": b"12", "flag": True, "nothing": None, "choice": 3, "maybe": None,
    "points": [{"x": 1, "y": 2}], "byName": {}, "embedding": [1.0],
}  # fmt: skip


def document(app: App) -> dict[str, Any]:
    return json.loads(json.dumps(openapi_document(app, url="http://127.0.0.1:3210", title="things", version="1")))


def check(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> None:
    """Raises jsonschema's ValidationError unless `value` fits."""
    jsonschema.Draft202012Validator({**schema, "components": whole["components"]}).validate(value)


def test_it_is_valid_and_lists_the_public_functions(app: App) -> None:
    made = document(app)
    openapi_spec_validator.validate(made)
    assert list(made["paths"]) == [
        "/api/run/admin/tools", "/api/run/admin/tools/delete", "/api/run/things/list", "/api/run/things/nothing",
        "/api/run/things/shape", "/api/run/things/echo", "/api/run/things/untyped",
    ]  # fmt: skip
    operation = made["paths"]["/api/run/things/list"]["post"]
    assert operation["summary"] == "All that somebody owns."
    assert "quotes" in operation["description"]
    assert operation["operationId"] == "things.list"
    assert "sweep" not in json.dumps(made)


def test_tables_that_no_public_function_answers_with_are_not_told(tmp_path: Path) -> None:
    """Whoever may read the document is not told of them: they are documents of internal functions."""
    made = document(
        AppLoader(
            write_files(
                tmp_path,
                {
                    "schema.py": """
                        from reactor import Document, define_schema, define_table

                        class Note(Document):
                            text: str

                        class Ledger(Document):
                            iban: str

                        schema = define_schema(notes=define_table(Note), ledger=define_table(Ledger))
                    """,
                    "functions/notes.py": """
                        from reactor import QueryCtx, internal_query, query
                        from schema import Ledger, Note

                        @query
                        async def all(ctx: QueryCtx) -> dict[str, list[Note]]:
                            return {}

                        @internal_query
                        async def entries(ctx: QueryCtx) -> list[Ledger]:
                            return []
                    """,
                },
            ),
            private=True,
        ).load()
    )
    openapi_spec_validator.validate(made)
    assert made["components"]["schemas"].keys() == {"notes", "reactor.Failure", "reactor.Refusal"}
    assert "iban" not in json.dumps(made)


def test_every_example_fits_its_schema(app: App) -> None:
    made = document(app)
    for item in made["paths"].values():
        content = item["post"]["requestBody"]["content"]["application/json"]
        check(content["example"], content["schema"], made)


def test_wrong_arguments_do_not_fit(app: App) -> None:
    made = document(app)
    body = made["paths"]["/api/run/things/echo"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    good = {"big": SEVEN, "raw": {"$bytes": "AQI="}, "point": {"x": 1, "y": 2}}
    check({"args": good}, body, made)
    for wrong in ({"big": 7}, {"point": {"x": 1}}, {"point": {"x": 1, "y": 2, "z": 3}}, {"unknown": 1}):
        with pytest.raises(jsonschema.ValidationError):
            check({"args": {**good, **wrong}}, body, made)


async def test_a_deployment_serves_it_and_answers_as_it_says(tmp_path: Any) -> None:
    async with Reactor(CODEGEN_APP, data=tmp_path, dev=True, admin_keys=("k|1",)) as reactor:
        transport = httpx.ASGITransport(app=reactor)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            made = (await client.get("/api/openapi.json")).json()
            openapi_spec_validator.validate(made)
            admin = {"Authorization": "Convex k|1"}

            async def run(path: str, args: dict[str, Any]) -> Any:
                return (await client.post(path, json={"args": args, "format": "json"}, headers=admin)).json()

            schemas = {
                path: item["post"]["responses"]["200"]["content"]["application/json"]["schema"]
                for path, item in made["paths"].items()
            }
            user = await reactor.database.write(lambda tx: tx.insert("users", {"name": "Ann"}))
            own = {**EVERYTHING, "owner": user, "byUser": {user: 1}}
            await reactor.database.write(lambda tx: tx.insert("everything", own))
            for path, args, status in (
                ("/api/run/things/nothing", {}, "success"),
                ("/api/run/things/echo", {"big": SEVEN, "raw": {"$bytes": ""}, "point": {"x": 1, "y": 2}}, "success"),
                ("/api/run/things/list", {"owner": user}, "success"),
                ("/api/run/things/list", {"owner": "nobody"}, "error"),
                ("/api/run/admin/tools", {}, "success"),
                ("/api/run/admin/tools/delete", {"why": "x"}, "success"),
            ):
                answer = await run(path, args)
                check(answer, schemas[path], made)
                assert answer["status"] == status, answer
            [document] = (await run("/api/run/things/list", {"owner": user}))["value"]
            assert (document["big"], document["raw"]) == ("7", "MTI=")


@pytest.mark.parametrize(("options", "status"), [({}, 403), ({"openapi": True}, 200), ({"dev": True}, 200)])
async def test_in_production_it_takes_the_admin_key_unless_it_is_made_public(
    tmp_path: Any, options: dict[str, Any], status: int
) -> None:
    async with (
        Reactor(CODEGEN_APP, data=tmp_path, admin_keys=("k|1",), **options) as reactor,
        httpx.AsyncClient(transport=httpx.ASGITransport(app=reactor), base_url="http://test") as client,
    ):
        assert (await client.get("/api/openapi.json")).status_code == status
        allowed = await client.get("/api/openapi.json", headers={"Authorization": "Convex k|1"})
        assert allowed.json()["openapi"] == "3.1.0"
