"""The router with its doors over a `FakeBackend`, served by uvicorn on a free port of this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from reactor.auth.admin_key import AdminKeys
from reactor.auth.headers import Gatekeeper
from reactor.clock import Clock, ManualClock
from reactor.http.api import FunctionApi
from reactor.http.body_budget import BodyBudget
from reactor.http.router import Router
from reactor.http.transport import SyncHttpProtocol
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.sync.server import SyncServer
from reactor.sync.transport import SyncWebSocketProtocol
from tests.support.fake_backend import FakeBackend

ADMIN_KEY = "test|0123abcd"


@dataclass
class Door:
    backend: FakeBackend
    clock: Clock
    sync: SyncServer
    app: Any
    host: str

    @property
    def ws(self) -> str:
        return f"ws://{self.host}/api/1.48.0/sync"

    @property
    def rust_ws(self) -> str:
        return f"ws://{self.host}/api/sync"

    @property
    def http(self) -> str:
        return f"http://{self.host}"


@contextlib.asynccontextmanager
async def open_door(
    *,
    limits: Limits = DEFAULT_LIMITS,
    clock: Clock | None = None,
    own_transport: bool = True,
    authenticator: Any = None,
    compress: bool = False,
    wrap: Any = None,
    fallback: Any = None,
    whole_server: bool = False,
    body_wait_s: float = 30.0,
    body_patience_s: float = 5.0,
    on_traceparent: Any = None,
) -> AsyncIterator[Door]:
    backend = FakeBackend()
    clock = clock or ManualClock()
    gatekeeper = Gatekeeper(AdminKeys([ADMIN_KEY]), authenticator, instance_name="test")
    sync = SyncServer(backend, gatekeeper, clock=clock, limits=limits)
    functions = FunctionApi(backend, gatekeeper, limits=limits)
    bodies = BodyBudget(limits.request_bodies_bytes, wait_most_s=body_wait_s, patience_s=body_patience_s)
    app: Any = Router(
        functions,
        sync,
        version="0.1.0",
        instance_name="test",
        fallback=fallback,
        bodies=bodies,
        on_traceparent=on_traceparent,
    )
    config = uvicorn.Config(
        wrap(app) if wrap is not None else app,
        http=partial(SyncHttpProtocol, limits=limits) if own_transport else "httptools",  # type: ignore[arg-type]
        ws=SyncWebSocketProtocol if own_transport else "websockets-sansio",
        ws_max_size=limits.client_message_bytes,
        ws_per_message_deflate=compress,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    config.load()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        serve = _whole_server if whole_server else _bare_server
        async with serve(config, listener):
            yield Door(backend, clock, sync, app, f"127.0.0.1:{listener.getsockname()[1]}")
        await sync.finish_actions(1)


@contextlib.asynccontextmanager
async def _whole_server(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        assert not serving.done(), "uvicorn did not start"
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def _bare_server(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[None]:
    """uvicorn's protocols without its main loop, whose polling costs each test a quarter of a second."""
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
        sock=listener.dup(),
    )
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        async with asyncio.timeout(20):
            while state.tasks or state.connections:
                await asyncio.sleep(0.001)
        await server.wait_closed()
