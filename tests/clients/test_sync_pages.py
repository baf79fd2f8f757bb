"""Pages that stay adjacent while their table changes.

Every test runs through `SyncClient`, which checks on every frame the chain of versions (client-protocol 3), timestamps
(8), framing (10), and that responses answer requests of the same connection (28).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.server import ReactorProcess
from tests.support.sync_client import SyncClient

pytestmark = pytest.mark.process

MakeClient = Callable[..., SyncClient]


def _pages(query: str, channel: str, **options: object) -> tuple[str, dict[str, object]]:
    return query, {"channel": channel, "paginationOpts": {"numItems": 3, "cursor": None, **options}}


async def test_pages_end_with_a_cursor_that_is_a_string(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """client-protocol 51"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [1, 2, 3, 4]})
    client = raw()
    await client.open()
    first = await client.subscribe(*_pages("messages:page", channel, id=1))
    assert [row["number"] for row in first.value["page"]] == [1, 2, 3]
    assert first.value["isDone"] is False
    assert isinstance(first.last["journal"], str)
    second = await client.subscribe(
        *_pages("messages:page", channel, cursor=first.value["continueCursor"], endCursor=None)
    )
    assert [row["number"] for row in second.value["page"]] == [4]
    assert second.value["isDone"] is True
    assert isinstance(second.value["continueCursor"], str)
    third = await client.subscribe(
        *_pages("messages:page", channel, id=-1, maximumRowsRead=2, maximumBytesRead=1_000_000, numItems=4)
    )
    assert len(third.value["page"]) <= 2


async def test_pages_grow_and_shrink_without_gap_or_overlap(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 52"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [10, 20, 30, 40, 50, 60, 70]})
    client = raw()
    await client.open()
    pages = [await client.subscribe(*_pages("messages:page", channel))]
    while not pages[-1].value["isDone"]:
        pages.append(
            await client.subscribe(*_pages("messages:page", channel, cursor=pages[-1].value["continueCursor"]))
        )

    def numbers() -> list[list[float]]:
        return [[row["number"] for row in page.value["page"]] for page in pages]

    assert numbers() == [[10, 20, 30], [40, 50, 60], [70]]
    await client.mutation("messages:sendMany", {"channel": channel, "numbers": [5, 15, 25, 35, 80]})
    assert numbers() == [[5, 10, 15, 20, 25, 30], [35, 40, 50, 60], [70, 80]]
    await client.mutation("messages:removeNumbers", {"channel": channel, "numbers": [5, 10, 15, 20, 25, 30, 60]})
    assert numbers() == [[], [35, 40, 50], [70, 80]]
    await client.mutation("messages:sendMany", {"channel": channel, "numbers": [30, 29, 31]})
    assert [number for page in numbers() for number in page] == [29, 30, 31, 35, 40, 50, 70, 80]


async def test_page_boundaries_survive_a_reconnect(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """client-protocol 53"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [10, 20, 30, 40]})
    client = raw()
    await client.open()
    page = await client.subscribe(*_pages("messages:page", channel))
    await client.abort()
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [1, 2, 25, 35]})
    await client.reopen()
    await client.until(lambda: client.version["querySet"] == 1)
    assert [row["number"] for row in page.value["page"]] == [1, 2, 10, 20, 25, 30]


async def test_a_page_split_at_its_cursor_gives_the_same_rows(
    server: ReactorProcess, raw: MakeClient, channel: str
) -> None:
    """client-protocol 54"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": list(range(10))})
    client = raw()
    await client.open()
    page = await client.subscribe(*_pages("messages:page", channel, numItems=6))
    split, end = page.value["splitCursor"], page.value["continueCursor"]
    assert isinstance(split, str)
    left, right = await client.add(
        _pages("messages:page", channel, numItems=6, endCursor=split),
        _pages("messages:page", channel, numItems=6, cursor=split, endCursor=end),
    )
    assert left.value["continueCursor"] == split
    assert right.value["continueCursor"] == end
    assert left.value["page"]
    assert right.value["page"]
    assert left.value["page"] + right.value["page"] == page.value["page"]


async def test_a_cursor_that_is_none_is_invalid(server: ReactorProcess, raw: MakeClient, channel: str) -> None:
    """client-protocol 55"""
    server.mutation("messages:sendMany", {"channel": channel, "numbers": [1, 2, 3, 4]})
    client = raw()
    await client.open()
    page = await client.subscribe(*_pages("messages:page", channel))
    for cursor, where in (("garbage", channel), (page.value["continueCursor"], f"{channel} other")):
        bad = await client.subscribe(*_pages("messages:page", where, cursor=cursor))
        assert bad.last["type"] == "QueryFailed"
        assert "InvalidCursor" in bad.last["errorMessage"]
        assert bad.last["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
