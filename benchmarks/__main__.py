"""Runs all benchmarks, one after the other: `make bench`, or `python -m benchmarks startup fan_out` for some of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ALL = (
    "startup",
    "values",
    "transfers",
    "fan_out",
    "invalidate",
    "subscriptions",
    "projection",
    "connections",
    "vectors",
    "files",
    "jobs",
    "app_mix",
    "transfer",
    "search",
    "backfill",
)


def main() -> None:
    here = Path(__file__).parent
    wanted = sys.argv[1:] or ALL
    if unknown := [name for name in wanted if name not in ALL]:
        sys.exit(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(ALL)}")
    # Else the servers would make keys, and keep them below the home directory.
    environ = {"REACTOR_ADMIN_KEY": "benchmarks|key", **os.environ}
    failed = []
    for name in wanted:
        script = here / f"{name}.py"
        print(f"\n== {name}: {script.read_text('utf-8').splitlines()[0].strip(chr(34))}", flush=True)
        if subprocess.run([sys.executable, str(script)], cwd=here.parent, env=environ).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
