"""`reactor dev` and `reactor serve` in one process: sockets, uvicorn, signals, and the order of starting and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import faulthandler
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from reactor import faults
from reactor.cli import console
from reactor.cli.codegen import refresh_types
from reactor.cli.json_log import ExecutionLines, writes_json
from reactor.cli.log_output import set_up_logging
from reactor.cli.target import URL_FILE
from reactor.config import Settings
from reactor.errors import ReactorError, SchemaError

__all__ = ["EXIT_CANNOT_START", "bind", "serve_forever"]

EXIT_CANNOT_START = 2
"""Something is wrong that another try won't mend: a port in use, a directory in use, a wrong setting."""

ONE_REQUEST_S = 0.5
"""Signals that come within this time are one."""
STORE_GRACE_S = 12.0
"""What the store may take to close, beyond what functions may."""
EXIT_AFTER_S = 2.0
"""How long threads that still run are waited for at the very end."""

_STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def bind(settings: Settings) -> tuple[socket.socket, socket.socket]:
    """Listen on the port for clients and the port for HTTP actions. Raises ReactorError with what is in the way."""
    main = _bind(settings.host, settings.port, "--port")
    try:
        return main, _bind(settings.host, settings.site_port, "--site-port")
    except BaseException:
        main.close()
        raise


def _bind(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"something else already listens there. Stop it, or choose another port with {flag}"
        elif error.errno == errno.EACCES:
            reason = f"this user may not. Choose a port from 1024 up with {flag}"
        else:
            reason = f"{error.strerror or error}. Check --host"
        raise ReactorError(f"can't listen on {host} port {port}: {reason}.", code="CannotListen") from None
    listener.setblocking(False)
    return listener


def serve_forever(
    settings: Settings,
    *,
    live_reload: bool,
    sockets: tuple[socket.socket, socket.socket] | None = None,
    parent: int | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM and return the exit status. A second signal stops without waiting.

    `sockets` are already listening (a supervisor's); `parent` is a file descriptor that reports end of file when the
    supervisor is gone.
    """
    started = time.perf_counter()
    faulthandler.enable()
    as_json = writes_json(settings)
    set_up_logging(dev=settings.dev, json=as_json)
    if as_json:
        console.use_json()
    try:
        faults.arm_from_environment()
    except ValueError as error:
        console.complain(str(error))
        return EXIT_CANNOT_START
    if settings.switch_interval_s:
        sys.setswitchinterval(settings.switch_interval_s)
    try:
        sockets = sockets or bind(settings)
    except ReactorError as error:
        console.complain(str(error))
        return EXIT_CANNOT_START
    main = _serve(settings, sockets, live_reload=live_reload, parent=parent, started=started)
    runner = asyncio.Runner(loop_factory=_loop_factory())
    try:
        status = runner.run(main)
    except BaseException:
        _exit_soon(1)
        raise
    _exit_soon(status)
    runner.close()
    return status


def _exit_soon(status: int) -> None:
    """End the process in a moment whatever its threads do: one that is stuck in a C call would be waited for, for ever."""

    def exit_now() -> None:
        time.sleep(EXIT_AFTER_S)
        os._exit(status)

    threading.Thread(target=exit_now, name="exit", daemon=True).start()


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    sockets: tuple[socket.socket, socket.socket],
    *,
    live_reload: bool,
    parent: int | None,
    started: float,
) -> int:
    from reactor.server import Reactor

    reactor = Reactor(settings=settings, isolated=False)
    lines = ExecutionLines(sys.stderr.buffer) if writes_json(settings) else None
    if lines is not None:
        reactor.executions.clear()  # which print what functions log
        reactor.executions.listen(lines)
    stop = _StopRequest()
    fatal: list[BaseException] = []

    def die(error: BaseException) -> None:
        fatal.append(error)
        stop.ask()

    reactor.on_fatal = die
    reactor.on_progress = console.Progress()
    with stop.on_signals(), contextlib.ExitStack() as closing:
        if lines is not None:
            closing.callback(lines.close)
        for listener in sockets:
            closing.callback(listener.close)
        if parent is not None:
            _when_readable(parent, stop.ask)
        urls = [_url(settings.host, listener) for listener in sockets]
        reactor.serving_at(*urls)
        try:
            await reactor.start(tolerate_broken_app=live_reload)
        except SchemaError as error:
            console.complain_about_app(error, settings.app, "The server does not start.")
            return EXIT_CANNOT_START
        except ReactorError as error:
            console.complain(str(error))
            return EXIT_CANNOT_START
        if reactor.broken is not None:
            console.complain_about_app(reactor.broken, settings.app, "Nothing is served yet; save a correction.")
        elif live_reload:
            refresh_types(reactor)
        background: list[asyncio.Task[None]] = []
        address = settings.data / URL_FILE
        address.write_text(urls[0] + "\n", "ascii")
        closing.callback(address.unlink, missing_ok=True)
        try:
            servers = [_uvicorn(reactor.router, settings), _uvicorn(reactor.site, settings)]
            serving = [
                asyncio.create_task(server.serve(sockets=[listener]), name="uvicorn")
                for server, listener in zip(servers, sockets, strict=True)
            ]
            if live_reload:
                from reactor.cli.reload import keep_fresh

                background.append(asyncio.create_task(keep_fresh(reactor), name="live reload"))
            if parent is not None:
                background.append(asyncio.create_task(_heartbeat(settings.hang_after_s), name="heartbeat"))
            gc.freeze()  # what a start leaves behind stays: no collection need look at it again
            gc.set_threshold(10_000, 20, 20)  # at the default, the requests under way alone begin one again and again
            console.announce(reactor, urls[0], urls[1], seconds=time.perf_counter() - started)
            await stop.wait_first(serving)
            if not fatal:
                console.say("stopping…")
            reactor.quiesce()
            for server in servers:
                server.should_exit = True
            await stop.unless_impatient(asyncio.gather(*serving), settings.stop_grace_s + EXIT_AFTER_S)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            ended = await stop.unless_impatient(
                asyncio.ensure_future(reactor.stop()), settings.stop_grace_s + STORE_GRACE_S
            )
    if not ended and not stop.impatient:
        console.complain("a function does not end; stopping without it")
        return 1
    if stop.impatient:
        console.say("stopped without waiting")
        os._exit(130)
    if fatal:
        console.complain(f"the server can't go on: {fatal[0]}", cause=fatal[0])
        return 1
    console.say("stopped")
    return 0


def _when_readable(descriptor: int, call: Callable[[], None]) -> None:
    """Call once, when there is something (an end of file, too) to read."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        loop.remove_reader(descriptor)
        call()

    loop.add_reader(descriptor, readable)


def _uvicorn(app: Any, settings: Settings) -> Any:
    """A uvicorn server that leaves signals to us, tuned for many long-lived connections."""
    import uvicorn

    from reactor.http.transport import SyncHttpProtocol
    from reactor.sync.transport import SyncWebSocketProtocol

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(
        uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            http=partial(SyncHttpProtocol, limits=settings.limits),  # type: ignore[arg-type]
            ws=SyncWebSocketProtocol,
            ws_max_size=settings.limits.client_message_bytes,
            ws_per_message_deflate=settings.compress_messages,
            # The protocol has pings of its own, and closes who stays silent.
            ws_ping_interval=None,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(settings.stop_grace_s)),
        )
    )


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _StopRequest:
    """Signals, as something to wait for: the first asks for a clean end, the second for an immediate one."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._impatience = asyncio.Event()
        self._asked_at = 0.0

    @property
    def impatient(self) -> bool:
        return self._impatience.is_set()

    def ask(self) -> None:
        self._asked.set()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _STOPPING_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in _STOPPING_SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        # The terminal tells a whole group, and wrappers pass it on: what comes at once is one request.
        if not self._asked.is_set():
            self._asked_at = time.monotonic()
        elif time.monotonic() - self._asked_at > ONE_REQUEST_S:
            self._impatience.set()
        self._asked.set()

    async def wait_first(self, serving: Sequence[asyncio.Task[None]]) -> None:
        """Return when asked to stop, or when a server ended by itself (its error is raised)."""
        asked = asyncio.create_task(self._asked.wait())
        done, _ = await asyncio.wait([asked, *serving], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        for task in done - {asked}:
            await task

    async def unless_impatient(self, work: asyncio.Future[Any], patience_s: float) -> bool:
        """Wait for `work`, for the second signal, or for so long. Returns whether `work` ended; its error is raised."""
        impatience = asyncio.create_task(self._impatience.wait())
        await asyncio.wait([work, impatience], return_when=asyncio.FIRST_COMPLETED, timeout=patience_s)
        impatience.cancel()
        if not work.done():
            return False
        work.result()
        return True


async def _heartbeat(hang_after_s: float) -> None:
    """Put off, again and again, the moment when faulthandler prints all stacks and ends the process (engine.md rule 20).

    It needs no Python to fire, so it also ends a process in which one C call never gives up the GIL.
    """
    try:
        while True:
            faulthandler.dump_traceback_later(hang_after_s, exit=True)
            await asyncio.sleep(min(1.0, hang_after_s / 4))
    finally:
        faulthandler.cancel_dump_traceback_later()
