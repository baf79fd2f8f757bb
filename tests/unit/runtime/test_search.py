"""`with_search_index` in functions: matches, filters, consumers, errors, live results (server-semantics 10.1, 47)."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import DatabaseError, LimitExceeded
from reactor.limits import Limits
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

SCHEMA = """
    from reactor import Document, Int64, Struct, define_schema, define_table

    class Meta(Struct):
        lang: str | None = None

    class Note(Document):
        body_text: str
        owner_name: str | None = None
        size: Int64 | None = None
        meta: Meta | None = None
        votes: int = 0

    class Loose(Document):
        body: str | float | None = None

    schema = define_schema(
        notes=define_table(Note)
        .index("by_owner", "owner_name")
        .search_index("search_body", "body_text", filter_fields=["owner_name", "size", "meta.lang"])
        .search_index("staged_body", "body_text", staged=True),
        loose=define_table(Loose).search_index("search_body", "body"),
    )
"""

FUNCTIONS = """
    from typing import Any
    from reactor import (
        DatabaseError, Int64, MutationCtx, PaginationOptions, PaginationResult, Projection, QueryCtx, UNSET, mutation, query
    )
    from schema import Loose, Note

    class Body(Projection):
        body_text: str

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
    async def page(ctx: QueryCtx, text: str, pagination_opts: PaginationOptions) -> PaginationResult[str]:
        found = await ctx.db.query(Note).with_search_index("search_body", lambda q: q.search("body_text", text)).paginate(
            pagination_opts
        )
        return found.map(lambda note: note.body_text)
"""


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project({"schema.py": SCHEMA, "functions/f.py": FUNCTIONS})


async def look(app: Harness, code: str, given: Any = None) -> Any:
    return (await app.query("f:look", code=code, given=given)).value


async def run(app: Harness, code: str, given: Any = None) -> Any:
    return (await app.mutation("f:run", code=code, given=given)).value


async def add(app: Harness, *bodies: str, more: str = "") -> list[str]:
    return await run(app, f"return [await ctx.db.insert(Note(body_text=b{more})) for b in given]", list(bodies))


def search(describe: str, end: str = "collect()") -> str:
    return f'ctx.db.query(Note).with_search_index("search_body", lambda q: {describe}).{end}'


def found(text: str, end: str = "collect()", filters: str = "") -> str:
    """A search of the notes' bodies, as an expression."""
    return search(f"q.search('body_text', {text!r}){filters}", end)


async def bodies(app: Harness, text: str, filters: str = "") -> list[str]:
    return await look(app, f"return [n.body_text for n in await {found(text, filters=filters)}]")


async def test_only_the_last_word_is_a_prefix(app: Harness) -> None:
    await add(app, "reactive", "database")
    assert await bodies(app, "data react") == ["reactive"]
    assert await bodies(app, "react data") == ["database"]
    assert sorted(await bodies(app, "reactive data")) == ["database", "reactive"]


async def test_any_word_matches_and_more_of_them_rank_higher(app: Harness) -> None:
    await add(app, "red fish", "one fish", "red bird one", "blue sky", "green grass", "white snow")
    matches = await bodies(app, "red one")
    assert set(matches) == {"red fish", "one fish", "red bird one"}
    assert matches[0] == "red bird one"


async def test_the_order_of_words_and_their_case_and_punctuation_do_not_matter(app: Harness) -> None:
    await add(app, "Don't PANIC, ever!")
    for text in ("panic don", "ever... PANIC", "don't", "T"):
        assert await bodies(app, text) == ["Don't PANIC, ever!"]


async def test_a_whole_word_ranks_above_one_that_only_begins_with_it(app: Harness) -> None:
    await add(app, "cat", "cats", "unrelated", "other", "more")
    assert await bodies(app, "cat") == ["cat", "cats"]


async def test_words_of_31_bytes_are_found_and_of_32_are_not(app: Harness) -> None:
    await add(app, "a" * 31, "b" * 32)
    assert await bodies(app, "a" * 31) == ["a" * 31]
    assert await bodies(app, "b" * 32) == []
    assert await bodies(app, "b" * 31) == []


async def test_only_sixteen_words_of_a_text_are_looked_for(app: Harness) -> None:
    await add(app, "w16", "w15longer")
    assert await bodies(app, " ".join(f"w{n}" for n in range(17))) == ["w15longer"]


@pytest.mark.parametrize("text", ["", "!!!", " \t"])
async def test_a_text_without_words_finds_nothing(app: Harness, text: str) -> None:
    await add(app, "something", "!!!")
    assert await bodies(app, text) == []


async def test_filters_are_equalities_by_python_or_wire_name_and_paths(app: Harness) -> None:
    await add(app, "one word", more=', owner_name="ann", size=Int64(1)')
    await add(app, "two word", more=', owner_name="bob", size=Int64(1), meta={"lang": "de"}')
    assert await bodies(app, "word", '.eq("owner_name", "ann")') == ["one word"]
    assert await bodies(app, "word", '.eq("ownerName", "ann").eq("size", 1)') == ["one word"]
    assert await bodies(app, "word", '.eq("size", 1).eq("meta.lang", "de")') == ["two word"]
    assert await bodies(app, "word", '.eq("size", 1.0)') == []
    assert await bodies(app, "word", '.eq("owner_name", "ann").eq("owner_name", "bob")') == []


async def test_a_filter_for_a_missing_field_finds_those_without_it(app: Harness) -> None:
    """server-semantics 16"""
    await add(app, "without word")
    await add(app, "with word", more=', owner_name="ann"')
    assert await bodies(app, "word", '.eq("owner_name", None)') == ["without word"]
    assert await bodies(app, "word", '.eq("owner_name", UNSET)') == ["without word"]


async def test_among_equals_the_newest_comes_first(app: Harness) -> None:
    await add(app, "tie first", "tie second", "tie third", "else", "other", "more", "last")
    assert await bodies(app, "tie") == ["tie third", "tie second", "tie first"]


async def test_a_mutation_finds_what_it_has_written_and_not_what_it_undid(app: Harness) -> None:
    """server-semantics 22"""
    [kept, gone] = await add(app, "kept word", "gone word")
    code = f"""
await ctx.db.insert(Note(body_text="new word"))
await ctx.db.patch(given[0], body_text="kept other")
await ctx.db.delete(given[1])
return [n.body_text for n in await {search('q.search("body_text", "word")')}]
"""
    assert await run(app, code, [kept, gone]) == ["new word"]


async def test_changing_the_text_moves_a_document_out_of_the_result(app: Harness) -> None:
    [id] = await add(app, "some word")
    await run(app, 'await ctx.db.patch(given, body_text="other")', id)
    assert (await bodies(app, "word"), await bodies(app, "other")) == ([], ["other"])
    await run(app, "await ctx.db.patch(given, votes=5)", id)
    assert await bodies(app, "other") == ["other"]
    await run(app, "await ctx.db.delete(given)", id)
    assert await bodies(app, "other") == []


async def test_a_field_that_is_no_string_is_never_found(app: Harness) -> None:
    code = 'for body in [5.0, None, "word", "!"]: await ctx.db.insert(Loose(body=body))'
    await run(app, code)
    found = 'ctx.db.query(Loose).with_search_index("search_body", lambda q: q.search("body", given)).collect()'
    assert await look(app, f"return len(await {found})", "word") == 1
    assert await look(app, f"return len(await {found})", "5") == 0
    await run(app, "await ctx.db.patch((await ctx.db.query(Loose).collect())[2].id, body=7.0)")
    assert await look(app, f"return len(await {found})", "word") == 0


async def test_1025_matches_can_be_taken_from_but_not_collected(app: Harness) -> None:
    for _ in range(4):
        await add(app, *["word"] * 256)
    assert await look(app, f"return len(await {found('word')})") == 1024
    await add(app, "word")
    for count in (1024, 10):
        assert await look(app, f"return len(await {found('word', f'take({count})')})") == count
    for end in ("collect()", "take(1025)", "count()", "filter(lambda n: False).first()"):
        with pytest.raises(DatabaseError, match=r"scanned too many documents \(fetched 1024\)") as caught:
            await look(app, f"await {found('word', end)}")
        assert caught.value.code == "SearchQueryScannedTooManyDocumentsError"


async def test_every_consumer_reads_a_search(app: Harness) -> None:
    """server-semantics 19"""
    await add(app, "tie a", "tie b", "tie c", "x", "y", "z", "u")
    describe = 'q.search("body_text", "tie")'
    assert await look(app, f"return (await {search(describe, 'first()')}).body_text") == "tie c"
    assert await look(app, f"return [n.body_text for n in await {search(describe, 'take(2)')}]") == ["tie c", "tie b"]
    assert await look(app, f"return await {search(describe, 'count()')}") == 3
    kept = search(describe, 'filter(lambda n: n.body_text != "tie c").first()')
    assert await look(app, f"return (await {kept}).body_text") == "tie b"
    assert await look(app, f"return [n.body_text for n in await {search(describe, 'select(Body).collect()')}]") == [
        "tie c",
        "tie b",
        "tie a",
    ]
    only = search('q.search("body_text", "x")', "unique()")
    assert await look(app, f"return (await {only}).body_text") == "x"
    with pytest.raises(DatabaseError, match="more than one result"):
        await look(app, f"await {search(describe, 'unique()')}")
    loop = f"found = []\nasync for n in {search(describe, 'filter(lambda n: True)')}: found.append(n.body_text)\nreturn found"
    assert await look(app, loop) == ["tie c", "tie b", "tie a"]


async def test_rows_may_be_deleted_on_the_way(app: Harness) -> None:
    await add(app, "tie a", "tie b", "tie c")
    code = f"""
seen = []
async for n in {search('q.search("body_text", "tie")', "filter(lambda n: True)")}:
    seen.append(n.body_text)
    for other in await ctx.db.query(Note).collect():
        if other.body_text != "tie a":
            await ctx.db.delete(other.id)
return seen
"""
    assert await run(app, code) == ["tie c", "tie a"]


async def test_a_search_is_paged_in_order_of_relevance(app: Harness) -> None:
    await add(app, *[f"tie {n}" for n in range(5)], "x")
    seen: list[str] = []
    cursor, done = None, False
    while not done:
        result = (await app.query("f:page", text="tie", paginationOpts={"numItems": 2, "cursor": cursor})).value
        assert result["splitCursor"] is None
        seen += result["page"]
        cursor, done = result["continueCursor"], result["isDone"]
    assert seen == [f"tie {n}" for n in reversed(range(5))]
    with pytest.raises(Exception, match="InvalidCursor"):
        await app.query("f:page", text="other", paginationOpts={"numItems": 2, "cursor": cursor})


async def test_a_page_keeps_its_place_when_it_runs_again(app: Harness) -> None:
    await add(app, *[f"tie {n}" for n in range(4)], "x", "y", "z", "u", "v", "w")
    first = await app.query("f:page", text="tie", paginationOpts={"numItems": 2, "cursor": None})
    await add(app, "tie new")
    again = await app.query(
        "f:page", first.execution.journal, text="tie", paginationOpts={"numItems": 2, "cursor": None}
    )
    second = await app.query(
        "f:page", text="tie", paginationOpts={"numItems": 9, "cursor": again.value["continueCursor"]}
    )
    assert again.value["page"] + second.value["page"] == ["tie new", "tie 3", "tie 2", "tie 1", "tie 0"]


@pytest.mark.parametrize(
    ("describe", "text", "code"),
    [
        (
            'q.search("owner_name", "x")',
            'search filter against "owner_name", which doesn\'t match',
            "IncorrectSearchField",
        ),
        (
            'q.search("body_text", "x").search("body_text", "y")',
            "multiple search filters",
            "DuplicateSearchFiltersError",
        ),
        ('q.eq("owner_name", "x")', "does not contain any search filters", "MissingSearchFilterError"),
        ('q.search("body_text", "x").eq("votes", 1)', 'equality filter on "votes"', "IncorrectFilterFieldError"),
        (
            'q.search("body_text", "x")' + '.eq("size", 1)' * 9,
            "too many filter conditions. Max: 8 Actual: 9",
            "TooManyFilterConditionsInSearchQueryError",
        ),
        ('(q.search("body_text", "x"), q.search("body_text", "x"))[1]', "has already been used!", None),
        ('q.search("body_text", 5)', "must be a string, not int", None),
        ('q.search("nothing", "x")', "no field 'nothing'", "UnknownField"),
        ("None", "a lambda that returns the builder", None),
    ],
)
async def test_what_an_index_cant_answer_is_an_error(app: Harness, describe: str, text: str, code: str | None) -> None:
    with pytest.raises(DatabaseError) as caught:
        await look(app, f"await {search(describe)}")
    assert text in str(caught.value)
    assert code is None or caught.value.code == code


async def test_eight_filters_are_fine(app: Harness) -> None:
    await add(app, "word", more=", size=Int64(1)")
    assert await bodies(app, "word", '.eq("size", 1)' * 8) == ["word"]


async def test_a_search_has_no_other_order(app: Harness) -> None:
    with pytest.raises(DatabaseError, match=r"must always be in relevance order\. Can not set order manually"):
        await look(app, f"await {found('x', 'order(1)')}")


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ("search_bodi", "Index notes.search_bodi not found. Did you mean 'search_body'?"),
        ("by_owner", "is a database index: read it with `with_index`"),
        ("staged_body", "is currently staged and not available to query"),
    ],
)
async def test_an_index_that_cant_be_searched_says_why(app: Harness, index: str, text: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        await look(
            app, f'await ctx.db.query(Note).with_search_index("{index}", lambda q: q.search("body_text", "x")).first()'
        )
    assert text in str(caught.value)


async def test_searching_a_table_that_does_not_exist_finds_nothing(app: Harness) -> None:
    assert (
        await look(
            app, 'return await ctx.db.query("none").with_search_index("s", lambda q: q.search("a", "b")).collect()'
        )
        == []
    )


async def test_documents_count_as_read_one_by_one(project: Project) -> None:
    app = await project({"schema.py": SCHEMA, "functions/f.py": FUNCTIONS}, Limits(documents_read=5))
    await add(app, *["word"] * 7)
    assert await look(app, f"return len(await {found('word', 'take(5)')})") == 5
    with pytest.raises(LimitExceeded):
        await look(app, f"await {found('word')}")


async def touched(app: Harness, filters: str, change: str, given: Any = None) -> bool:
    """Whether a search for "word" depends on what a mutation changes."""
    ran = await app.query("f:look", code=f"await {found('some word', filters=filters)}", given=None)
    records: list[Any] = []
    app.database.listen(records.append, lambda: None)
    await run(app, change, given)
    assert ran.read_set is not None
    return any(ran.read_set.touched_by(record) for record in records)


@pytest.mark.parametrize(
    ("filters", "change", "expected"),
    [
        ("", 'await ctx.db.insert(Note(body_text="a wordy text"))', True),
        ("", 'await ctx.db.insert(Note(body_text="some text"))', True),
        ("", 'await ctx.db.insert(Note(body_text="something"))', False),
        ("", "await ctx.db.patch(given, votes=7)", True),
        ('.eq("owner_name", "ann")', 'await ctx.db.insert(Note(body_text="word"))', False),
        ('.eq("owner_name", "ann")', 'await ctx.db.insert(Note(body_text="word", owner_name="ann"))', True),
        ('.eq("owner_name", None)', 'await ctx.db.patch(given, owner_name="ann")', True),
        ('.eq("owner_name", "ann")', 'await ctx.db.patch(given, owner_name="ann")', True),
        ('.eq("owner_name", "ann")', "await ctx.db.patch(given, votes=7)", False),
        ("", 'await ctx.db.insert(Loose(body="word"))', False),
        ("", "await ctx.db.delete(given)", True),
    ],
)
async def test_a_search_depends_on_documents_that_match_it(
    app: Harness, filters: str, change: str, expected: bool
) -> None:
    """server-semantics 5.2, 32"""
    [id] = await add(app, "this word")
    assert await touched(app, filters, change, id) is expected


async def test_a_projected_search_depends_on_its_fields(app: Harness) -> None:
    [id] = await add(app, "this word")
    describe = "q.search('body_text', 'word')"
    ran = await app.query("f:look", code=f"await {search(describe, 'select(Body).collect()')}", given=None)
    records: list[Any] = []
    app.database.listen(records.append, lambda: None)
    await run(app, "await ctx.db.patch(given, votes=7)", id)
    assert ran.read_set is not None
    assert not any(ran.read_set.touched_by(record) for record in records)
    await run(app, 'await ctx.db.patch(given, body_text="another word")', id)
    assert any(ran.read_set.touched_by(record) for record in records)
