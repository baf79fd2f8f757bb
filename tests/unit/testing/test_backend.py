"""`reactor.testing.Backend`: every verb (server-semantics 51), live assertions, the clock, isolation."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reactor import ApplicationError
from reactor.errors import FunctionError, InvalidArguments
from reactor.runtime.app import App
from reactor.runtime.contexts import MutationCtx
from reactor.testing import Backend
from reactor.testing import backend as make_backend


async def test_queries_and_mutations_run_by_path_with_keywords_or_a_mapping(notes: Backend) -> None:
    note_id = await notes.mutation("notes:add", owner="ann", text="x")
    assert len(note_id) == 32
    await notes.mutation("notes:add", {"owner": "ann", "text": "y"})
    assert [note.text for note in await notes.query("notes:list", owner="ann")] == ["x", "y"]


async def test_results_are_the_objects_that_functions_return(notes: Backend) -> None:
    note_id = await notes.mutation("notes:add", owner="ann", text="x", stars=3)
    (note,) = await notes.query("notes:list", owner="ann")
    assert (note.id, note.stars, type(note).__name__) == (note_id, 3, "Note")


async def test_functions_and_proxies_are_references_too(notes: Backend, notes_app: App) -> None:
    from reactor import api

    add = notes_app.functions["notes:add"].function
    await notes.mutation(add, owner="ann", text="x")  # type: ignore[call-overload]
    assert len(await notes.query(api.notes.list_, owner="ann")) == 1


async def test_an_action_runs_to_its_end(notes: Backend) -> None:
    assert await notes.action("notes:addTwo", owner="ann") == 2


async def test_errors_are_the_very_exceptions(notes: Backend) -> None:
    with pytest.raises(ApplicationError) as caught:
        await notes.mutation("notes:fail", data="why")
    assert caught.value.data == {"reason": "why"}
    with pytest.raises(ZeroDivisionError):
        await notes.mutation("notes:crash")
    with pytest.raises(InvalidArguments, match="owner"):
        await notes.mutation("notes:add", text="x")
    assert await notes.query("notes:list", owner="fail") == []


async def test_the_wrong_kind_is_an_error(notes: Backend) -> None:
    with pytest.raises(FunctionError, match="defined as Mutation"):
        await notes.query("notes:add", owner="ann", text="x")
    with pytest.raises(FunctionError, match="Could not find"):
        await notes.query("notes:nothing")


async def test_internal_functions_can_be_called(notes: Backend) -> None:
    assert await notes.query("notes:secret") == "nobody"
    assert await notes.as_user("ann").query("notes:secret") == "ann"


async def test_run_is_one_transaction_with_a_read_write_database(notes: Backend) -> None:
    async def seed(ctx: MutationCtx) -> list[str]:
        return [await ctx.db.insert("notes", {"owner": "ann", "text": text}) for text in ("a", "b")]

    ids = await notes.run(seed)
    assert [note.id for note in await notes.query("notes:list", owner="ann")] == ids


async def test_what_run_wrote_is_gone_when_it_raises(notes: Backend) -> None:
    async def fail(ctx: MutationCtx) -> None:
        await ctx.db.insert("notes", {"owner": "ann", "text": "a"})
        raise KeyError("no")

    with pytest.raises(KeyError):
        await notes.run(fail)
    assert await notes.query("notes:list", owner="ann") == []


async def test_run_returns_whatever_the_function_returns(notes: Backend) -> None:
    async def everything(ctx: MutationCtx) -> object:
        return {1, 2}

    assert await notes.run(everything) == {1, 2}


async def test_run_sees_the_user(notes: Backend) -> None:
    async def who(ctx: MutationCtx) -> str | None:
        identity = await ctx.auth.get_user_identity()
        return None if identity is None else identity.subject

    assert await notes.run(who) is None
    assert await notes.as_user("ann").run(who) == "ann"


async def test_a_user_has_a_complete_identity(notes: Backend) -> None:
    assert await notes.query("notes:me") == {}
    ann = notes.as_user("ann", email="ann@example.org")
    assert await ann.query("notes:me") == {
        "subject": "ann",
        "email": "ann@example.org",
        "token": "https://reactor.test|ann",
    }
    other = notes.as_user("ann", issuer="https://elsewhere.test")
    assert (await other.query("notes:me"))["token"] == "https://elsewhere.test|ann"


async def test_a_subscriber_sees_what_changed_and_only_that(notes: Backend) -> None:
    async with notes.subscribe("notes:list", owner="ann") as updates:
        assert await updates.next() == []
        await updates.assert_quiet()
        await notes.mutation("notes:add", owner="bob", text="not hers")
        await updates.assert_quiet()
        await notes.mutation("notes:add", owner="ann", text="hers")
        assert [note.text for note in await updates.next()] == ["hers"]
        await updates.assert_quiet()


async def test_assert_quiet_fails_with_the_result_that_came(notes: Backend) -> None:
    async with notes.subscribe("notes:list", owner="ann") as updates:
        await updates.next()
        await notes.mutation("notes:add", owner="ann", text="surprise")
        with pytest.raises(AssertionError, match="surprise"):
            await updates.assert_quiet()


async def test_next_fails_when_nothing_comes(notes: Backend) -> None:
    async with notes.subscribe("notes:list", owner="ann") as updates:
        await updates.next()
        with pytest.raises(AssertionError, match=r"notes:list: no new result within 0\.05 s"):
            await updates.next(patience=0.05)


async def test_states_in_between_may_be_skipped_as_clients_do(notes: Backend) -> None:
    async with notes.subscribe("notes:list", owner="ann") as updates:
        await updates.next()
        for text in "abc":
            await notes.mutation("notes:add", owner="ann", text=text)
        assert [note.text for note in await updates.next()] == ["a", "b", "c"]


async def test_a_failing_query_raises_at_its_subscriber_and_recovers(notes: Backend) -> None:
    async with notes.subscribe("notes:strict", owner="ann") as updates:
        assert await updates.next() == 0
        first = await notes.mutation("notes:add", owner="ann", text="1")
        assert await updates.next() == 1
        await notes.mutation("notes:add", owner="ann", text="2")
        with pytest.raises(ApplicationError, match="too many"):
            await updates.next()

        async def remove(ctx: MutationCtx) -> None:
            await ctx.db.delete(first)

        await notes.run(remove)
        assert await updates.next() == 1


async def test_subscribers_are_asked_as_the_user_they_are(notes: Backend) -> None:
    async with notes.as_user("ann").subscribe("notes:me") as updates:
        assert (await updates.next())["subject"] == "ann"


async def test_time_stands_still_until_it_is_advanced(notes: Backend) -> None:
    before = await notes.query("notes:now")
    assert await notes.query("notes:now") == before
    await notes.advance(timedelta(hours=1))
    await notes.mutation("notes:add", owner="x", text="x")
    assert await notes.query("notes:now") >= before + 3_600_000


async def test_fetch_goes_to_the_http_actions(notes: Backend) -> None:
    answer = await notes.fetch("/hook", "POST", json={"x": 1})
    assert answer.status_code == 404
    with pytest.raises(ValueError, match="must start with"):
        await notes.fetch("hook")


async def test_backends_share_nothing(notes_app: App, notes: Backend) -> None:
    await notes.mutation("notes:add", owner="ann", text="x")
    async with make_backend(notes_app) as other:
        assert await other.query("notes:list", owner="ann") == []


async def test_nothing_is_left_on_disk(notes_app: App) -> None:
    async with make_backend(notes_app) as running:
        directory = running.reactor.settings.data
        assert directory.is_dir()
    assert not directory.exists()


async def test_limits_and_settings_can_be_set(notes_app: App) -> None:
    from reactor.errors import LimitExceeded
    from reactor.limits import Limits

    async with make_backend(notes_app, limits=Limits(documents_written=1)) as running:
        with pytest.raises(LimitExceeded):
            await running.run(_write_two)


async def _write_two(ctx: MutationCtx) -> None:
    for text in "ab":
        await ctx.db.insert("notes", {"owner": "x", "text": text})
