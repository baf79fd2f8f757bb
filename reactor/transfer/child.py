"""Long work in a process of its own: the server's threads share one interpreter, and its clients' mutations go first.

The child is told what to do on its standard input and answers in lines of JSON: progress, then the result or what was wrong
with the file. What is little is done on a thread instead, which is sooner there than a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import anyio.to_thread
import msgspec

from reactor.errors import StoreError, Unavailable
from reactor.faults import arm_from_environment, hit
from reactor.transfer.archive import unpacked_size
from reactor.transfer.convert import Plan, Report, Staged, convert
from reactor.transfer.parts import open_parts
from reactor.transfer.rows import ImportRefused
from reactor.transfer.snapshot import Exported, ExportPlan, write_archive

__all__ = ["IN_CHILD", "run_apart"]

T = TypeVar("T")

IN_CHILD: Final = "transfer.in_child"
SMALL_BYTES: Final = 64 * 1024
MEMORY_BYTES: Final = 2 * 1024**3
"""What a child may take, whatever is in the file; it needs far less."""
NICE: Final = 19
LINE_BYTES: Final = 64 * 1024 * 1024


class _Order(msgspec.Struct):
    kind: Literal["import", "export"]
    plan: msgspec.Raw


class _Answer(msgspec.Struct, omit_defaults=True):
    progress: str = ""
    result: msgspec.Raw = msgspec.Raw()
    refused: str = ""
    code: str = ""


async def run_apart(plan: Plan | ExportPlan, report: Report, *, size: int) -> Any:
    """Carry out a plan: `Staged` for an import's, `Exported` for an export's.

    `size` is about how many bytes there are to read; `report` is called on the event loop. Cancelling it ends the work.
    Raises ImportRefused, Unavailable (no room), StoreError.
    """
    kind = "import" if isinstance(plan, Plan) else "export"
    if size <= SMALL_BYTES and isinstance(plan, Plan) and plan.format == "zip":
        size = await anyio.to_thread.run_sync(_unpacked, plan)
    if size <= SMALL_BYTES:
        loop = asyncio.get_running_loop()
        return await anyio.to_thread.run_sync(
            _carry_out, kind, plan, lambda text: loop.call_soon_threadsafe(report, text) and None
        )
    order = msgspec.json.encode({"kind": kind, "plan": plan})
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        # Sorting writes all documents to a file that SQLite makes: on the disk whose room is looked at, and among what is ours.
        "SQLITE_TMPDIR": os.path.dirname(plan.staging if isinstance(plan, Plan) else plan.archive),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "reactor.transfer.child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        limit=LINE_BYTES,
    )
    try:
        return await _follow(process, order, report, Staged if kind == "import" else Exported)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())


async def _follow(process: asyncio.subprocess.Process, order: bytes, report: Report, result: type[T]) -> T:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order)
    process.stdin.close()
    while line := await process.stdout.readline():
        answer = msgspec.json.decode(line, type=_Answer)
        if answer.progress:
            report(answer.progress)
        elif answer.refused:
            raise ImportRefused(answer.refused, code=answer.code)
        else:
            await process.wait()
            return msgspec.json.decode(answer.result, type=result)
    code = await process.wait()
    raise StoreError(f"The process that read or wrote the file ended early (status {code}); the log may say why.")


def _unpacked(plan: Plan) -> int:
    with open_parts(plan.parts) as file:
        return unpacked_size(file)


def _carry_out(kind: str, plan: Any, report: Report) -> Staged | Exported:
    try:
        return convert(plan, report) if kind == "import" else write_archive(plan, report)
    except MemoryError:
        raise ImportRefused("The file takes more memory to read than it may.", code="ImportTooLarge") from None
    except OSError as error:
        raise Unavailable(f"Working on the file failed: {error}") from error


def main() -> None:
    """The child's side."""
    os.nice(NICE)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    arm_from_environment()
    out = sys.stdout.buffer

    def say(answer: _Answer) -> None:
        out.write(msgspec.json.encode(answer) + b"\n")
        out.flush()

    order = msgspec.json.decode(sys.stdin.buffer.read(), type=_Order)
    plan = msgspec.json.decode(order.plan, type=Plan if order.kind == "import" else ExportPlan)
    report: Callable[[str], None] = lambda text: (hit(IN_CHILD), say(_Answer(progress=text)))[1]  # noqa: E731
    try:
        result = _carry_out(order.kind, plan, report)
    except (ImportRefused, Unavailable) as error:
        say(_Answer(refused=str(error), code=error.code))
        return
    say(_Answer(result=msgspec.Raw(msgspec.json.encode(result))))


if __name__ == "__main__":
    main()
