"""Row-level security and wrapped functions (server-semantics 9.3, 9.4 and checklist 46)."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reactor.errors import ApplicationError, InvalidArguments
from reactor.testing import Backend
from reactor.testing import backend as open_backend

SCHEMA = """
    from reactor import Document, define_schema, define_table

    class Note(Document):
        owner: str
        text: str
        public: bool = False

    class Audit(Document):
        text: str

    schema = define_schema(notes=define_table(Note).index("by_owner", "owner"), audits=define_table(Audit))
"""

WRAPPED = """
    from __future__ import annotations

    from collections.abc import Callable, Coroutine
    from dataclasses import dataclass
    from typing import Any, Concatenate, ParamSpec, TypeVar

    from reactor import (
        ApplicationError, Id, Mutation, MutationCtx, PaginationOptions, Query, QueryCtx, Rule, mutation, query, with_rules, wraps,
    )
    from schema import Audit, Note

    P = ParamSpec("P")
    R = TypeVar("R")


    @dataclass
    class GuardedCtx:
        db: Any
        user: str
        raw: Any


    def rules(raw, user: str):
        async def may_read(note: Note) -> bool:
            await raw.db.query(Audit).first()  # rules may read, unguarded
            return note.public or note.owner == user

        return {Note: Rule(read=may_read, insert=lambda note: note.owner == user, modify=lambda note: note.owner == user)}


    def user_query(handler: Callable[Concatenate[GuardedCtx, P], Coroutine[Any, Any, R]]) -> Query[QueryCtx, P, R]:
        @query
        @wraps(handler)
        async def wrapper(ctx: QueryCtx, user: str, *args: P.args, **kwargs: P.kwargs) -> R:
            return await handler(GuardedCtx(with_rules(ctx.db, rules(ctx, user)), user, ctx), *args, **kwargs)

        return wrapper


    def user_mutation(handler: Callable[Concatenate[GuardedCtx, P], Coroutine[Any, Any, R]]) -> Mutation[MutationCtx, P, R]:
        @mutation
        @wraps(handler)
        async def wrapper(ctx: MutationCtx, user: str, *args: P.args, **kwargs: P.kwargs) -> R:
            return await handler(GuardedCtx(with_rules(ctx.db, rules(ctx, user)), user, ctx), *args, **kwargs)

        return wrapper


    @user_mutation
    async def add(ctx: GuardedCtx, owner: str, text: str, public: bool = False) -> Id[Note]:
        return await ctx.db.insert(Note(owner=owner, text=text, public=public))


    @user_mutation
    async def change(ctx: GuardedCtx, id: Id[Note], text: str) -> None:
        await ctx.db.patch(id, text=text)


    @user_mutation
    async def replace(ctx: GuardedCtx, id: Id[Note], text: str) -> None:
        await ctx.db.replace(id, Note(owner=ctx.user, text=text))


    @user_mutation
    async def remove(ctx: GuardedCtx, id: Id[Note]) -> None:
        await ctx.db.delete(id)


    @user_mutation
    async def audit(ctx: GuardedCtx, text: str) -> None:
        await ctx.db.insert(Audit(text=text))


    @user_query
    async def get(ctx: GuardedCtx, id: Id[Note]) -> Note | None:
        return await ctx.db.get(id)


    @user_query
    async def texts(ctx: GuardedCtx, how: str) -> Any:
        q = ctx.db.query(Note)
        match how:
            case "collect":
                return [n.text for n in await q.collect()]
            case "take":
                return [n.text for n in await q.take(2)]
            case "first":
                return (await q.order("desc").first()).text
            case "count":
                return await q.count()
            case "index":
                return [n.text for n in await q.with_index("by_owner", owner="bob").collect()]
            case "page":
                result = await q.paginate(PaginationOptions(num_items=3, cursor=None))
                return [[n.text for n in result.page], result.is_done]
            case "unique":
                found = await q.filter(lambda n: n.text == "b2").unique()
                return None if found is None else found.text
            case "audits":
                return len(await ctx.db.query(Audit).collect())
"""


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Backend]:
    """Notes of ann and bob: a1, b1, b2 (public), a2."""
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "__init__.py").write_text("")
    (tmp_path / "schema.py").write_text(textwrap.dedent(SCHEMA))
    (tmp_path / "functions" / "notes.py").write_text(textwrap.dedent(WRAPPED))
    async with open_backend(tmp_path) as backend:
        for owner, text, public in (
            ("ann", "a1", False),
            ("bob", "b1", False),
            ("bob", "b2", True),
            ("ann", "a2", False),
        ):
            await backend.mutation("notes:add", user=owner, owner=owner, text=text, public=public)
        yield backend


async def note(app: Backend, text: str) -> str:
    async def find(ctx: Any) -> str:
        return next(n.id for n in await ctx.db.query("notes").collect() if n.text == text)

    return await app.run(find)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("collect", ["a1", "b2", "a2"]),
        ("take", ["a1", "b2"]),
        ("first", "a2"),
        ("count", 3),
        ("index", ["b2"]),
        ("page", [["a1", "b2"], False]),
        ("unique", "b2"),
        ("audits", 0),
    ],
)
async def test_documents_that_may_not_be_read_are_not_there_for_any_consumer(
    app: Backend, how: str, expected: Any
) -> None:
    assert await app.query("notes:texts", user="ann", how=how) == expected


async def test_a_document_that_may_not_be_read_looks_missing_by_id(app: Backend) -> None:
    assert await app.query("notes:get", user="ann", id=await note(app, "b1")) is None
    assert (await app.query("notes:get", user="ann", id=await note(app, "b2"))).text == "b2"


async def test_an_insert_that_its_rule_refuses_raises(app: Backend) -> None:
    with pytest.raises(ApplicationError, match="insert access not allowed"):
        await app.mutation("notes:add", user="ann", owner="bob", text="x")


@pytest.mark.parametrize("verb", ["change", "replace", "remove"])
async def test_writes_go_through_the_read_rule_and_then_the_modify_rule_of_what_is_stored(
    app: Backend, verb: str
) -> None:
    arguments = {} if verb == "remove" else {"text": "new"}
    with pytest.raises(ApplicationError, match="no read access or doc does not exist"):
        await app.mutation(f"notes:{verb}", user="ann", id=await note(app, "b1"), **arguments)
    with pytest.raises(ApplicationError, match="write access not allowed"):
        await app.mutation(f"notes:{verb}", user="ann", id=await note(app, "b2"), **arguments)

    await app.mutation(f"notes:{verb}", user="bob", id=await note(app, "b2"), **arguments)


async def test_tables_without_rules_are_denied_by_default(app: Backend) -> None:
    with pytest.raises(ApplicationError, match="insert access not allowed"):
        await app.mutation("notes:audit", user="ann", text="x")


async def test_a_wrappers_own_arguments_are_required_and_validated_beside_the_handlers(app: Backend) -> None:
    with pytest.raises(InvalidArguments, match="user"):
        await app.query("notes:texts", how="count")
    with pytest.raises(InvalidArguments, match="user"):
        await app.query("notes:texts", {"how": "count", "user": 5})
