"""uvicorn's HTTP protocol, made to understand the URLs of clients that were given an address with a slash at its end.

They ask for `//api/query`. That is how URLs without a scheme begin, so uvicorn takes `api` for a host and tells the
application `/query`. Pass `SyncHttpProtocol` as uvicorn's `http=`.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["SyncHttpProtocol"]


class SyncHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol, with leading slashes of a request's target taken as one."""

    def on_headers_complete(self) -> None:
        if self.url.startswith(b"//"):
            self.url = b"/" + self.url.lstrip(b"/")
        super().on_headers_complete()
