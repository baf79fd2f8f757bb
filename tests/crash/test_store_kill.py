"""kill -9 in the middle of commits keeps exactly what was acknowledged: real processes, real SIGKILL (promise 2)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reactor.clock import SystemClock
from reactor.store.catalogue import BY_CREATION_TIME, BY_ID
from reactor.store.protocol import Reader
from reactor.store.sqlite.store import SqliteStore

# Commits batches of three documents, each with an index key and a log row, and says so after each commit. Document n of
# batch b is b * 3 + n. The WAL is truncated all the time, so that kills hit checkpoints too.
CHILD = """
import asyncio, os, sys
from pathlib import Path
from reactor import faults
from reactor.clock import SystemClock
from reactor.store.protocol import LogRow
from reactor.store.sqlite.store import SqliteStore

async def main():
    clock = SystemClock()
    store = SqliteStore(Path(sys.argv[1]), clock=clock)
    await store.open()
    store.checkpointer._truncate_at = 50_000
    def make(w):
        w.begin(); w.create_tables(["t"]); w.commit()
    await store.write(make)
    table = store.catalogue.tables["t"]
    index = table.indexes["by_creation_time"]
    start = await store.read(lambda r: r.count(table.indexes["by_id"], b"", None)) // 3
    faults.arm_from_environment()
    print("ready", flush=True)
    for b in range(start, 100_000):
        def job(w):
            w.begin()
            for n in range(b * 3, b * 3 + 3):
                w.savepoint()
                w.insert(table, f"k{n}", b"%d" % n * 500)
                w.add_key(index, b"%08d" % n, f"k{n}")
                w.append_log(LogRow(max(w.ts + 1, clock.now_ns()), 1, b"%d" % n))
                w.release()
            w.commit()
        await store.write(job)
        os.write(1, b"%d\\n" % b)

asyncio.run(main())
"""


async def found(path: Path) -> tuple[int, str]:
    """How many documents there are, after checking that they are the first ones and that everything agrees."""
    store = SqliteStore(path, clock=SystemClock())
    await store.open()
    table = store.catalogue.tables["t"]

    def look(reader: Reader) -> int:
        rows = reader.scan(table.indexes[BY_CREATION_TIME], b"", None, reverse=False, limit=1_000_000)
        assert rows == [(b"%08d" % n, b"%d" % n * 500) for n in range(len(rows))]
        assert reader.count(table.indexes[BY_ID], b"", None) == len(rows)
        log = reader.log_after(0, 1_000_000)
        assert [int(row.record) for row in log] == list(range(len(rows)))
        assert reader.ts == (log[-1].ts if log else 0)
        return len(rows)

    count = await store.read(look)
    check = await store.write(lambda w: w._raw.execute("PRAGMA integrity_check").fetchone()[0])  # pyright: ignore[reportAttributeAccessIssue]
    await store.close()
    return count, check


@pytest.mark.process
@pytest.mark.parametrize("fault", ["", "store.before_commit", "store.after_commit", "store.before_truncate"])
async def test_kill_keeps_exactly_the_acknowledged_commits(tmp_path: Path, fault: str) -> None:
    acknowledged = -1
    for kill_after in (1, 7, 40):
        environment = os.environ | ({"REACTOR_FAULTS": f"{fault}=kill:{kill_after}"} if fault else {})
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        lines = 0
        while line := child.stdout.readline():
            acknowledged = int(line)
            lines += 1
            if not fault and lines == kill_after:
                child.send_signal(signal.SIGKILL)
        child.stdout.close()
        assert child.wait() == -signal.SIGKILL

        count, check = await found(tmp_path)
        assert check == "ok"
        assert count % 3 == 0, "half of a batch"
        batches = count // 3
        # The one after the last acknowledged may have happened, wholly.
        assert batches in (acknowledged + 1, acknowledged + 2)
        if fault == "store.before_commit":
            assert batches == acknowledged + 1
        if fault == "store.after_commit":
            assert batches == acknowledged + 2
        acknowledged = batches - 1
