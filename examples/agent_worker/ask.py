"""Ask for an app, as the web tier would after charging for it, and watch the answer come in: `python ask.py "a shop"`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, cast

from convex import ConvexClient

USER = "demo"


def main() -> None:
    client = ConvexClient(os.environ.get("REACTOR_URL", "http://127.0.0.1:3210"))
    client.set_admin_auth(os.environ["REACTOR_ADMIN_KEY"])
    value = " ".join(sys.argv[1:]) or "a shop"

    project = {
        "projectId": client.mutation("projects:createForUser", {"userId": USER, "name": value, "framework": "REACT"})
    }
    request = {"userId": USER, **project, "content": value, "role": "USER", "type": "RESULT"}
    client.mutation("messages:createForUser", request)
    client.mutation("agentRuns:enqueueForSystem", {**project, "value": value})

    for messages in cast("Iterable[Any]", client.subscribe("messages:listForUser", {"userId": USER, **project})):
        print(f"{messages[-1]['role']}: {messages[-1]['content']}")
        if messages[-1]["role"] == "ASSISTANT" and messages[-1]["status"] == "COMPLETE":
            break


if __name__ == "__main__":
    main()
