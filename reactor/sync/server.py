"""The WebSocket door: accepts sockets at `/api/sync` and `/api/{version}/sync`, runs a worker on each, closes all at the end."""

from __future__ import annotations

import asyncio
import re

from reactor.auth.headers import Gatekeeper
from reactor.clock import Clock
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.runtime.waist import Backend
from reactor.sync.link import EXTENSION, AsgiLink, Link, Receive, Scope, Send, refuse
from reactor.sync.transitions import TransitionEncoder
from reactor.sync.worker import ClientKind, Worker

__all__ = ["SyncServer"]

_SYNC_PATH = re.compile(r"/api(?:/([^/]+))?/sync/?")
_SEMVER = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_TOO_OLD = (0, 19, 1)
"""The last npm version that spoke another protocol."""


class SyncServer:
    """An ASGI application for WebSocket scopes whose path `matches`."""

    def __init__(
        self, backend: Backend, gatekeeper: Gatekeeper, *, clock: Clock, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._backend, self._gatekeeper, self._clock, self._limits = backend, gatekeeper, clock, limits
        self._workers: set[Worker] = set()
        self._actions: set[asyncio.Task[None]] = set()
        self._transitions = TransitionEncoder()
        self._stopping = False

    @property
    def connections(self) -> int:
        """How many sockets are open."""
        return len(self._workers)

    @staticmethod
    def matches(path: str) -> bool:
        """Whether `path`, without the root path and doubled slashes, is the sync endpoint."""
        return _SYNC_PATH.fullmatch(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Serve one socket to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        if self._stopping:
            await refuse(scope, send, 503, "Unavailable", "The server is stopping. Try again later.")
            return
        try:
            kind = client_kind(path, scope["headers"])
        except UnsupportedClient as error:
            await refuse(scope, send, 400, error.code, str(error))
            return
        await send({"type": "websocket.accept"})
        link: Link = (scope.get("extensions") or {}).get(EXTENSION) or AsgiLink(receive, send)
        worker = Worker(
            link,
            kind,
            backend=self._backend,
            gatekeeper=self._gatekeeper,
            limits=self._limits,
            clock=self._clock,
            actions=self._actions,
            transitions=self._transitions,
        )
        self._workers.add(worker)
        try:
            await worker.run()
        finally:
            self._workers.discard(worker)

    def close_all(self, code: int = 1012, reason: str = "") -> None:
        """Close every socket, and take no new ones. Clients come back by themselves, to whoever answers then."""
        self._stopping = True
        for worker in list(self._workers):
            worker.close(code, reason)

    async def finish_actions(self, grace_s: float) -> None:
        """Wait for the actions that clients started, `grace_s` seconds at most; then cancel them."""
        if self._actions:
            _, running = await asyncio.wait(self._actions, timeout=grace_s)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


class UnsupportedClient(Exception):
    """A client that says it is of a version that there is not, or that is too old."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def client_kind(path: str, headers: list[tuple[bytes, bytes]]) -> ClientKind:
    """What a client understands, by its `Convex-Client` header or else by the path it came through.

    Raises `UnsupportedClient`.
    """
    match = _SYNC_PATH.fullmatch(path)
    version = match[1] if match is not None else None
    for name, value in headers:
        if name == b"convex-client":
            kind, _, version = value.decode("latin-1").partition("-")
            if kind != "npm":
                return ClientKind(is_npm=False, chunks=False)
    if version is None:
        return ClientKind(is_npm=False, chunks=False)
    numbers = _SEMVER.fullmatch(version)
    if numbers is None:
        raise UnsupportedClient("InvalidClientVersion", f"{version!r} is not a version, as in `1.48.0`.")
    triple = (int(numbers[1]), int(numbers[2]), int(numbers[3]))
    if triple <= _TOO_OLD:
        raise UnsupportedClient(
            "ClientVersionUnsupported", f"The Convex client {version} is too old. Please upgrade the `convex` package."
        )
    return ClientKind(is_npm=True, chunks=triple >= (1, 28, 0))
