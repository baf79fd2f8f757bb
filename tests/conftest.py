"""What holds for all tests: nothing is written below the home directory of who runs them."""

from __future__ import annotations

import os
import shutil
import tempfile

CONFIG_HOME = tempfile.mkdtemp(prefix="reactor-tests-config-")
os.environ["XDG_CONFIG_HOME"] = CONFIG_HOME  # of this process and all that it starts: admin keys are kept there


def pytest_unconfigure() -> None:
    shutil.rmtree(CONFIG_HOME, ignore_errors=True)
