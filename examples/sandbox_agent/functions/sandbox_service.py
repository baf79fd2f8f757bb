"""A sandbox service over HTTP: make a sandbox, run something in it, close it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx


class SandboxError(Exception):
    """What the service said went wrong."""


class Sandbox:
    def __init__(self, http: httpx.AsyncClient, id: str) -> None:
        self._http, self._id = http, id

    async def run(self, prompt: str) -> str:
        """Have the agent work on a prompt, and return its answer."""
        answer = _checked(await self._http.post(f"/sandboxes/{self._id}/runs", json={"prompt": prompt}))
        return answer.json()["output"]


@contextlib.asynccontextmanager
async def open_sandbox(url: str, api_key: str) -> AsyncIterator[Sandbox]:
    """A sandbox that is closed at the end, be it a good one or not: an open one costs money."""
    headers = {"X-API-Key": api_key}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=httpx.Timeout(10, read=300)) as http:
        id: str = _checked(await http.post("/sandboxes")).json()["sandboxId"]
        try:
            yield Sandbox(http, id)
        finally:
            with contextlib.suppress(httpx.HTTPError):  # what was done counts more than how it was tidied up
                await http.delete(f"/sandboxes/{id}")


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise SandboxError(f"Sandbox service: {answer.status_code} {answer.text}")
    return answer
