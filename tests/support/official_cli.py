"""`npx convex …`: the official command line, unmodified, run against a server of ours as its users run it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.driver import CLIENTS, require_node
from tests.support.server import ADMIN_KEY, ReactorProcess

__all__ = ["CONVEX_CLI", "cli_environment", "make_project", "npx_convex", "npx_convex_running", "use_packages"]

CONVEX_CLI = CLIENTS / "node_modules" / "convex" / "bin" / "main.js"


def make_project(directory: Path) -> Path:
    """A folder that `npx convex` takes for a project: a package.json that names `convex`."""
    (directory / "package.json").write_text('{"name": "project", "dependencies": {"convex": "*"}}')
    return directory


def use_packages(project: Path) -> Path:
    """Let a project find the installed npm packages: what pushes bundle `convex/server` from, and `tsc` reads types in."""
    (project / "node_modules").symlink_to(CLIENTS / "node_modules")
    return project


def cli_environment(server: ReactorProcess, *, admin_key: str = ADMIN_KEY) -> dict[str, str]:
    """The environment of a shell that is set up for this deployment. `CI` keeps the tool from phoning home."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONVEX_")}
    return {
        **environ,
        "CI": "1",
        "CONVEX_SELF_HOSTED_URL": server.url,
        "CONVEX_SELF_HOSTED_ADMIN_KEY": admin_key,
    }


def npx_convex(
    project: Path, server: ReactorProcess, *arguments: str, admin_key: str = ADMIN_KEY, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `npx convex <arguments>` to its end, with standard input closed."""
    require_node()
    return subprocess.run(
        ["node", str(CONVEX_CLI), *arguments],
        cwd=project,
        env=cli_environment(server, admin_key=admin_key),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@contextlib.contextmanager
def npx_convex_running(
    project: Path,
    server: ReactorProcess,
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """`npx convex <arguments>` while it runs; at the end it is interrupted as with Ctrl-C, and must end."""
    require_node()
    process = subprocess.Popen(
        ["node", str(CONVEX_CLI), *arguments],
        cwd=project,
        env={**cli_environment(server), **(env or {})},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
