"""Queries at an earlier timestamp, answered from the newest data only when that makes no difference (engine rule 17)."""

from __future__ import annotations

from pathlib import Path

from reactor.auth.identity import ANONYMOUS
from reactor.runtime.backend import LiveBackend
from reactor.runtime.waist import Failure, Success
from tests.unit.runtime.harness import Harness, write_files

CODE = """
from reactor import QueryCtx, query

@query
async def answer(ctx: QueryCtx) -> int:
    return {number}
"""


async def test_a_timestamp_before_a_deploy_is_not_answered_by_the_code_of_after(tmp_path: Path) -> None:
    write_files(tmp_path / "app", {"functions/m.py": CODE.format(number=1)})
    harness = await Harness.open(tmp_path)
    backend = LiveBackend(harness.database, harness.host, dev=True)
    try:
        await backend.deploy(harness.app)
        ts = backend.processed_ts
        before = await backend.query("m:answer", b"{}", ANONYMOUS, at_ts=ts)
        assert isinstance(before, Success)
        assert before.value in (b"1", b"1.0")

        write_files(tmp_path / "app", {"functions/m.py": CODE.format(number=22)})
        await backend.deploy(harness.loader.reload())
        after = await backend.query("m:answer", b"{}", ANONYMOUS, at_ts=ts)

        now = await backend.query("m:answer", b"{}", ANONYMOUS)
        assert isinstance(now, Success)
        assert now.value == b"22"
        assert isinstance(after, Failure)
        assert after.code == "OutOfRetention"
    finally:
        await backend.close()
        await harness.close()
