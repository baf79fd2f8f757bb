"""The parent of `reactor serve`: it holds the listening sockets, and starts the server again when it hangs or dies.

Clients that call meanwhile wait in the sockets' queue instead of being refused (engine.md rule 20).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Any

import msgspec

from reactor.cli import console
from reactor.cli.json_log import writes_json
from reactor.cli.serving import EXIT_CANNOT_START, bind
from reactor.config import Settings
from reactor.errors import ReactorError

__all__ = ["run_child", "supervise_forever"]

HEALTHY_AFTER_S = 10.0
"""A server that lived this long is started again at once; one that did not, after a growing pause."""
LONGEST_PAUSE_S = 5.0

_CHILD = "from reactor.cli.supervisor import run_child; run_child()"


def supervise_forever(settings: Settings) -> int:
    """Run the server in a child process until SIGINT or SIGTERM, which are passed on. Returns the exit status."""
    if writes_json(settings):
        console.use_json()
    try:
        sockets = bind(settings)
    except ReactorError as error:
        console.complain(str(error))
        return EXIT_CANNOT_START
    alive_read, alive_write = os.pipe()
    descriptors = (*(s.fileno() for s in sockets), alive_read)
    order = msgspec.json.encode({"settings": settings, "descriptors": descriptors}, enc_hook=str)
    stopping = 0
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _: Any) -> None:
        nonlocal stopping
        stopping += 1
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    pause = 0.0
    try:
        while True:
            born = time.monotonic()
            # A session of its own: Ctrl-C reaches it through us, once.
            child = subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                pass_fds=descriptors,
                start_new_session=True,
            )
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(order)
                child.stdin.close()
            if stopping:  # asked for while it was being started
                child.terminate()
            status = child.wait()
            if stopping or status in (0, EXIT_CANNOT_START):
                return status if status >= 0 else 128 - status
            pause = 0.0 if time.monotonic() - born > HEALTHY_AFTER_S else min(LONGEST_PAUSE_S, pause * 2 or 0.1)
            console.complain(f"the server ended with {_describe(status)}; starting it again")
            deadline = time.monotonic() + pause
            while not stopping and (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, 0.1))
            if stopping:
                return 0
    finally:
        os.close(alive_write)
        for s in sockets:
            s.close()


def run_child() -> None:
    """The server process: takes its settings and sockets from the parent, and stops when the parent is gone."""
    import socket

    from reactor.cli.serving import serve_forever

    _die_with_parent()
    order = msgspec.json.decode(sys.stdin.buffer.read())
    main, site, alive = order["descriptors"]
    settings = msgspec.convert(order["settings"], Settings, dec_hook=lambda kind, value: kind(value))
    sockets = (socket.socket(fileno=main), socket.socket(fileno=site))
    for listener in sockets:
        listener.setblocking(False)
    sys.exit(serve_forever(settings, live_reload=False, sockets=sockets, parent=alive))


def _die_with_parent() -> None:
    """On Linux, ask to be killed when the parent is: a parent that was killed can't say goodbye."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _describe(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
    return f"status {status}"
