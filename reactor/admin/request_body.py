"""The JSON body of an admin request, decoded into what its endpoint wants, or refused with a text that shows how it looks."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from reactor.http.request import HttpError, Request

__all__ = ["check_component", "read_body"]

T = TypeVar("T")

BODY_MAX_BYTES: Final = 1024 * 1024


async def read_body(request: Request, decoder: msgspec.json.Decoder[T], example: str) -> T:
    """Raises HttpError 400 for what is no such body, 413 for more than a megabyte."""
    body = await request.body(BODY_MAX_BYTES)
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise HttpError(400, "BadJsonBody", f"Expected {example}: {error}") from None


def check_component(component: str | None) -> None:
    """Raises HttpError 400 for anything but the root."""
    if component:
        raise HttpError(
            400,
            "ComponentNotFound",
            f"There is no component {component!r}: this deployment has none. Leave `componentId` out, or send null.",
        )
