"""`ctx.db` as functions use it, on a real database (server-semantics 3)."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.engine.read_set import ReadSet
from reactor.engine.transaction import Transaction
from reactor.errors import DatabaseError, DocumentNotFound, InvalidArguments, InvalidDocument, LimitExceeded
from reactor.limits import Limits
from reactor.runtime.execute import execute_query
from reactor.store.catalogue import TableInfo
from reactor.store.protocol import Writer
from reactor.values.ids import new_id
from reactor.values.wire import encode
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

SCHEMA = """
    from typing import Any
    from reactor import Document, Id, Struct, define_schema, define_table, v

    class Address(Struct):
        city: str
        post_code: str | None = None

    class User(Document):
        name: str
        nick_name: str | None = None
        age: int = 0
        address: Address | None = None

    class Task(Document):
        user_id: Id[User]
        title: str
        done: bool = False
        rank: float = 0.0
        note: str | None = None
        maybe: str | None

    schema = define_schema(
        users=define_table(User).index("by_name", "name").index("by_nick", "nick_name", "age"),
        tasks=define_table(Task).index("by_user_rank", "user_id", "rank").index("by_rank", "rank"),
        loose_things=define_table({"label": v.string(), "count": v.optional(v.number())}).index("by_label", "label"),
    )
"""

FUNCTIONS = """
    from typing import Any
    from reactor import UNSET, DatabaseError, Id, MutationCtx, Projection, QueryCtx, Struct, mutation, query
    from schema import Address, Task, User

    class TaskName(Projection):
        id: Id[Task]
        title: str

    class TaskChanges(Struct):
        title: str | Any = UNSET
        done: bool | Any = UNSET

    @mutation
    async def add_user(ctx: MutationCtx, name: str, nick: str | None = None, age: int = 0) -> Id[User]:
        return await ctx.db.insert(User(name=name, nick_name=nick, age=age))

    @mutation
    async def add_task(ctx: MutationCtx, user_id: Id[User], title: str, rank: float = 0, maybe: str | None = None) -> Id[Task]:
        return await ctx.db.insert(Task(user_id=user_id, title=title, rank=rank, maybe=maybe))

    @mutation
    async def run(ctx: MutationCtx, code: str, given: Any = None) -> Any:
        scope = {**globals(), "ctx": ctx, "given": given}
        exec("async def __it():\\n" + "\\n".join("    " + line for line in code.splitlines()), scope)
        return await scope["__it"]()

    @query
    async def look(ctx: QueryCtx, code: str, given: Any = None) -> Any:
        scope = {**globals(), "ctx": ctx, "given": given}
        exec("async def __it():\\n" + "\\n".join("    " + line for line in code.splitlines()), scope)
        return await scope["__it"]()

    @query
    async def by_id(ctx: QueryCtx, id: Id[User]) -> str:
        return (await ctx.db.get(id)).name
"""


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project({"schema.py": SCHEMA, "functions/db.py": FUNCTIONS})


async def look(app: Harness, code: str, given: Any = None) -> Any:
    return (await app.query("db:look", code=code, given=given)).value


async def run(app: Harness, code: str, given: Any = None) -> Any:
    return (await app.mutation("db:run", code=code, given=given)).value


async def user(app: Harness, name: str = "ann", **more: Any) -> str:
    return (await app.mutation("db:addUser", name=name, **more)).value


async def test_a_document_is_read_back_by_its_id_and_a_missing_one_is_none(app: Harness) -> None:
    ann = await user(app)
    assert (await look(app, "return (await ctx.db.get(given)).name", ann)) == "ann"
    await run(app, "await ctx.db.delete(given)", ann)
    assert await look(app, "return await ctx.db.get(given)", ann) is None


async def test_get_with_a_table_gives_none_for_an_id_of_another_table(app: Harness) -> None:
    ann = await user(app)
    assert await look(app, "return (await ctx.db.get(User, given)).name", ann) == "ann"
    assert await look(app, "return await ctx.db.get(Task, given)", ann) is None
    assert await look(app, 'return (await ctx.db.get("users", given)).name', ann) == "ann"


async def test_get_refuses_what_is_no_id_and_says_so(app: Harness) -> None:
    with pytest.raises(DatabaseError, match=r"expected string but got 'int': 5"):
        await look(app, "return await ctx.db.get(given)", 5)
    with pytest.raises(
        DatabaseError, match=r"Invalid argument `id` for `db.get`: Unable to decode ID: Invalid ID length 3"
    ):
        await look(app, 'return await ctx.db.get("abc")')


async def test_an_id_of_an_unknown_table_is_none_for_get_and_an_error_for_writes(app: Harness) -> None:
    from reactor.values.ids import encode_id

    strange = encode_id(19_999, bytes(16))
    assert await look(app, "return await ctx.db.get(given)", strange) is None
    with pytest.raises(DocumentNotFound):
        await run(app, "await ctx.db.delete(given)", strange)


@pytest.mark.parametrize("path", ["db:look", "db:byId"])
async def test_an_id_of_a_table_to_come_is_found_once_an_import_brings_it(app: Harness, path: str) -> None:
    database = app.database
    number = max(database.catalogue.by_number) + 1
    id = new_id(number, 0)
    args = {"code": "return (await ctx.db.get(given)).name", "given": id} if path == "db:look" else {"id": id}
    seen: list[ReadSet] = []

    def ask(tx: Transaction) -> None:
        try:
            execute_query(app.app, app.fn(path), encode(args), tx, app.caller, host=app.host)
        finally:
            seen.append(tx.read_set())

    with pytest.raises((InvalidArguments, AttributeError)):
        await database.read(ask)

    def hide(writer: Writer) -> TableInfo:
        writer.begin()
        table = writer.create_hidden("users", (), number=number)
        writer.insert(table, id, encode({"name": "ann", "age": 1, "_id": id, "_creationTime": 1.5}))
        writer.commit()
        return table

    record = await database.replace_tables([await database.store.write(hide)])
    assert (await app.query(path, **args)).value == "ann"
    assert seen[0].touched_by(record)


async def test_get_many_keeps_order_and_gives_none_for_the_missing(app: Harness) -> None:
    ids = [await user(app, name) for name in ("a", "b", "c")]
    await run(app, "await ctx.db.delete(given)", ids[1])
    found = await look(app, "return [u.name if u else None for u in await ctx.db.get_many(given)]", [*ids, ids[0]])
    assert found == ["a", None, "c", "a"]


@pytest.mark.parametrize(
    ("statement", "verb"),
    [
        ('await ctx.db.patch(given, name="x")', "Update"),
        ('await ctx.db.replace(given, User(name="x"))', "Replace"),
        ("await ctx.db.delete(given)", "Delete"),
    ],
)
async def test_writing_a_missing_document_names_what_was_tried(app: Harness, statement: str, verb: str) -> None:
    """server-semantics 21"""
    ann = await user(app)
    await run(app, "await ctx.db.delete(given)", ann)
    with pytest.raises(DocumentNotFound, match=f"{verb} on nonexistent document ID {ann}"):
        await run(app, statement, ann)
    with pytest.raises(DatabaseError, match="Unable to decode ID"):
        await run(app, statement, "nonsense")


async def test_patch_merges_and_takes_python_names_wire_names_dicts_and_structs(app: Harness) -> None:
    ann = await user(app, nick="annie", age=3)
    await run(app, 'await ctx.db.patch(given, nick_name="A")', ann)
    await run(app, 'await ctx.db.patch(given, {"nickName": "B"}, age=4)', ann)
    (document,) = await app.documents("users")
    assert (document["nickName"], document["age"], document["name"]) == ("B", 4, "ann")
    task = (await app.mutation("db:addTask", userId=ann, title="t")).value
    await run(app, "await ctx.db.patch(given, TaskChanges(done=True))", task)
    (document,) = await app.documents("tasks")
    assert (document["title"], document["done"]) == ("t", True)


async def test_patch_with_unset_or_none_for_an_optional_field_removes_it(app: Harness) -> None:
    ann = await user(app, nick="annie")
    await run(app, "await ctx.db.patch(given, nick_name=None)", ann)
    assert "nickName" not in (await app.documents("users"))[0]
    await run(app, 'await ctx.db.patch(given, nick_name="x")\nawait ctx.db.patch(given, nick_name=UNSET)', ann)
    assert "nickName" not in (await app.documents("users"))[0]


async def test_none_is_null_in_a_field_without_default(app: Harness) -> None:
    ann = await user(app)
    task = (await app.mutation("db:addTask", userId=ann, title="t", maybe="x")).value
    await run(app, "await ctx.db.patch(given, maybe=None)", task)
    assert (await app.documents("tasks"))[0]["maybe"] is None


async def test_patching_a_nested_object_replaces_it_whole(app: Harness) -> None:
    ann = await user(app)
    await run(app, 'await ctx.db.patch(given, address=Address(city="A", post_code="1"))', ann)
    await run(app, 'await ctx.db.patch(given, address=Address(city="B"))', ann)
    assert (await app.documents("users"))[0]["address"] == {"city": "B"}


async def test_an_unknown_field_is_an_error_that_lists_the_fields(app: Harness) -> None:
    ann = await user(app)
    with pytest.raises(DatabaseError, match=r"no field 'nickname'.*Did you mean.*Its fields: name, nickName"):
        await run(app, 'await ctx.db.patch(given, nickname="x")', ann)


async def test_patch_takes_a_document_in_the_place_of_its_id_but_not_as_the_change(app: Harness) -> None:
    ann = await user(app)
    await run(app, "u = await ctx.db.get(given)\nawait ctx.db.patch(u, age=9)\nawait ctx.db.delete(u)", ann)
    assert await app.documents("users") == []
    bob = await user(app, "bob")
    with pytest.raises(DatabaseError, match="a whole User goes to `replace`"):
        await run(app, 'await ctx.db.patch(given, User(name="x"))', bob)


async def test_replace_keeps_id_and_creation_time_and_drops_what_is_not_given(app: Harness) -> None:
    ann = await user(app, nick="annie", age=5)
    before = (await app.documents("users"))[0]
    await run(app, 'await ctx.db.replace(given, User(name="new"))', ann)
    assert (await app.documents("users")) == [
        {"_id": ann, "_creationTime": before["_creationTime"], "name": "new", "age": 0}
    ]


async def test_replace_takes_a_changed_copy_of_the_document(app: Harness) -> None:
    ann = await user(app, nick="annie")
    await run(
        app,
        "import msgspec\nu = await ctx.db.get(given)\nawait ctx.db.replace(u, msgspec.structs.replace(u, age=7))",
        ann,
    )
    (document,) = await app.documents("users")
    assert (document["age"], document["nickName"]) == (7, "annie")


async def test_a_document_that_breaks_the_schema_is_refused_by_its_table_and_nothing_stays(app: Harness) -> None:
    with pytest.raises(InvalidDocument, match='Failed to insert or update a document in table "users"'):
        await run(app, 'await ctx.db.insert(User(name="ok"))\nawait ctx.db.insert("users", {"name": 5})')
    assert await app.documents("users") == []


async def test_dict_tables_give_plain_dicts_fresh_at_every_read(app: Harness) -> None:
    thing = await run(app, 'return await ctx.db.insert("looseThings", {"label": "a", "count": 1})')
    value = await look(
        app, 'one = await ctx.db.get(given)\none["label"] = "changed"\nreturn [one, await ctx.db.get(given)]', thing
    )
    assert [value[0]["label"], value[1]["label"]] == ["changed", "a"]


async def test_undeclared_tables_are_made_at_the_first_insert(app: Harness) -> None:
    thing = await run(app, 'return await ctx.db.insert("brandNew", {"a": 1})')
    assert (await look(app, "return await ctx.db.get(given)", thing))["a"] == 1
    assert await look(app, 'return len(await ctx.db.query("brandNew").collect())') == 1


async def test_querying_a_table_that_does_not_exist_finds_nothing_and_depends_on_it(app: Harness) -> None:
    ran = await app.query("db:look", code='return await ctx.db.query("nothing").collect()')
    assert ran.value == []
    assert ran.read_set is not None
    assert "table:nothing" in ran.read_set.names


async def test_system_tables_are_guarded(app: Harness) -> None:
    """server-semantics 21"""
    with pytest.raises(DatabaseError, match="read-only"):
        await run(app, 'await ctx.db.insert("_storage", {"a": 1})')
    with pytest.raises(DatabaseError, match=r"System tables can only be accessed from db.system.query\(\)."):
        await look(app, 'return ctx.db.query("_storage")')
    with pytest.raises(DatabaseError, match=r"User tables cannot be accessed with db\.system"):
        await look(app, 'return ctx.db.system.query("users")')
    assert await look(app, 'return await ctx.db.system.query("_storage").collect()') == []
    ann = await user(app)
    with pytest.raises(DatabaseError, match=r"User tables cannot be accessed with db\.system"):
        await look(app, "return await ctx.db.system.get(given)", ann)


async def test_normalize_id_tells_ids_of_the_table_from_all_other_texts(app: Harness) -> None:
    ann = await user(app)
    assert await look(app, "return ctx.db.normalize_id(User, given)", ann) == ann
    assert await look(app, "return ctx.db.normalize_id(Task, given)", ann) is None
    assert await look(app, 'return ctx.db.normalize_id("users", "nonsense")') is None
    assert await look(app, 'return ctx.db.normalize_id("unknown", given)', ann) is None


async def test_own_writes_are_seen_by_get_by_ranges_and_by_iteration(app: Harness) -> None:
    """server-semantics 22"""
    names = await run(
        app,
        'a = await ctx.db.insert(User(name="a"))\n'
        'await ctx.db.insert(User(name="b"))\n'
        'await ctx.db.patch(a, name="z")\n'
        'by_index = [u.name for u in await ctx.db.query(User).with_index("by_name").collect()]\n'
        "await ctx.db.delete(a)\n"
        "return [by_index, await ctx.db.get(a), [u.name async for u in ctx.db.query(User)]]",
    )
    assert names == [["b", "z"], None, ["b"]]


async def test_creation_times_rise_within_one_mutation_in_insert_order(app: Harness) -> None:
    """server-semantics 5"""
    times = await run(
        app,
        "ids = [await ctx.db.insert(User(name=str(n))) for n in range(5)]\n"
        "return [u.creation_time for u in await ctx.db.get_many(ids)]",
    )
    assert times == sorted(set(times))


async def test_deleting_behind_the_iteration_is_safe(app: Harness) -> None:
    for n in range(40):
        await user(app, f"u{n:02}")
    gone = await run(app, "n = 0\nasync for u in ctx.db.query(User):\n    await ctx.db.delete(u)\n    n += 1\nreturn n")
    assert gone == 40
    assert await app.documents("users") == []


async def test_limits_of_reads_are_enforced_and_the_mutation_can_not_commit_after_one(project: Project) -> None:
    """server-semantics 30: a limit of the whole function, caught or not."""
    app = await project(
        {"schema.py": SCHEMA, "functions/db.py": FUNCTIONS}, Limits(documents_read=3, documents_written=3)
    )
    for n in range(3):
        await user(app, f"u{n}")
    assert await look(app, "return len(await ctx.db.query(User).collect())") == 3
    await user(app, "one more")
    with pytest.raises(LimitExceeded, match=r"Too many documents read .*limit: 3"):
        await look(app, "return len(await ctx.db.query(User).collect())")
    with pytest.raises(LimitExceeded, match="Too many writes"):
        await run(
            app,
            'from reactor import LimitExceeded\nfor n in range(4):\n    try:\n        await ctx.db.insert(User(name="x"))\n'
            "    except LimitExceeded:\n        pass",
        )
    assert len(await app.documents("users")) == 4


async def test_metrics_count_what_was_used_and_what_is_left(app: Harness) -> None:
    await user(app)
    used = await look(
        app,
        "await ctx.db.query(User).first()\nm = ctx.metrics\n"
        "return [m.documents_read.used, m.documents_read.remaining, m.database_queries.used, m.bytes_read.used > 0]",
    )
    assert used == [1, 31_999, 1, True]


async def test_our_own_tables_are_not_for_reading(app: Harness) -> None:
    """server-semantics 1.5: `_storage` and `_scheduled_functions` are the system tables that functions can read."""
    with pytest.raises(DatabaseError, match=r"There is no system table '_environment_variables' to read"):
        await look(app, 'return await ctx.db.system.query("_environment_variables").collect()')
    assert await look(app, 'return await ctx.db.system.query("_storage").collect()') == []
