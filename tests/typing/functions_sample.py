"""User functions, as type checkers must understand them: read by pyright and mypy in strict mode, and loaded by a test.

A line that ends in a comment "refused" must be an error for both; every other line must not.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Literal, TypeVar, assert_type

from reactor import (
    UNSET,
    ActionCtx,
    ApplicationError,
    Document,
    Environment,
    Id,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    Projection,
    QueryCtx,
    Struct,
    UnsetType,
    UserIdentity,
    VectorHit,
    VectorMatch,
    action,
    api,
    define_schema,
    define_table,
    internal_action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)

T = TypeVar("T")


class User(Document):
    name: str


class Task(Document):
    owner: Id[User]
    title: str
    rank: float = 0.0
    done: bool = False


class Picture(Document):
    album: str
    embedding: list[float]


class TaskTitle(Projection):
    title: str


class TaskChanges(Struct):
    title: str | UnsetType = UNSET


class Env(Environment):
    SUPPORT_EMAIL: str | None = None
    LIMIT: int = 10
    MODE: Literal["a", "b"]


schema = define_schema(
    users=define_table(User),
    tasks=define_table(Task).index("by_owner", "owner", "rank"),
    pictures=define_table(Picture).vector_index("by_embedding", "embedding", dimensions=3, filter_fields=["album"]),
)


def is_done(task: Task) -> bool:
    return task.done


@query
async def list_tasks(ctx: QueryCtx, owner: Id[User], limit: int = 50) -> list[Task]:
    rows = ctx.db.query(Task).with_index("by_owner", owner=owner).order("desc")
    assert_type(await rows.take(limit), list[Task])
    return await ctx.db.query(Task).with_index("by_owner", owner=owner).filter(is_done).collect()


@query
async def reads(ctx: QueryCtx, id: Id[Task], ids: list[Id[Task]], text: str) -> str | None:
    assert_type(await ctx.db.get(id), Task | None)
    assert_type(await ctx.db.get(Task, text), Task | None)
    assert_type(await ctx.db.get_many(ids), list[Task | None])
    assert_type(ctx.db.normalize_id(Task, text), Id[Task] | None)
    assert_type(await ctx.db.query(Task).first(), Task | None)
    assert_type(await ctx.db.query(Task).unique(), Task | None)
    assert_type(await ctx.db.query(Task).count(), int)
    assert_type(await ctx.db.query(Task).select(TaskTitle).collect(), list[TaskTitle])
    ranged = ctx.db.query(Task).with_index("by_owner", lambda q: q.eq("owner", text).gte("rank", 1).lt("rank", 5))
    searched = ctx.db.query(Task).with_search_index("search_text", lambda q: q.search("text", text).eq("owner", text))
    assert_type(await searched.take(3), list[Task])
    assert_type(await ranged.collect(), list[Task])
    by_name: Any = await ctx.db.query("tasks").collect()
    async for task in ctx.db.query(Task):
        assert_type(task, Task)
        assert_type(await ctx.db.get(task.owner), User | None)
    one = await ctx.db.get(id)
    return None if one is None else one.title + str(by_name)


@query
async def page(ctx: QueryCtx, pagination_opts: PaginationOptions) -> PaginationResult[str]:
    result = await ctx.db.query(Task).paginate(pagination_opts)
    assert_type(result, PaginationResult[Task])
    assert_type(result.page, list[Task])
    assert_type(result.with_page([1]), PaginationResult[int])
    return result.map(lambda task: task.title)


@query
async def surroundings(ctx: QueryCtx) -> float:
    assert_type(await ctx.auth.get_user_identity(), UserIdentity | None)
    assert_type(ctx.auth.is_admin, bool)
    env = ctx.env(Env)
    assert_type(env.SUPPORT_EMAIL, str | None)
    assert_type(env.LIMIT, int)
    assert_type(env.MODE, Literal["a", "b"])
    assert_type(ctx.random.random(), float)
    assert_type(ctx.metrics.documents_read.remaining, int)
    ctx.log("a", 1)
    await ctx.db.insert(User(name="x"))  # refused
    await ctx.run_mutation(rename, id=None, title="x")  # refused
    env.MISSING  # refused
    return ctx.now()


@action
async def look_alike(ctx: ActionCtx, vector: list[float], album: str) -> list[VectorHit[Picture]]:
    hits = await ctx.vector_search(Picture, "by_embedding", vector, limit=5, filter=lambda q: q.eq("album", album))
    assert_type(hits, list[VectorHit[Picture]])
    assert_type(hits[0].id, Id[Picture])
    matches = await ctx.vector_search(
        Picture, "by_embedding", vector, filter=lambda q: q.or_(q.eq("album", "a"), q.eq("album", "b")), documents=True
    )
    assert_type(matches, list[VectorMatch[Picture]])
    assert_type(matches[0].document, Picture)
    assert_type(matches[0].score, float)
    assert_type(await ctx.vector_search("pictures", "by_embedding", vector), list[Any])
    await ctx.vector_search(Picture, "by_embedding", vector, filter=lambda q: True)  # refused
    await ctx.vector_search(Picture, "by_embedding", "abc")  # refused
    hits[0].document  # refused
    return hits


@internal_mutation
async def rename(ctx: MutationCtx, id: Id[Task], title: str) -> Id[Task]:
    await ctx.db.patch(id, title=title)
    await ctx.db.patch(id, {"title": title})
    await ctx.db.patch(id, TaskChanges(title=title))
    return id


@internal_query
async def title_of(ctx: QueryCtx, id: Id[Task]) -> str:
    task = await ctx.db.get(id)
    if task is None:
        raise ApplicationError({"code": "NOT_FOUND"})
    return task.title


@mutation(name="addTask")
async def add(ctx: MutationCtx, owner: Id[User], title: str, *, rank: float = 0) -> Id[Task]:
    id = await ctx.db.insert(Task(owner=owner, title=title, rank=rank))
    assert_type(id, Id[Task])
    assert_type(await ctx.db.insert("tasks", {"title": title}), Id[Any])
    assert_type(await ctx.run_query(title_of, id=id), str)
    assert_type(await ctx.run_query(title_of, id), str)
    assert_type(await ctx.run_mutation(rename, id=id, title="x"), Id[Task])
    assert_type(await ctx.with_limits(documents_written=5).run_mutation(rename, id, "x"), Id[Task])
    assert_type(await title_of(ctx, id), str)
    assert_type(await rename(ctx, id=id, title="y"), Id[Task])
    await ctx.db.replace(id, Task(owner=owner, title=title))
    by_path: Any = await ctx.run_mutation("tasks:rename", {"id": id, "title": "x"})
    by_proxy: Any = await ctx.run_mutation(api.tasks.rename, id=id, title="x")
    await ctx.run_mutation(rename, id=id)  # refused
    await ctx.run_mutation(rename, id=id, title=5)  # refused
    await ctx.run_mutation(rename, id=id, title="x", extra=1)  # refused
    await ctx.run_mutation(title_of, id=id)  # refused
    await ctx.run_query(rename, id=id, title="x")  # refused
    await ctx.run_query(title_of, id=5)  # refused
    await title_of(ctx)  # refused
    await ctx.scheduler.run_after(timedelta(seconds=1), rename, id=id, title="later")
    await ctx.scheduler.run_after(0, notify, text="now")
    await ctx.scheduler.run_after(0, rename, id=id)  # refused
    await ctx.scheduler.run_after(0, title_of, id=id)  # refused
    await ctx.db.delete(id)
    print(by_path, by_proxy)
    return id


@internal_action
async def notify(ctx: ActionCtx, text: str) -> int:
    return len(text)


@action
async def act(ctx: ActionCtx, id: Id[Task]) -> str:
    assert_type(await ctx.run_query(title_of, id=id), str)
    assert_type(await ctx.run_mutation(rename, id=id, title="x"), Id[Task])
    assert_type(await ctx.run_action(notify, text="x"), int)
    untyped: Any = await ctx.run_query("tasks:titleOf", {"id": id})
    await ctx.run_action(title_of, id=id)  # refused
    await ctx.run_mutation(rename, id=id)  # refused
    await title_of(ctx, id)  # refused
    ctx.db  # refused
    return str(untyped)


@query  # refused
async def wrong_context(ctx: MutationCtx) -> None:
    pass


def timed(
    handler: Callable[[QueryCtx, int], Coroutine[Any, Any, T]],
) -> Callable[[QueryCtx, int], Coroutine[Any, Any, T]]:
    async def wrapper(ctx: QueryCtx, number: int) -> T:
        return await handler(ctx, number)

    return wrapper


@query
@timed
async def wrapped(ctx: QueryCtx, number: int) -> int:
    return number


@query
async def builder_states(ctx: QueryCtx) -> None:
    done = ctx.db.query(Task).order("desc")
    done.order("asc")  # refused
    ctx.db.query(Task).order("down")  # refused
    ctx.db.query(Task).with_index("by_owner", lambda q: q.lt("rank", 1).eq("owner", "x"))  # refused
    ctx.db.query(Task).with_search_index("search_text", lambda q: q.eq("owner", "x"))  # refused
    ctx.db.query(Task).with_search_index("search_text", lambda q: q.search("text", "x").search("text", "y"))  # refused
    ctx.db.query(Task).with_search_index("search_text", lambda q: q.search("text", "x")).order("desc")  # refused
    ctx.db.query(Task).with_index("by_owner", lambda q: q.gt("rank", 1).gt("rank", 2))  # refused
    assert_type(await wrapped(ctx, 3), int)
