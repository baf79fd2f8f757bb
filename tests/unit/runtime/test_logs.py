"""Log lines: levels, text, overflow, truncation (server-semantics 11.2, checklist 50; client-protocol 2.7)."""

from __future__ import annotations

import logging
import re

import pytest

from reactor.clock import ManualClock
from reactor.limits import Limits
from reactor.runtime.execute import execution_of
from reactor.runtime.failures import failure_of
from reactor.runtime.logs import LogLine, LogLines, line_texts
from tests.unit.runtime.conftest import Project
from tests.unit.runtime.harness import Harness

FUNCTIONS = """
    import logging, sys
    from typing import Any
    from reactor import ActionCtx, MutationCtx, QueryCtx, action, mutation, query

    logger = logging.getLogger("the.app")

    def talk():
        print("hello", 3)
        print("two\\nlines")
        print("no newline", end="")
        print(" yet")
        sys.stdout.write("raw\\n")
        logger.debug("not seen")
        logger.info("about %s", "x")
        logger.warning("careful")
        try:
            1 / 0
        except ZeroDivisionError:
            logger.exception("it failed")

    @query
    async def f(ctx: QueryCtx) -> None:
        talk()
        ctx.log("text", 3, None)
        ctx.log.warn({"a": 1})

    @mutation
    async def fails(ctx: MutationCtx) -> None:
        print("before")
        raise ValueError("x")

    @query
    async def nested(ctx: QueryCtx) -> None:
        print("outer")
        await ctx.run_query("logs:inner")
        print("unfinished", end="")

    @query
    async def inner(ctx: QueryCtx) -> None:
        print("inner")

    @query
    async def many(ctx: QueryCtx, lines: int) -> None:
        for n in range(lines):
            print(n)

    @query
    async def long(ctx: QueryCtx) -> None:
        print("x" * 40_000)

    @action
    async def act(ctx: ActionCtx) -> None:
        print("in action")
        await ctx.run_query("logs:inner")
        logger.info("after")

    @query
    async def reads(ctx: QueryCtx, n: int) -> None:
        for _ in range(n):
            await ctx.db.query("nothing").first()
            await ctx.db.get("j57000820c20a1g7104gm2rc1m70ynr8")
"""


@pytest.fixture
async def app(project: Project) -> Harness:
    return await project({"functions/logs.py": FUNCTIONS})


async def test_print_and_logging_become_lines_of_their_level(app: Harness) -> None:
    lines = (await app.query("logs:f")).logs
    assert lines[:6] == (
        "[LOG] 'hello 3'",
        "[LOG] 'two\\nlines'",
        "[LOG] 'no newline yet'",
        "[LOG] 'raw'",
        "[INFO] 'about x'",
        "[WARN] 'careful'",
    )
    assert lines[6].startswith("[ERROR] ")
    assert "ZeroDivisionError" in lines[6]
    assert lines[7:] == ("[LOG] 'text' 3 None", "[WARN] {'a': 1}")
    assert all(re.match(r"^\[.*?\] ", line) for line in lines)


async def test_lines_of_nested_calls_stand_among_those_of_the_caller(app: Harness) -> None:
    assert (await app.query("logs:nested")).logs == ("[LOG] 'outer'", "[LOG] 'inner'", "[LOG] 'unfinished'")


async def test_actions_log_too_with_the_lines_of_what_they_call(app: Harness) -> None:
    assert (await app.action("logs:act")).logs == ("[LOG] 'in action'", "[LOG] 'inner'", "[INFO] 'after'")


async def test_there_are_at_most_256_lines_and_the_last_says_so(app: Harness) -> None:
    """server-semantics 50"""
    assert len((await app.query("logs:many", lines=256)).logs) == 256
    assert (await app.query("logs:many", lines=256)).logs[-1] == "[LOG] '255'"
    lines = (await app.query("logs:many", lines=1000)).logs
    assert len(lines) == 256
    assert lines[-1] == "[ERROR] Log overflow (maximum 256). Remaining log lines omitted."


async def test_a_long_line_is_cut(app: Harness) -> None:
    (line,) = (await app.query("logs:long")).logs
    assert line.endswith("xx (truncated due to length)")
    assert len(line) < 33_000


async def test_a_failing_function_keeps_its_lines_unless_redacted(app: Harness) -> None:
    with pytest.raises(ValueError, match="x") as caught:
        await app.mutation("logs:fails")
    (line,) = execution_of(caught.value).log_lines
    assert line == LogLine("LOG", ("'before'",), 1_700_000_000_000.0, False)
    assert failure_of(caught.value).log_lines == ("[LOG] 'before'",)
    assert failure_of(caught.value, redact=True).log_lines == ()


async def test_outside_of_functions_print_and_logging_are_unchanged(
    app: Harness, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    await app.query("logs:f")
    print("plain")
    logging.getLogger("somebody").info("below the level")
    logging.getLogger("somebody").warning("seen")
    assert capsys.readouterr().out == "plain\n"
    assert caplog.messages == ["careful", "it failed", "seen"]


async def test_nearing_a_limit_adds_a_warning(project: Project) -> None:
    """server-semantics 30"""
    app = await project({"functions/logs.py": FUNCTIONS}, Limits(database_queries=100))
    assert (await app.query("logs:reads", n=40)).logs == ()


def test_lines_that_were_taken_over_keep_their_level() -> None:
    lines = LogLines(Limits(), ManualClock())
    taken = (LogLine("WARN", ("'a] b'", "2"), 5.0), LogLine("LOG", ("3",), 6.0, True))
    lines.extend(taken, "a:b")
    assert [(line.text, line.timestamp, line.source) for line in lines.finish()] == [
        ("[WARN] 'a] b' 2", 5.0, "a:b"),
        ("[LOG] 3 (truncated due to length)", 6.0, "a:b"),
    ]
    assert line_texts(taken) == ("[WARN] 'a] b' 2", "[LOG] 3 (truncated due to length)")


def test_a_line_can_be_had_back_from_its_text() -> None:
    for text in ("[WARN] 'a] b'", "[LOG] 3 (truncated due to length)", "[ERROR] "):
        assert LogLine.of_text(text).text == text
