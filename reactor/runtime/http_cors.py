"""Cross-origin answers of HTTP routes: who may call them from a browser, and the headers that say so.

They go on every answer of a route that has them, whatever became of its handler, and preflights are answered for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from reactor.errors import SchemaError

__all__ = ["Cors", "cors"]

Headers = list[tuple[bytes, bytes]]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")


class Cors:
    """What `cors(…)` makes: give it to a route, or to the whole `HttpRouter`."""

    __slots__ = ("_any", "_exact", "_patterns", "credentials", "expose", "headers", "max_age")

    def __init__(
        self,
        origins: Sequence[str],
        *,
        headers: Sequence[str] | None,
        expose: Sequence[str],
        credentials: bool,
        max_age: int,
    ) -> None:
        self._any = "*" in origins
        self._exact = frozenset(o for o in origins if "*" not in o)
        self._patterns = [
            re.compile(re.escape(o).replace(r"\*", r"[a-z0-9-]+(?:\.[a-z0-9-]+)*"))
            for o in origins
            if "*" in o and o != "*"
        ]
        self.headers = None if headers is None else tuple(headers)
        self.expose = tuple(expose)
        self.credentials = credentials
        self.max_age = max_age

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may read answers."""
        return self._any or origin in self._exact or any(p.fullmatch(origin) for p in self._patterns)

    def answer_headers(self, origin: bytes | None) -> Headers:
        """What every answer carries; `origin` is the request's."""
        headers = self._origin_headers(origin)
        if self.expose and headers and headers[0][0] == b"access-control-allow-origin":
            headers.append((b"access-control-expose-headers", ", ".join(self.expose).encode("latin-1")))
        return headers

    def preflight_headers(self, request_headers: Iterable[tuple[bytes, bytes]], methods: Iterable[str]) -> Headers:
        """What the answer to a preflight carries; `methods` are those that the path has."""
        asked: dict[bytes, bytes] = dict(request_headers)
        headers = self._origin_headers(asked.get(b"origin"))
        if headers and headers[0][0] == b"access-control-allow-origin":
            headers.append((b"access-control-allow-methods", ", ".join(methods).encode("ascii")))
            allowed = asked.get(b"access-control-request-headers")
            if self.headers is not None:
                allowed = ", ".join(self.headers).encode("latin-1")
            if allowed:
                headers.append((b"access-control-allow-headers", allowed))
            headers.append((b"access-control-max-age", b"%d" % self.max_age))
        if self.headers is None:
            headers.append((b"vary", b"access-control-request-headers"))
        return headers

    def _origin_headers(self, origin: bytes | None) -> Headers:
        if self._any and not self.credentials:
            return [(b"access-control-allow-origin", b"*")]
        # The answer differs from origin to origin, also for those that get nothing: caches must know.
        vary = (b"vary", b"origin")
        if origin is None or not self.allows(origin.decode("latin-1")):
            return [vary]
        headers: Headers = [(b"access-control-allow-origin", origin), vary]
        if self.credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
        return headers


def cors(
    *origins: str,
    headers: Sequence[str] | None = None,
    expose: Sequence[str] = (),
    credentials: bool = False,
    max_age: int = 86_400,
) -> Cors:
    """Let pages of these origins call a route: `cors("https://app.example.com")`; without any, every page may.

    An origin may have a star for subdomains (`"https://*.example.com"`). `headers` are the request headers that pages may
    send (any, unless given), `expose` the answer's that they may read, `credentials` whether cookies may come along (not
    needed for bearer tokens), `max_age` how many seconds browsers may remember it. Raises SchemaError.
    """
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise SchemaError(
                f"cors: {origin!r} is not an origin. Write scheme and host, without a path: "
                f'"https://app.example.com", or "*" for all.'
            )
    if credentials and (not origins or "*" in origins):
        raise SchemaError("cors: with credentials=True, name the origins: any page could act as its visitor otherwise.")
    return Cors(
        origins or ("*",),
        headers=_names(headers),
        expose=_names(expose) or (),
        credentials=credentials,
        max_age=max_age,
    )


def _names(names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str):
        raise SchemaError(f"cors: headers are a list of names: [{names!r}].")
    return tuple(names)
