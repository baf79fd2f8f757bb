"""The apps of `examples/`, as the tests that look at them from outside need them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.driver import Driver

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*command: str, cwd: Path, **environment: str) -> None:
    """Run a command to its end, which has to be a good one."""
    env = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def copy_of(example: Path, directory: Path) -> Path:
    """The example as somebody has it who copied it to `directory`, away from this repository."""
    ignored = shutil.ignore_patterns(".reactor", "__pycache__", "node_modules")
    return shutil.copytree(example, directory / example.name, ignore=ignored)


async def next_but(client: Driver, sub: str, old: Any) -> Any:
    """The next value of a subscription but `old`, which the PyPI client sometimes tells again."""
    while (value := await client.call("next", sub=sub)) == old:
        pass
    return value
