"""(e) What an idle connection weighs: resident memory of the server before and after N clients came, and followed a query.

python benchmarks/connections.py [--count 1000]
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from load import reactor_server
from websocket import connect, session_id

CONNECT = '{"type":"Connect","sessionId":"%s","connectionCount":0,"lastCloseReason":"InitialConnect","clientTs":0}'
MODIFY = '{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[%s]}'
ADD = '{"type":"Add","queryId":0,"udfPath":"notes:newest","args":[{"board":%d}]}'


def resident(pid: int) -> int:
    """Bytes in memory (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmRSS")


async def come(port: int, count: int, *, queries: bool, first_board: int) -> list[object]:
    """Connect `count` clients, each with a query of its own if asked, and wait until each has heard something."""
    heard = 0
    all_heard = asyncio.Event()

    def on_message(_: bytes) -> None:
        nonlocal heard
        heard += 1
        if heard >= count:
            all_heard.set()

    clients = []
    for number in range(count):
        asked = MODIFY % (ADD % (first_board + number) if queries else "")
        first = [(CONNECT % session_id()).encode(), asked.encode()]
        clients.append(await connect(port, "/api/1.48.0/sync", first, on_message))
    await asyncio.wait_for(all_heard.wait(), 60)
    return clients


async def measure(port: int, pid: int, count: int) -> None:
    kept = await come(port, 50, queries=True, first_board=0)  # what is made once
    before = resident(pid)
    kept += await come(port, count, queries=False, first_board=0)
    idle = resident(pid)
    print(f"idle connection                      {(idle - before) / count / 1024:7.1f} KiB  ({count} of them)")
    kept += await come(port, count, queries=True, first_board=100)
    print(f"  and one with a query of its own    {(resident(pid) - idle) / count / 1024:7.1f} KiB")
    assert kept


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    count = parser.parse_args().count
    with reactor_server("board", "--no-supervise") as (port, pid):
        uvloop.run(measure(port, pid, count))


if __name__ == "__main__":
    main()
