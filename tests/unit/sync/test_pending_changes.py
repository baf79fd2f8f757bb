"""What a client that changes its mind all the time costs while a cut is being computed. (engine rule 26)"""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.limits import DEFAULT_LIMITS
from tests.unit.sync.test_backpressure import follow, settle, working


def on_and_off(version: int, first_id: int) -> dict[str, Any]:
    changes: list[dict[str, Any]] = []
    for query_id in range(first_id, first_id + 10):
        changes.append({"type": "Add", "queryId": query_id, "udfPath": "counters:get", "args": [{"name": "a"}]})
        changes.append({"type": "Remove", "queryId": query_id})
    return {"type": "ModifyQuerySet", "baseVersion": version, "newVersion": version + 1, "modifications": changes}


async def test_a_client_that_adds_and_removes_queries_during_a_cut_is_not_read_without_end() -> None:
    limits = msgspec.structs.replace(DEFAULT_LIMITS, queries_per_connection=50)
    async with working(limits) as (link, backend):
        gate = backend.hold("cut")
        link.receives(**follow("a"))
        await settle()
        for n in range(40):
            link.receives(**on_and_off(1 + n, 10 + 10 * n))
        await settle()
        assert link.inbox.qsize() >= 30  # left in the socket's buffer, and in the client's

        gate.set()
        for _ in range(20):
            await settle()
        assert link.inbox.qsize() == 0
        assert link.closed is None
        removed = [c for m in link.sent for c in m["modifications"] if c["type"] == "QueryRemoved"]
        assert len(removed) == 400
