"""The guide's page on the kit, as its users' strict type checkers see it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.snippets import REPOSITORY, read_page

pytestmark = pytest.mark.process

MISTAKES = """
from reactor import ActionCtx, MutationCtx, QueryCtx
from functions import mail, messages, migrations, rooms, scores


async def mistakes(ctx: MutationCtx, reading: QueryCtx) -> None:
    await messages.limiter.limit(reading, "send")  # refused
    await rooms.presence.heartbeat(reading, "room", "user")  # refused
    await mail.pool.enqueue(ctx, mail.deliver, nobody="x")  # refused
    await mail.pool.enqueue(ctx, mail.status, work="x")  # refused
    await migrations.count_words.start(reading)  # refused
    await scores.by_points.count(ctx, above=3)  # refused
    await mail.pool.enqueue(ctx, mail.deliver, to="x")
    await migrations.count_words.start(ctx, restart=True)


async def fine(ctx: ActionCtx) -> None:
    await messages.limiter.limit(ctx, "send")
    await mail.pool.enqueue(ctx, mail.deliver, to="x")
"""


def test_pyright_strict_has_nothing_to_say_but_about_mistakes(tmp_path: Path) -> None:
    read_page(REPOSITORY / "docs" / "kit.md").write_app(tmp_path)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(REPOSITORY)],
        "enableExperimentalFeatures": True,
        "include": ["functions", "schema.py", "mistakes.py"],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    found = {(Path(d["file"]).name, d["range"]["start"]["line"]) for d in json.loads(done.stdout)["generalDiagnostics"]}
    refused = {("mistakes.py", n) for n, line in enumerate(MISTAKES.splitlines()) if line.endswith("# refused")}
    assert found == refused


def test_mypy_strict_has_nothing_to_say(tmp_path: Path) -> None:
    read_page(REPOSITORY / "docs" / "kit.md").write_app(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "functions", "schema.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
