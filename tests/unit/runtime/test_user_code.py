"""Running user code: foreign awaits, forgotten operations, dead contexts, time limits, forbidden calls (engine rules 18-20)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import DatabaseError, FunctionError, LimitExceeded, StoreError
from reactor.limits import Limits
from reactor.runtime.failures import failure_of
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

SCHEMA = """
    from reactor import Document, define_schema, define_table
    class Item(Document):
        name: str
    schema = define_schema(items=define_table(Item).index("by_name", "name"))
"""

FUNCTIONS = """
    import asyncio, contextvars, os, random, socket, subprocess, threading, time
    from typing import Any
    from reactor import MutationCtx, QueryCtx, mutation, query
    from schema import Item

    VARIABLE = contextvars.ContextVar("variable", default="fresh")
    kept = []

    class Bare:
        def __await__(self):
            yield

    class Stubborn:
        def __await__(self):
            while True:
                try:
                    yield
                except Exception:
                    pass

    @query
    async def look(ctx: QueryCtx, code: str) -> Any:
        scope = {**globals(), "ctx": ctx}
        exec("async def __it():\\n" + "\\n".join("    " + line for line in code.splitlines()), scope)
        return await scope["__it"]()

    @mutation
    async def run(ctx: MutationCtx, code: str) -> Any:
        scope = {**globals(), "ctx": ctx}
        exec("async def __it():\\n" + "\\n".join("    " + line for line in code.splitlines()), scope)
        return await scope["__it"]()

    @query
    async def sleeps(ctx: QueryCtx) -> None:
        await asyncio.sleep(1)
"""

FILES = {"schema.py": SCHEMA, "functions/user.py": FUNCTIONS}


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project(FILES)


async def look(app: Harness, code: str) -> Any:
    return (await app.query("user:look", code=code)).value


async def run(app: Harness, code: str) -> Any:
    return (await app.mutation("user:run", code=code)).value


FOREIGN = [
    "await asyncio.sleep(0)",
    "await asyncio.sleep(0.1)",
    "await asyncio.gather(ctx.db.query(Item).first(), ctx.db.query(Item).count())",
    "await asyncio.to_thread(print)",
    "await asyncio.wait_for(ctx.db.query(Item).first(), 1)",
    "lock = asyncio.Lock()\nawait lock.acquire()\nawait lock.acquire()",
    "await Bare()",
    "await Stubborn()",
    "await asyncio.get_running_loop().run_in_executor(None, print)",
]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("code", FOREIGN)
async def test_a_foreign_await_is_an_error_that_names_the_way_out(app: Harness, code: str) -> None:
    """engine rule 18"""
    with pytest.raises(FunctionError, match=r"can only await `ctx`.*one thing after the other.*get_many.*an action"):
        await look(app, code)
    assert await look(app, "return await ctx.db.query(Item).count()") == 0


async def test_the_error_of_a_foreign_await_points_at_its_line(app: Harness) -> None:
    with pytest.raises(FunctionError) as caught:
        await app.query("user:sleeps")
    message = failure_of(caught.value, root=app.loader.root).message
    line = next(n for n, text in enumerate(FILES["functions/user.py"].splitlines()) if "asyncio.sleep(1)" in text)
    assert f"at sleeps (functions/user.py:{line})" in message


@pytest.mark.parametrize("code", ["await asyncio.sleep(0)", "await asyncio.sleep(1)"])
async def test_a_swallowed_foreign_await_still_keeps_the_mutation_from_committing(app: Harness, code: str) -> None:
    """engine rule 18"""
    with pytest.raises(FunctionError, match="can only await `ctx`"):
        await run(
            app, f'await ctx.db.insert(Item(name="x"))\ntry:\n    {code}\nexcept BaseException:\n    return "swallowed"'
        )
    assert await app.documents("items") == []


async def test_an_operation_that_is_never_awaited_is_an_error_naming_it(app: Harness) -> None:
    """engine rule 18"""
    with pytest.raises(FunctionError, match=r"ctx.db.insert\(…\) was never awaited in user:run, so it did not happen"):
        await run(app, 'ctx.db.insert(Item(name="x"))')
    assert await app.documents("items") == []


async def test_an_operation_is_awaited_once(app: Harness) -> None:
    with pytest.raises(FunctionError, match="was awaited twice"):
        await look(app, "one = ctx.db.query(Item).first()\nawait one\nawait one")


async def test_a_ctx_is_dead_after_its_call(app: Harness) -> None:
    """engine rule 18"""
    await look(app, "kept.append(ctx)")
    with pytest.raises(FunctionError, match="was used after user:look had ended"):
        await look(app, "return await kept.pop().db.query(Item).collect()")


async def test_a_ctx_is_dead_on_other_threads(app: Harness) -> None:
    """engine rule 18"""
    code = (
        "def other():\n"
        "    try:\n"
        "        ctx.db.query(Item).first().send(None)\n"
        "    except BaseException as error:\n"
        "        kept.append(str(error))\n"
        "thread = threading.Thread(target=other)\n"
        "thread.start()\n"
        "thread.join()\n"
        "return kept.pop()"
    )
    assert "was used on another thread than the one that runs user:look" in await look(app, code)


async def test_context_variables_are_fresh_in_every_call(app: Harness) -> None:
    """engine rule 18"""
    code = 'seen = VARIABLE.get()\nVARIABLE.set("used")\nreturn seen'
    assert [await look(app, code) for _ in range(6)] == ["fresh"] * 6


async def test_async_generators_are_closed_before_the_call_ends(app: Harness) -> None:
    """engine rule 18"""
    code = (
        "async def rows():\n"
        "    try:\n"
        "        async for item in ctx.db.query(Item):\n"
        "            yield item\n"
        "    finally:\n"
        '        await ctx.db.insert(Item(name="closed"))\n'
        "kept.append(rows())\n"
        "async for item in kept[-1]:\n"
        "    return item.name"
    )
    await run(app, 'await ctx.db.insert(Item(name="one"))')
    assert await run(app, code) == "one"
    assert [d["name"] for d in await app.documents("items")] == ["one", "closed"]


async def test_helpers_that_are_coroutines_and_generators_work(app: Harness) -> None:
    code = (
        "async def names():\n"
        "    async for item in ctx.db.query(Item):\n"
        "        yield item.name\n"
        'await ctx.db.insert(Item(name="a"))\n'
        'await ctx.db.insert(Item(name="b"))\n'
        "return [name async for name in names()]"
    )
    assert await run(app, code) == ["a", "b"]


@pytest.mark.parametrize(
    "code",
    [
        "socket.create_connection(('127.0.0.1', 1))",
        "socket.getaddrinfo('localhost', 80)",
        "subprocess.run(['true'])",
        "os.system('true')",
    ],
)
async def test_the_network_and_other_processes_are_refused(app: Harness, code: str) -> None:
    """server-semantics 29, engine rule 18"""
    with pytest.raises(FunctionError, match=r"Queries and mutations can't .*action"):
        await look(app, code)


async def test_threads_of_the_process_outside_of_functions_are_left_alone() -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "while True:\n    try:\n        while True: pass\n    except Exception:\n        pass",
        "while True:\n    await ctx.auth.get_user_identity()",
        "x = [i for i in iter(int, 1)]",
    ],
)
@pytest.mark.parametrize("kind", ["look", "run"])
async def test_a_runaway_function_is_ended(project: Project, code: str, kind: str) -> None:
    """engine rule 20"""
    app = await project(FILES, Limits(user_time_s=0.1))
    with pytest.raises(LimitExceeded, match=r"Function execution timed out \(maximum duration: 0.1s\)") as caught:
        await (app.query if kind == "look" else app.mutation)(f"user:{kind}", code=code)
    assert caught.value.code == "FunctionTimedOut"
    assert await run(app, 'await ctx.db.insert(Item(name="next"))\nreturn "fine"') == "fine"
    assert await look(app, "return await ctx.db.query(Item).count()") == 1


async def test_a_function_that_swallows_its_deadline_is_ended_again_and_can_not_commit(project: Project) -> None:
    """engine rule 20"""
    app = await project(FILES, Limits(user_time_s=0.1))
    code = (
        'await ctx.db.insert(Item(name="x"))\n'
        "for _ in range(3):\n"
        "    try:\n"
        "        while True: pass\n"
        "    except BaseException:\n"
        '        print("swallowed")\n'
        'return "survived"'
    )
    with pytest.raises(LimitExceeded, match="timed out"):
        await run(app, code)
    assert await app.documents("items") == []


async def test_waiting_counts_against_the_wall_limit(project: Project) -> None:
    """engine rule 20"""
    app = await project(FILES, Limits(user_time_s=0.02))
    with pytest.raises(LimitExceeded, match="timed out"):
        await look(app, "for _ in range(100_000): time.sleep(0.01)")


async def test_a_runaway_nested_mutation_is_rolled_back_with_its_parent(project: Project) -> None:
    app = await project(
        {
            **FILES,
            "functions/nested.py": """
                from reactor import MutationCtx, mutation
                from functions import user
                from schema import Item

                @mutation
                async def outer(ctx: MutationCtx) -> str:
                    await ctx.db.insert(Item(name="outer"))
                    try:
                        await ctx.run_mutation(user.run, code='await ctx.db.insert(Item(name="inner"))\\nwhile True: pass')
                    except BaseException:
                        pass
                    return "went on"
            """,
        },
        Limits(user_time_s=0.1),
    )
    with pytest.raises(LimitExceeded, match="timed out"):
        await app.mutation("nested:outer")
    assert await app.documents("items") == []
    assert await run(app, 'await ctx.db.insert(Item(name="next"))\nreturn 1') == 1


async def test_no_late_exception_hits_the_thread_after_many_close_calls(project: Project) -> None:
    """engine rule 20: a late one is absorbed"""
    app = await project(FILES, Limits(user_time_s=0.03))
    code = (
        "end = time.thread_time() + {}\nwhile time.thread_time() < end: pass\n"
        "for _ in range(50): await ctx.db.query(Item).first()\nreturn 1"
    )
    outcomes = set()
    for step in range(25):
        try:
            outcomes.add(await look(app, code.format(0.02 + step * 0.002)))
        except LimitExceeded as error:
            outcomes.add(error.code)
        assert await look(app, "return 5") == 5
    assert outcomes == {1, "FunctionTimedOut"}


async def test_leaving_by_system_exit_fails_the_function_not_the_thread(app: Harness) -> None:
    with pytest.raises(FunctionError, match="raised SystemExit: 3"):
        await look(app, "raise SystemExit(3)")
    with pytest.raises(FunctionError, match="raised KeyboardInterrupt"):
        await look(app, "raise KeyboardInterrupt")
    assert await look(app, "return 1") == 1


async def test_endless_recursion_is_an_ordinary_error(app: Harness) -> None:
    with pytest.raises(RecursionError):
        await look(app, "def f(): return f()\nf()")
    with pytest.raises(RecursionError):
        await look(app, "from functions.user import look as again\nasync def f(): return await f()\nreturn await f()")


async def test_random_numbers_differ_between_calls_and_are_seeded_once_per_call(app: Harness) -> None:
    assert len({await look(app, "return ctx.random.random()") for _ in range(5)}) == 5
    assert await look(app, "return ctx.random is ctx.random") is True


async def test_store_errors_of_arguments_leave_the_transaction_usable(app: Harness) -> None:
    code = (
        "from reactor import DatabaseError\n"
        'try:\n    await ctx.db.get("nonsense")\nexcept DatabaseError:\n    pass\n'
        'await ctx.db.insert(Item(name="kept"))'
    )
    await run(app, code)
    assert [d["name"] for d in await app.documents("items")] == ["kept"]
    with pytest.raises(DatabaseError):
        await run(app, 'await ctx.db.get("nonsense")')


async def test_after_a_store_failure_nothing_more_is_done_and_nothing_commits(
    app: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """engine rule 7: later statements could run outside of any transaction"""

    def fail(*args: Any) -> None:
        raise StoreError("disk I/O error")

    monkeypatch.setattr(WriteTransaction, "delete", fail)
    code = """
id = await ctx.db.insert(Item(name="x"))
for step in (lambda: ctx.db.delete(id), lambda: ctx.db.insert(Item(name="y")), lambda: ctx.db.get(id)):
    try:
        await step()
        kept.append("went on")
    except Exception as error:
        kept.append(str(error))
"""
    with pytest.raises(StoreError, match="disk"):
        await run(app, code)
    assert app.app.modules["user"].kept == ["disk I/O error"] * 3


async def test_a_swallowed_missing_table_is_made_all_the_same(app: Harness) -> None:
    code = """
try:
    await ctx.db.insert("fresh", {"n": 1})
except BaseException:
    pass
return len(await ctx.db.query("fresh").collect())
"""
    assert await run(app, code) == 1


async def test_a_plain_wrapper_around_a_handler_runs_as_user_code(project: Project) -> None:
    app = await project(
        {
            "functions/f.py": """
                import functools
                from reactor import QueryCtx, query

                def announced(handler):
                    @functools.wraps(handler)
                    def wrapper(ctx, *args, **kwargs):
                        print("calling")
                        return handler(ctx, *args, **kwargs)
                    return wrapper

                @query
                @announced
                async def f(ctx: QueryCtx, number: int) -> int:
                    return number
            """
        }
    )
    ran = await app.query("f:f", number=3)
    assert (ran.value, ran.logs) == (3, ("[LOG] 'calling'",))


async def test_the_watchdog_thread_is_one_for_the_process(app: Harness) -> None:
    await look(app, "return 1")
    assert [t.name for t in threading.enumerate()].count("reactor-watchdog") == 1


async def test_parts_that_come_later_say_so(app: Harness) -> None:
    with pytest.raises(FunctionError, match="This deployment has no file storage"):
        await run(app, "await ctx.storage.generate_upload_url()")
