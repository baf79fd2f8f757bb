"""`GET /api/openapi.json`: the app's public functions, for whoever may see their list."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reactor.codegen.openapi import openapi_document
from reactor.http.access import WhoAsks, require_admin
from reactor.http.request import Handler, Request
from reactor.runtime.app import App

__all__ = ["OpenApiApi"]


class OpenApiApi:
    """One handler. The document is written once per load of the app."""

    def __init__(
        self, app: Callable[[], App], who_asks: WhoAsks, *, public: bool, url: Callable[[], str], version: str
    ) -> None:
        """`public`: anybody may read it, else the operator only. `url`: where clients reach the deployment."""
        self._app, self._who_asks, self._public, self._url, self._version = app, who_asks, public, url, version
        self._written: tuple[int, str, bytes] = (0, "", b"")

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {("GET", "/api/openapi.json"): self.document}

    async def document(self, request: Request) -> None:
        """GET /api/openapi.json"""
        if not self._public:
            await require_admin(request, self._who_asks)
        app, url = self._app(), self._url()
        if self._written[:2] != (app.generation, url):
            title = app.root.name if app.root is not None else "reactor"
            document = openapi_document(app, url=url, title=title, version=self._version)
            self._written = (app.generation, url, msgspec.json.encode(document))
        await request.answer(self._written[2])
