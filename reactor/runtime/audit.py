"""Refuses the network, other processes and sleeping to queries and mutations, through Python's audit events.

It is a guard against mistakes, not a sandbox: functions are the operator's own code.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from reactor.errors import FunctionError
from reactor.runtime.logs import CURRENT

__all__ = ["install"]

_NETWORK: Final = "reach the network"
_PROCESS: Final = "start other processes"
_REFUSED: Final = {
    "socket.connect": _NETWORK,
    "socket.bind": _NETWORK,
    "socket.sendto": _NETWORK,
    "socket.sendmsg": _NETWORK,
    "socket.getaddrinfo": _NETWORK,
    "socket.gethostbyname": _NETWORK,
    "socket.gethostbyaddr": _NETWORK,
    "socket.getnameinfo": _NETWORK,
    "urllib.Request": _NETWORK,
    "http.client.connect": _NETWORK,
    "ftplib.connect": _NETWORK,
    "smtplib.connect": _NETWORK,
    "subprocess.Popen": _PROCESS,
    "os.system": _PROCESS,
    "os.exec": _PROCESS,
    "os.posix_spawn": _PROCESS,
    "os.spawn": _PROCESS,
    "os.fork": _PROCESS,
    "os.forkpty": _PROCESS,
    "pty.spawn": _PROCESS,
}

_installed = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _REFUSED:
        call = CURRENT.get()
        if call is not None and call.is_transactional:
            raise FunctionError(
                f"Queries and mutations can't {_REFUSED[event]} ({event}): they must depend on the database and their "
                "arguments alone. Do it in an action, and pass the result to a mutation with `ctx.run_mutation`.",
                code="NoNetworkInQueriesOrMutations"
                if _REFUSED[event] == _NETWORK
                else "NoProcessesInQueriesOrMutations",
            )


def install() -> None:
    """Install the hook, once per process (Python can't remove one)."""
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
