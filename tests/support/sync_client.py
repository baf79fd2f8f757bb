"""A strict client of the sync protocol: it checks every frame it gets and keeps what a real client would keep.

Checked on every connection (client-protocol 3, 8, 10, 28): frames are compact JSON texts with `type` first; versions
form a chain from zero; `ts` is 12 characters of base64 and never goes back; responses answer requests of this
connection, once; every mutation response is followed by a Transition at least as new.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

ZERO = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
KNOWN = {
    "Transition",
    "TransitionChunk",
    "MutationResponse",
    "ActionResponse",
    "AuthError",
    "FatalError",
    "Ping",
}
PATIENCE_S = 20.0


def ts_of(text: str) -> int:
    assert isinstance(text, str), text
    assert len(text) == 12, text
    return struct.unpack("<Q", base64.b64decode(text, validate=True))[0]


@dataclass
class Query:
    id: int
    path: str
    args: dict[str, Any]
    journal: str | None = None
    updates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        assert self.updates, f"{self.path} has no result yet"
        return self.updates[-1]

    @property
    def value(self) -> Any:
        assert self.last["type"] == "QueryUpdated", self.last
        return self.last["value"]


class SyncClient:
    """One client, several connections after another. Everything raises AssertionError on a breach of protocol."""

    def __init__(self, url: str, *, session: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self.session = session or str(uuid.uuid4())
        self.headers = dict(headers or {})
        self.connection_count = 0
        self.max_ts = 0  # the largest ts ever seen, over all connections
        self.queries: dict[int, Query] = {}
        self.transitions: list[dict[str, Any]] = []  # of the current connection
        self.responses: dict[int, dict[str, Any]] = {}
        self.frames: list[dict[str, Any]] = []
        self.error: BaseException | None = None
        self.fatal: dict[str, Any] | None = None
        self.auth_error: dict[str, Any] | None = None
        self.closed: tuple[int | None, str] | None = None
        self._next_query = 0
        self._next_request = 0
        self._asked: set[int] = set()
        self._awaiting_transition: dict[int, int] = {}
        self._chunks: list[dict[str, Any]] = []
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    # --- connections

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None, "not connected"
        return self._socket

    async def open(self, *, hello: bool = True, **options: Any) -> None:
        self.version = dict(ZERO)
        self.query_set = self.identity = 0
        self.transitions, self.closed, self._chunks = [], None, []
        self._asked, self._awaiting_transition = set(), {}
        self._socket = await connect(
            self.url,
            max_size=None,
            ping_interval=None,
            additional_headers=self.headers,
            compression=None,
            **options,
        )
        self._reader = asyncio.create_task(self._read())
        if hello:
            await self.hello()

    async def hello(self, **extra: Any) -> None:
        message: dict[str, Any] = {
            "type": "Connect",
            "sessionId": self.session,
            "connectionCount": self.connection_count,
            "lastCloseReason": "InitialConnect" if self.connection_count == 0 else "closed with code 1006",
            "clientTs": 1795206436626,
            **extra,
        }
        if self.max_ts:
            message["maxObservedTimestamp"] = base64.b64encode(struct.pack("<Q", self.max_ts)).decode()
        await self.send(message)
        self.connection_count += 1

    async def reopen(self) -> None:
        """Come back as the JS client does: Connect, then all queries with their journals."""
        await self.abort()
        await self.open()
        await self.modify(
            *(
                {"type": "Add", "queryId": q.id, "udfPath": q.path, "args": [q.args], "journal": q.journal}
                for q in self.queries.values()
            )
        )

    async def abort(self) -> None:
        """Drop the connection without a close frame."""
        if self._socket is not None:
            self._socket.transport.abort()
        await self._end()

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        await self._end()
        if self.error is not None:
            raise self.error

    async def _end(self) -> None:
        if self._reader is not None:
            await asyncio.wait([self._reader])
        self._socket = self._reader = None

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    # --- what clients ask

    async def modify(self, *modifications: Mapping[str, Any]) -> int:
        """Send one ModifyQuerySet and return its new version."""
        base, self.query_set = self.query_set, self.query_set + 1
        await self.send(
            {
                "type": "ModifyQuerySet",
                "baseVersion": base,
                "newVersion": self.query_set,
                "modifications": list(modifications),
            }
        )
        return self.query_set

    def new_query(self, path: str, args: Mapping[str, Any] | None = None) -> Query:
        query = Query(self._next_query, path, dict(args or {}))
        self._next_query += 1
        self.queries[query.id] = query
        return query

    async def add(self, *wanted: tuple[str, Mapping[str, Any]]) -> list[Query]:
        """Subscribe to several queries with one message, and wait for all first results."""
        queries = [self.new_query(path, args) for path, args in wanted]
        version = await self.modify(
            *({"type": "Add", "queryId": q.id, "udfPath": q.path, "args": [q.args]} for q in queries)
        )
        await self.until(lambda: self.version["querySet"] >= version)
        for query in queries:
            assert query.updates, f"no result of {query.path} in the Transition of its query set"
        return queries

    async def subscribe(self, path: str, args: Mapping[str, Any] | None = None) -> Query:
        return (await self.add((path, args or {})))[0]

    async def remove(self, query: Query) -> None:
        version = await self.modify({"type": "Remove", "queryId": query.id})
        await self.until(lambda: self.version["querySet"] >= version)

    async def request(self, kind: str, path: str, args: Any = None, *, request_id: int | None = None) -> int:
        """Send a Mutation or an Action and return its request id at once."""
        if request_id is None:
            request_id, self._next_request = self._next_request, self._next_request + 1
        self._asked.add(request_id)
        self.responses.pop(request_id, None)
        await self.send({"type": kind, "requestId": request_id, "udfPath": path, "args": [args or {}]})
        return request_id

    async def response(self, request_id: int) -> dict[str, Any]:
        await self.until(lambda: request_id in self.responses)
        return self.responses[request_id]

    async def settled(self, request_id: int) -> dict[str, Any]:
        """The response, once a Transition at least as new has followed it: when a JS caller's promise resolves."""
        answer = await self.response(request_id)
        await self.until(lambda: request_id not in self._awaiting_transition)
        return answer

    async def mutation(self, path: str, args: Any = None, *, request_id: int | None = None) -> dict[str, Any]:
        return await self.settled(await self.request("Mutation", path, args, request_id=request_id))

    async def action(self, path: str, args: Any = None) -> dict[str, Any]:
        return await self.response(await self.request("Action", path, args))

    async def authenticate(self, **what: Any) -> None:
        base, self.identity = self.identity, self.identity + 1
        await self.send({"type": "Authenticate", "baseVersion": base, **what})

    # --- waiting

    async def until(self, condition: Callable[[], bool], *, patience: float = PATIENCE_S) -> None:
        """Wait for the condition; a breach of protocol, or the end of the connection, raises."""

        def ready() -> bool:
            if self.error is not None:
                raise self.error
            return condition() or self.closed is not None

        try:
            async with asyncio.timeout(patience), self._changed:
                await self._changed.wait_for(ready)
        except TimeoutError:
            raise AssertionError(f"waited {patience} s in vain; the last frames: {self._tail()}") from None
        assert condition(), (
            f"the connection ended ({self.closed}, fatal: {self.fatal}); the last frames: {self._tail()}"
        )

    async def until_closed(self) -> tuple[int | None, str]:
        await self.until(lambda: self.closed is not None)
        assert self.closed is not None
        return self.closed

    async def until_value(self, query: Query, condition: Callable[[Any], bool], **options: Any) -> Any:
        """Wait until the query's last result is a value that meets the condition, and return it."""
        await self.until(
            lambda: bool(query.updates) and query.last["type"] == "QueryUpdated" and condition(query.value), **options
        )
        return query.value

    async def barrier(self) -> None:
        """Everything the server had to say about what happened before has arrived: a round trip through a query set."""
        version = await self.modify()
        await self.until(lambda: self.version["querySet"] >= version)

    def _tail(self) -> str:
        return "\n".join(json.dumps(frame)[:400] for frame in self.frames[-5:])

    # --- what servers say

    async def _read(self) -> None:
        socket = self.socket
        try:
            async for frame in socket:
                self._take(frame)
                async with self._changed:
                    self._changed.notify_all()
        except websockets.ConnectionClosedError:
            pass
        except BaseException as error:
            self.error = error
            socket.transport.abort()
        finally:
            self.closed = (socket.close_code, socket.close_reason or "")
            with contextlib.suppress(asyncio.CancelledError):
                async with self._changed:
                    self._changed.notify_all()

    def _take(self, frame: str | bytes) -> None:
        assert isinstance(frame, str), "a binary frame"
        message = json.loads(frame)
        kind = message["type"]
        assert kind in KNOWN, message
        assert frame.startswith('{"type":"' + kind + '"'), f"type is not first, or there are spaces: {frame[:80]}"
        self.frames.append(message)
        if self._chunks:
            assert kind in ("TransitionChunk", "Ping"), f"{kind} between the chunks of a Transition"
        getattr(self, f"_on_{kind}")(message)

    def _on_Ping(self, message: dict[str, Any]) -> None: ...

    def _on_FatalError(self, message: dict[str, Any]) -> None:
        self.fatal = message

    def _on_AuthError(self, message: dict[str, Any]) -> None:
        assert message["baseVersion"] + 1 >= self.identity, message
        self.auth_error = message

    def _on_TransitionChunk(self, message: dict[str, Any]) -> None:
        assert message["partNumber"] == len(self._chunks), message["partNumber"]
        if self._chunks:
            first = self._chunks[0]
            assert (message["totalParts"], message["transitionId"]) == (first["totalParts"], first["transitionId"])
        assert len(message["chunk"].encode()) <= 5_000_000
        self._chunks.append(message)
        if len(self._chunks) == message["totalParts"]:
            whole = json.loads("".join(part["chunk"] for part in self._chunks))
            self._chunks = []
            self._on_Transition(whole)

    def _on_Transition(self, message: dict[str, Any]) -> None:
        start, end = message["startVersion"], message["endVersion"]
        assert set(start) == set(end) == {"querySet", "identity", "ts"}
        assert start == self.version, f"startVersion {start} does not follow {self.version}"
        assert ts_of(end["ts"]) >= ts_of(start["ts"]), message
        assert end["querySet"] >= start["querySet"]
        assert end["identity"] >= start["identity"]
        assert end["querySet"] <= self.query_set, "a query set that was never asked for"
        assert end["identity"] <= self.identity
        seen = set()
        for change in message["modifications"]:
            assert change["queryId"] not in seen, f"twice in one Transition: {message}"
            seen.add(change["queryId"])
            query = self.queries.get(change["queryId"])
            if change["type"] == "QueryRemoved":
                self.queries.pop(change["queryId"], None)
                continue
            assert query is not None, f"a result of a query that is not subscribed: {change}"
            assert isinstance(change["logLines"], list)
            assert "journal" in change
            assert ("value" if change["type"] == "QueryUpdated" else "errorMessage") in change, change
            query.journal = change["journal"]
            query.updates.append(change)
        self.version = end
        self.max_ts = max(self.max_ts, ts_of(end["ts"]))
        self.transitions.append(message)
        for request_id, ts in list(self._awaiting_transition.items()):
            if ts_of(end["ts"]) >= ts:
                del self._awaiting_transition[request_id]

    def _on_MutationResponse(self, message: dict[str, Any]) -> None:
        self._on_response(message)
        self._awaiting_transition[message["requestId"]] = ts_of(message["ts"]) if message["success"] else 0
        if message["success"]:
            self.max_ts = max(self.max_ts, ts_of(message["ts"]))

    def _on_ActionResponse(self, message: dict[str, Any]) -> None:
        self._on_response(message)

    def _on_response(self, message: dict[str, Any]) -> None:
        request_id = message["requestId"]
        assert request_id in self._asked, f"the answer to a request that was not made on this connection: {message}"
        self._asked.discard(request_id)
        assert isinstance(message["logLines"], list)
        assert "result" in message
        if not message["success"]:
            assert isinstance(message["result"], str)
        self.responses[request_id] = message


@contextlib.asynccontextmanager
async def sync_client(url: str, **options: Any) -> AsyncIterator[SyncClient]:
    client = SyncClient(url, **options)
    await client.open()
    try:
        yield client
    except BaseException:
        await client.abort()
        raise
    else:
        await client.close()
