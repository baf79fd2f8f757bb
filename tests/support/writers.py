"""Clients that keep writing while their server dies and comes back, as the npm client would."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import websockets

from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient

WINDOW = 6  # mutations in flight per client
PATIENCE_S = 60.0


class Writer:
    """Sends `ledger:record` for entries "name/0", "name/1", …, resending what was not answered after each reconnect.

    `acknowledged` maps an entry to the answer it got. An entry that is acknowledged is never sent again.
    """

    def __init__(self, url: str, ledger: str, name: str) -> None:
        self.client = SyncClient(url)
        self.ledger, self.name = ledger, name
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.sent = 0
        self.resent = 0
        self.enough = 0  # how many entries to write; may be lowered to `sent` meanwhile

    async def write(self, entries: int) -> None:
        """Until `entries` of them are acknowledged, or `finish` was called, however many connections that takes."""
        self.enough = entries
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while len(self.acknowledged) < self.enough:
            assert asyncio.get_running_loop().time() < deadline, (
                f"{self.name}: only {len(self.acknowledged)} of {self.enough} acknowledged in {PATIENCE_S} s"
            )
            try:
                await self._one_connection()
            except ConnectionError:
                await asyncio.sleep(0.05)
            if self.client.error is not None:
                raise self.client.error
        await self.client.close()

    def finish(self) -> None:
        """Send nothing new; `write` returns once all that was sent is acknowledged."""
        self.enough = self.sent

    async def _one_connection(self) -> None:
        """Raises ConnectionError when it ended early, AssertionError on an answer that is no success."""
        client = self.client
        await client.abort()
        pending = [number for number in range(self.sent) if self._entry(number) not in self.acknowledged]
        self.resent += len(pending)
        try:
            await client.open()
            await client.modify()
            for number in pending:
                await self._send(number)
            while len(self.acknowledged) < self.enough:
                while self.sent < self.enough and len(pending) < WINDOW:
                    pending.append(self.sent)
                    self.sent += 1
                    await self._send(pending[-1])
                await client.until(lambda: client.closed is not None or any(n in client.responses for n in pending))
                self._take_answers(pending)
                if client.closed is not None:
                    raise ConnectionError(f"closed with {client.closed}")
        except (OSError, EOFError, TimeoutError, websockets.WebSocketException) as error:
            await client.abort()  # what had arrived before the end counts
            self._take_answers(pending)
            raise ConnectionError(str(error)) from error

    def _take_answers(self, pending: list[int]) -> None:
        for number in [number for number in pending if number in self.client.responses]:
            answer = self.client.responses[number]
            assert answer["success"], f"{self._entry(number)} failed: {answer}"
            self.acknowledged[self._entry(number)] = answer
            pending.remove(number)

    def _entry(self, number: int) -> str:
        return f"{self.name}/{number}"

    async def _send(self, number: int) -> None:
        await self.client.request(
            "Mutation", "ledger:record", {"ledger": self.ledger, "entry": self._entry(number)}, request_id=number
        )


def all_acknowledged(writers: list[Writer]) -> dict[str, dict[str, Any]]:
    return {entry: answer for writer in writers for entry, answer in writer.acknowledged.items()}


def ledger_state(server: ReactorProcess, ledger: str) -> dict[str, Any]:
    """What the server holds: `entries` in order, `twins` of [entry, count], and `count`."""
    state = server.query("ledger:state", {"ledger": ledger})
    return {**state, "entries": json.loads(state["entries"]), "twins": json.loads(state["twins"])}


def check_ledger(
    state: dict[str, Any], writers: list[Writer], acknowledged: dict[str, dict[str, Any]] | None = None
) -> None:
    """Every acknowledged entry is there exactly once, at the count its client was told; nothing is half there.

    `acknowledged` is what was known before `state` was read, when the writers went on meanwhile.
    """
    if acknowledged is None:
        acknowledged = all_acknowledged(writers)
    entries = state["entries"]
    assert len(set(entries)) == len(entries), f"twice: {sorted(e for e in set(entries) if entries.count(e) > 1)}"
    assert state["count"] == len(entries)
    assert [entry for entry, _ in state["twins"]] == entries
    counts = dict(state["twins"])
    assert list(counts.values()) == list(range(1, len(entries) + 1))
    for entry, answer in acknowledged.items():
        assert entry in counts, f"acknowledged and lost: {entry}"
        assert counts[entry] == answer["result"], f"{entry}: told {answer['result']}, stored {counts[entry]}"
    for writer in writers:
        mine = [entry for entry in entries if entry.startswith(f"{writer.name}/")]
        assert mine == [f"{writer.name}/{number}" for number in range(len(mine))], "out of order"
    unknown = set(entries) - {f"{writer.name}/{n}" for writer in writers for n in range(writer.sent)}
    assert not unknown
