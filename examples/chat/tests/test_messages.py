"""The chat's functions, and what somebody who reads along sees."""

from __future__ import annotations

import asyncio

from functions import messages
from reactor import PaginationOptions
from reactor.testing import Backend


async def test_a_session_sees_its_own_messages_as_they_come(backend: Backend) -> None:
    async with backend.subscribe(messages.list_, session_id="a") as updates:
        assert await updates.next() == []
        await backend.mutation(messages.send, session_id="a", content="hello")
        assert [(message.role, message.content) for message in await updates.next()] == [("user", "hello")]
        await backend.mutation(messages.send, session_id="b", content="elsewhere")
        await updates.assert_quiet()


async def test_pages_are_newest_first(backend: Backend) -> None:
    for number in range(5):
        await backend.mutation(messages.send, session_id="a", content=str(number))
    first = await backend.query(
        messages.list_paginated, session_id="a", pagination_opts=PaginationOptions(num_items=3, cursor=None)
    )
    rest = await backend.query(
        messages.list_paginated,
        session_id="a",
        pagination_opts=PaginationOptions(num_items=3, cursor=first.continue_cursor),
    )
    assert [message.content for message in first.page] == ["4", "3", "2"]
    assert [message.content for message in rest.page] == ["1", "0"]
    assert rest.is_done


async def test_the_assistants_answer_grows_word_by_word(backend: Backend) -> None:
    seen = [""]
    async with backend.subscribe(messages.list_, session_id="a") as updates:
        assert await updates.next() == []
        answering = asyncio.create_task(backend.action(messages.stream_reply, session_id="a", prompt="good day"))
        while seen[-1] != "You said: good day":
            seen.append((await updates.next())[0].content)
        await answering
    # A slow subscriber may skip states, but it never sees one that was not.
    assert all("You said: good day".startswith(text) for text in seen)
    assert seen == sorted(seen, key=len)
