"""Signatures of webhooks, by the Standard Webhooks scheme (which is Svix's, under other header names).

The sender signs `id.timestamp.body` with HMAC-SHA256 and a secret that both sides know, and sends the result as
`v1,<base64>`; while a secret is being replaced, several of them with spaces between.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator

TOLERANCE_S = 5 * 60
"""How old, or how far ahead of our clock, a signature may be: a captured request is worthless afterwards."""


def is_signed(secret: str, message_id: str, timestamp: str, signatures: str, body: bytes, now_ms: float) -> bool:
    """Whether `body` was sent with this id, at this time (in seconds), by somebody who knows the secret."""
    if not message_id or not re.fullmatch("[0-9]{1,12}", timestamp):
        return False
    if abs(now_ms / 1000 - int(timestamp)) > TOLERANCE_S:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    given = [_decoded(text.removeprefix("v1,")) for text in signatures.split(" ") if text.startswith("v1,")]
    for key in filter(None, _keys(secret)):
        expected = hmac.digest(key, signed, hashlib.sha256)
        if any(hmac.compare_digest(expected, signature) for signature in given):
            return True
    return False


def _keys(secret: str) -> Iterator[bytes]:
    """`whsec_<base64>` is the standard's form. Polar signs with the text of its secret, others with decoded base64."""
    if secret.startswith("whsec_"):
        yield _decoded(secret.removeprefix("whsec_"))
        return
    yield secret.encode()
    yield _decoded(secret)


def _decoded(text: str) -> bytes:
    """Nothing for what is no base64; an empty signature matches none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
