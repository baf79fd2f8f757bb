"""What holds for all tests: nothing is written below the home directory of who runs them, Ctrl-C reaches what they start,
and what takes long begins first.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile

import pytest

CONFIG_HOME = tempfile.mkdtemp(prefix="reactor-tests-config-")
os.environ["XDG_CONFIG_HOME"] = CONFIG_HOME  # of this process and all that it starts: admin keys are kept there
os.environ["MYPY_CACHE_DIR"] = f"{CONFIG_HOME}/mypy"  # of this process's runs, one after the other

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # As in a shell's background: whatever is started would ignore it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = ("examples", "crash", "docs", "process", "clients", "typing", "sample_app", "property")
"""Folders whose files take longest, with few tests each: begun last, they would keep one worker busy and the others not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(item.config.rootpath / "tests").parts[0]
        return LONG.index(folder) if folder in LONG else len(LONG)

    items.sort(key=rank)  # a stable sort: each file stays together


def pytest_unconfigure() -> None:
    shutil.rmtree(CONFIG_HOME, ignore_errors=True)
