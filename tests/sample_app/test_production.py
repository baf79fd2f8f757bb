"""What the app says to its users, it says in production, too, where other errors are redacted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from reactor.testing import Backend
from tests.support.server import ADMIN_KEY, ReactorProcess, running_server

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    work = tmp_path_factory.mktemp("production")
    with running_server(work / "server", app=REPOSITORY, mode="serve") as server:
        yield server


@pytest.mark.parametrize(
    ("kind", "path", "args"),
    [
        ("mutation", "projects:create", {"name": "x", "framework": "VUE"}),
        ("action", "projects:createWithMessage", {"value": "x"}),
        ("query", "usage:getUsage", {}),
        ("query", "subscriptions:getSubscription", {}),
        ("mutation", "polar:syncCustomer", {"userId": "ann", "polarCustomerId": "cus"}),
        ("query", "imports:listByUser", {}),
        ("query", "oauth:listConnections", {}),
        ("query", "webhooks:getPendingSubscriptions", {}),
        ("action", "importData:importUsageAction", {"key": "k", "userId": "ann", "points": 1000}),
        ("query", "agentRuns:listPending", {}),
    ],
)
def test_refusals_reach_strangers_whole(server: ReactorProcess, kind: str, path: str, args: dict[str, Any]) -> None:
    answer = server.call(kind, path, args)
    assert (answer["status"], answer["errorData"]) == ("error", "Unauthorized")


INTERNAL = {
    *("projects:start", "messages:request", "rateLimit:sweep", "agentRuns:failIfSilent"),
    *("webhooks:receivePolarEvent", "webhooks:polarEventFailed", "importData:clearAllData"),
    *(f"importData:import{row}" for row in ("Project", "Message", "Fragment", "FragmentDraft", "Attachment", "Usage")),
}


async def test_only_these_functions_are_internal(backend: Backend) -> None:
    functions = backend.reactor.backend.app.functions
    own = {path for path in functions if not path.startswith("_")}
    assert {path for path in own if functions[path].is_internal} == INTERNAL


def test_internal_functions_are_not_there(server: ReactorProcess) -> None:
    for path in sorted(INTERNAL):
        answer = server.call("mutation", path)
        assert answer["status"] == "error"
        assert answer["errorMessage"].endswith("Server Error")  # not a word about what there is


def test_numbers_are_numbers_and_never_int64(server: ReactorProcess) -> None:
    """Also those that Python has as `int`."""
    window = {"key": "k", "limit": 3, "windowMs": 60_000}
    assert server.call("mutation", "rateLimit:checkRateLimit", window)["value"]["remaining"] == 2.0
    assert server.call("mutation", "rateLimit:resetExpiredRateLimits")["value"] == 0.0

    body = {"path": "usage:checkAndConsumeCreditForUser", "args": {"userId": "ann"}, "format": "convex_encoded_json"}
    headers = {"Authorization": f"Convex {ADMIN_KEY}"}
    consumed = httpx.post(f"{server.url}/api/mutation", json=body, headers=headers).json()["value"]
    assert consumed == {"success": True, "remaining": 4.0}
