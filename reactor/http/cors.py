"""Cross-origin answers: browsers on any origin may call the API, which goes by keys and tokens, never by cookies."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["cors_headers", "preflight_headers"]

Headers = list[tuple[bytes, bytes]]


def cors_headers(origin: bytes | None) -> Headers:
    """What every answer to a request with this `Origin` carries. Nothing for requests that are not cross-origin."""
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"origin"),
    ]


def preflight_headers(request_headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of the answer to an OPTIONS request."""
    asked = dict(request_headers)
    headers: Headers = [
        (b"access-control-allow-origin", asked.get(b"origin", b"*")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-methods", b"GET,POST,OPTIONS,PATCH,DELETE,PUT"),
        (b"access-control-max-age", b"86400"),
        (b"vary", b"origin, access-control-request-method, access-control-request-headers"),
    ]
    if (names := asked.get(b"access-control-request-headers")) is not None:
        headers.append((b"access-control-allow-headers", names))
    return headers
