"""Code blocks of our Markdown pages, and the app that a page's blocks make together.

A fence's info string says what becomes of the block:

    python title=functions/x.py     a file of the page's app; a second block of the same title is appended to the first
    python                          the body of a test of that app, with the fixture `backend`
    python raises="text"            a module that can't be loaded: SchemaError with this text
    … run-against-server            run as a client of the page's app (also `sh`)
    sh run                          run in the page's app
    toml title=pyproject.toml       settings, loaded
    tsx                             bundled with the official client
    html title=page.html            only for the README, opened in a browser
    text                            nothing

Blocks inside HTML comments count, too: so a page can test what it need not show.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    [REPOSITORY / "README.md", REPOSITORY / "ARCHITECTURE.md", *REPOSITORY.glob("docs/*.md")],
    key=lambda path: path.name,
)

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_INFO = re.compile(r"""([\w-]+)(?:=(?:"([^"]*)"|(\S+)))?""")

TEST_HEADER = '''\
"""The page's blocks, each as a test."""
from datetime import timedelta

import pytest
'''


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, what its info string says, its text and where it begins."""

    language: str
    info: dict[str, str]
    text: str
    line: int

    @property
    def title(self) -> str | None:
        return self.info.get("title")


@dataclass(frozen=True)
class Page:
    path: Path
    blocks: list[Block] = field(default_factory=list)

    def files(self) -> dict[str, str]:
        """The page's app, by path."""
        files: dict[str, str] = {}
        for block in self.blocks:
            if block.title is not None:
                files[block.title] = files[block.title] + "\n\n" + block.text if block.title in files else block.text
        return files

    def tests(self) -> list[Block]:
        return [b for b in self.blocks if b.language == "python" and b.title is None and "raises" not in b.info]

    def app_modules(self) -> list[str]:
        return [t for t in self.files() if t == "schema.py" or (t.startswith("functions/") and t.endswith(".py"))]

    def write_app(self, directory: Path) -> Path:
        """Write the app with the page's blocks as its tests, and return its directory."""
        files = self.files()
        files.setdefault("pyproject.toml", "[tool.reactor]\n")
        if self.app_modules():
            files.setdefault("functions/__init__.py", "")
        bodies = [f"async def test_line_{b.line}(backend):\n{textwrap.indent(b.text, '    ')}" for b in self.tests()]
        if bodies:
            files["tests/test_page.py"] = "\n\n".join([TEST_HEADER, *bodies])
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        return directory


def read_page(path: Path) -> Page:
    text = path.read_text("utf-8")
    blocks = []
    for match in _FENCE.finditer(text):
        info = {m[1]: m[2] if m[2] is not None else m[3] or "" for m in _INFO.finditer(match[2])}
        blocks.append(Block(match[1], info, match[3], text.count("\n", 0, match.start()) + 1))
    return Page(path, blocks)
