"""Following one query over the sync protocol, as `reactor run --watch` does: every new result, until the connection ends."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from reactor.cli.target import Deployment
from reactor.errors import ReactorError

__all__ = ["follow"]

NOT_RUNNING = "the connection to {url} ended ({reason}). Start it again once the server is back."


def follow(
    deployment: Deployment, path: str, args: dict[str, Any], *, acting_as: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield what the server says of the query each time it changes: `{"value", "logLines"}` or `{"errorMessage", …}`.

    Values are in the encoded form of the wire. Raises ReactorError when the key is refused or the connection ends.
    """
    from websockets.exceptions import ConnectionClosed, InvalidHandshake
    from websockets.sync.client import connect

    # Not the path of npm clients: others get each message whole.
    address = "ws" + deployment.url.removeprefix("http").rstrip("/") + "/api/sync"
    try:
        with connect(address, max_size=None, open_timeout=10) as socket:
            for message in _opening(deployment.admin_key, path, args, acting_as):
                socket.send(json.dumps(message))
            for text in socket:
                yield from _changes(json.loads(text))
            raise ReactorError(NOT_RUNNING.format(url=deployment.url, reason="closed"), code="NotRunning")
    except (OSError, InvalidHandshake, ConnectionClosed) as error:
        reason = str(error) or type(error).__name__
        raise ReactorError(NOT_RUNNING.format(url=deployment.url, reason=reason), code="NotRunning") from None


def _opening(
    admin_key: str, path: str, args: dict[str, Any], acting_as: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    yield {
        "type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0, "lastCloseReason": "InitialConnect",
        "clientTs": 0,
    }  # fmt: skip
    authenticate: dict[str, Any] = {"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": admin_key}
    if acting_as is not None:
        authenticate["actingAs"] = acting_as
    yield authenticate
    added = {"type": "Add", "queryId": 0, "udfPath": path, "args": [args]}
    yield {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [added]}


def _changes(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = message["type"]
    if kind == "Transition":
        for change in message["modifications"]:
            if change["type"] in ("QueryUpdated", "QueryFailed"):
                yield change
    elif kind in ("AuthError", "FatalError"):
        raise ReactorError(message["error"], code="Refused")
