"""Fetches small JSON documents of identity providers: bounded in time and size, redirects refused, off the event loop's back."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from reactor.auth.providers import is_loopback

if TYPE_CHECKING:
    import httpx

__all__ = ["DOCUMENT_MAX_BYTES", "FetchFailed", "fetch_document"]

DOCUMENT_MAX_BYTES: Final = 1024 * 1024
JSON_TYPES: Final = frozenset({"application/json", "application/jwk-set+json"})


class FetchFailed(Exception):
    """A document could not be had. `is_temporary`: trying again later may help."""

    def __init__(self, reason: str, *, is_temporary: bool) -> None:
        super().__init__(reason)
        self.is_temporary = is_temporary


async def fetch_document(
    url: str,
    *,
    timeout_s: float = 10.0,
    max_bytes: int = DOCUMENT_MAX_BYTES,
    content_types: Collection[str] = JSON_TYPES,
) -> bytes:
    """The body of `url`, whole. Raises FetchFailed, within `timeout_s` seconds whatever the other side does."""
    client = await asyncio.to_thread(_client, url)
    import httpx

    try:
        async with asyncio.timeout(timeout_s):
            async with (
                client,
                client.stream(
                    "GET", url, headers={"accept": "application/json", "accept-encoding": "identity"}
                ) as answer,
            ):
                _check_answer(url, answer, content_types)
                body = bytearray()
                # Raw: a compressed body could grow without bound while it is unpacked.
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > max_bytes:
                        raise FetchFailed(f"{url} is larger than {max_bytes} bytes", is_temporary=False)
                return bytes(body)
    except TimeoutError:
        raise FetchFailed(f"{url} did not answer within {timeout_s:g} s", is_temporary=True) from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise FetchFailed(f"{url} could not be fetched: {error or type(error).__name__}", is_temporary=True) from None


def _client(url: str) -> httpx.AsyncClient:
    """Not for the event loop: the module takes a while to load, and so do the certificates of authorities."""
    import httpx

    # To this machine never by way of a proxy.
    return httpx.AsyncClient(timeout=None, trust_env=not is_loopback(urllib.parse.urlsplit(url).hostname or ""))


def _check_answer(url: str, answer: httpx.Response, content_types: Collection[str]) -> None:
    status = answer.status_code
    if answer.has_redirect_location:
        raise FetchFailed(
            f"{url} answered with a redirect, to {answer.headers['location'][:200]!r}; redirects are not followed",
            is_temporary=False,
        )
    if status != 200:
        raise FetchFailed(f"{url} answered {status}", is_temporary=status >= 500 or status in (408, 429))
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchFailed(f"{url} answered with a compressed body, unasked", is_temporary=False)
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in content_types:
        raise FetchFailed(
            f"{url} answered with the content type {kind!r}; expected {' or '.join(sorted(content_types))}",
            is_temporary=False,
        )
