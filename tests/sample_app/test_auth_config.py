"""Users are who Clerk says they are (sample app, sections 1 and 15)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor.testing import Backend, TestIssuer
from tests.support.server import ReactorProcess, running_server

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def clerk() -> Iterator[TestIssuer]:
    with TestIssuer(application_id="convex") as issuer:
        yield issuer


@pytest.fixture
def server(tmp_path: Path, clerk: TestIssuer) -> Iterator[ReactorProcess]:
    env = {"CLERK_JWT_ISSUER_DOMAIN": clerk.url}
    with running_server(tmp_path / "server", app=REPOSITORY, env=env) as server:
        yield server


def call(server: ReactorProcess, kind: str, path: str, args: dict[str, Any], token: str) -> httpx.Response:
    body = {"path": path, "args": args, "format": "json"}
    return httpx.post(f"{server.url}/api/{kind}", json=body, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.process
def test_the_subject_of_a_token_is_the_user(server: ReactorProcess, clerk: TestIssuer) -> None:
    token = clerk.token("user_ann")
    made = call(server, "mutation", "projects:create", {"name": "Shop", "framework": "VUE"}, token)
    project = call(server, "query", "projects:get", {"projectId": made.json()["value"]}, token).json()["value"]
    assert project["userId"] == "user_ann"

    for wrong in (clerk.token("user_ann", aud="else"), clerk.token("user_ann", iss="https://else.example"), "no token"):
        answer = call(server, "query", "projects:list", {}, wrong)
        assert answer.status_code == 401, answer.text


async def test_the_app_loads_without_the_variable_and_has_no_users(backend: Backend) -> None:
    assert await backend.query("projects:list") == []
