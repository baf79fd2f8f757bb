"""What the guide's page on developing promises beside its commands: `npx convex run`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.snippets import REPOSITORY
from tests.support.driver import CLIENTS, require_node
from tests.support.server import ADMIN_KEY, running_server

pytestmark = [pytest.mark.process, pytest.mark.node]


def test_npx_convex_run_calls_public_and_internal_functions(tmp_path: Path) -> None:
    node = require_node()
    (tmp_path / "package.json").write_text(json.dumps({"name": "app", "dependencies": {"convex": "*"}}))
    (tmp_path / "node_modules").symlink_to(CLIENTS / "node_modules")

    with running_server(tmp_path / "server", app=REPOSITORY / "examples" / "chat") as server:

        def npx_convex_run(path: str, **args: str) -> object:
            done = subprocess.run(
                [node, "node_modules/convex/bin/main.js", "run", path, json.dumps(args)],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "CONVEX_SELF_HOSTED_URL": server.url,
                    "CONVEX_SELF_HOSTED_ADMIN_KEY": ADMIN_KEY,
                },
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return json.loads(done.stdout)

        sent = npx_convex_run("messages:send", sessionId="demo", content="hello")
        begun = npx_convex_run("messages:beginReply", sessionId="demo")
        listed = npx_convex_run("messages:list", sessionId="demo")

    assert [message["_id"] for message in listed] == [sent, begun]  # type: ignore[index, union-attr]
