"""The messages of the sync protocol: structs for what clients send, and encoders for what they get.

Values are never decoded here: arguments come out as the bytes that came in, and results go in as the bytes they are.
"""

from __future__ import annotations

import binascii
import re
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from reactor.runtime.waist import Failure, Outcome, Success

__all__ = [
    "PING",
    "Action",
    "Add",
    "Authenticate",
    "ClientMessage",
    "Connect",
    "Event",
    "ModifyQuerySet",
    "Mutation",
    "ProtocolError",
    "Remove",
    "action_response",
    "auth_error",
    "decode_client_message",
    "decode_ts",
    "encode_ts",
    "fatal_error",
    "mutation_response",
    "query_removed",
    "query_result",
    "query_updated",
    "split_transition",
]

U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]

PING = b'{"type":"Ping"}'


class ProtocolError(Exception):
    """A client message that no client may send. The text is for the client's developer."""


class _Message(msgspec.Struct, rename="camel", tag_field="type", tag=True, frozen=True):
    pass


class Connect(_Message, frozen=True):
    """The first message of every connection."""

    session_id: uuid.UUID
    connection_count: U32 = 0
    last_close_reason: str | None = None
    max_observed_timestamp: str | None = None
    client_ts: int | float | None = None


class Add(_Message, frozen=True):
    """Follow a query."""

    query_id: U32
    udf_path: str
    args: list[msgspec.Raw] = []
    journal: str | None = None
    component_path: str | None = None


class Remove(_Message, frozen=True):
    """Stop following a query."""

    query_id: U32


class ModifyQuerySet(_Message, frozen=True):
    base_version: U32
    new_version: U32
    modifications: list[Add | Remove]


class Mutation(_Message, frozen=True):
    request_id: U32
    udf_path: str
    args: list[msgspec.Raw]
    component_path: str | None = None


class Action(_Message, frozen=True):
    request_id: U32
    udf_path: str
    args: list[msgspec.Raw]
    component_path: str | None = None


class Authenticate(_Message, frozen=True):
    """Who is asking from now on. `impersonating` (JavaScript) and `acting_as` (Rust) are two spellings of one thing."""

    base_version: U32
    token_type: Literal["User", "Admin", "None"]
    value: str | None = None
    impersonating: dict[str, Any] | None = None
    acting_as: dict[str, Any] | None = msgspec.field(default=None, name="acting_as")


class Event(_Message, frozen=True):
    """Telemetry, which is ignored."""


ClientMessage = Connect | ModifyQuerySet | Mutation | Action | Authenticate | Event

_decoder = msgspec.json.Decoder(ClientMessage)
_LONE_SURROGATE = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u(?:"
    r"[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|([dD][89a-fA-F][0-9a-fA-F]{2}))"
)
_SURROGATE_MARK = b"\\ufffd"


def decode_client_message(text: str | bytes) -> ClientMessage:
    """Parse one message. Raises `ProtocolError` for bad JSON, an unknown type or a wrong shape.

    Half a surrogate pair, which JavaScript lets into strings, spoils only the function call it came with: it stays in
    the arguments, for the function's own error.
    """
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"Received an invalid message: {error}") from None
    except (ValueError, RecursionError) as error:  # msgspec's DecodeError is a ValueError, and so are Unicode errors
        if isinstance(text, str) and (marked := _mark_lone_surrogates(text)) is not None:
            try:
                return _unmark(_decoder.decode(marked))
            except (ValueError, RecursionError):
                pass
        raise ProtocolError(f"Received a message that is not JSON: {error}") from None


def has_lone_surrogate(text: str) -> bool:
    """Whether a JSON text has an escape for half of a surrogate pair."""
    return _mark_lone_surrogates(text) is not None


def _mark_lone_surrogates(text: str) -> str | None:
    def mark(match: re.Match[str]) -> str:
        return match[0] if match[2] is None else f"{match[1]}\\ufffd"

    marked = _LONE_SURROGATE.sub(mark, text)
    return marked if marked != text else None


def _unmark(message: ClientMessage) -> ClientMessage:
    """Put half surrogates back where they matter: into arguments."""

    def unmark(call: Any) -> Any:
        args = [msgspec.Raw(bytes(arg).replace(_SURROGATE_MARK, b"\\ud800")) for arg in call.args]
        return msgspec.structs.replace(call, args=args)

    if isinstance(message, Mutation | Action):
        return unmark(message)
    if isinstance(message, ModifyQuerySet):
        changes = [unmark(change) if isinstance(change, Add) else change for change in message.modifications]
        return msgspec.structs.replace(message, modifications=changes)
    return message


def one_argument(args: Sequence[msgspec.Raw]) -> bytes:
    """The bytes of the only element of an `args` array. Raises `ProtocolError` when there are several."""
    if len(args) == 1:
        return bytes(args[0])
    if args:
        raise ProtocolError(f"Received an invalid message: `args` must hold exactly one object, not {len(args)} values")
    return b"{}"


def encode_ts(ts: int) -> str:
    """A timestamp as clients know it: base64 of 8 little-endian bytes, padded."""
    return binascii.b2a_base64(ts.to_bytes(8, "little"), newline=False).decode("ascii")


def decode_ts(text: str) -> int:
    """The inverse of `encode_ts`. Raises `ProtocolError`."""
    try:
        raw = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != 8:
        raise ProtocolError(f"Received an invalid timestamp: {text!r} is not base64 of 8 bytes")
    return int.from_bytes(raw, "little")


@lru_cache(maxsize=64)
def encode_version(query_set: int, identity: int, ts: int) -> bytes:
    """A state version. Cached: after a commit, thousands of sockets are told the same one."""
    return b'{"querySet":%d,"identity":%d,"ts":"%b"}' % (query_set, identity, encode_ts(ts).encode("ascii"))


def encode_text(text: str) -> bytes:
    """A JSON string; what UTF-8 can't hold becomes `?`."""
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        return msgspec.json.encode(text.encode("utf-8", "replace").decode("utf-8"))


def encode_log_lines(lines: Sequence[str]) -> bytes:
    """A JSON array of strings."""
    if not lines:
        return b"[]"
    return b"[%b]" % b",".join(map(encode_text, lines))


def query_result(query_id: int, outcome: Outcome) -> bytes:
    """`QueryUpdated` or `QueryFailed`."""
    if isinstance(outcome, Success):
        return b"".join(query_updated(query_id, outcome))
    return b'{"type":"QueryFailed","queryId":%d,"errorMessage":%b,"logLines":%b,"journal":%b%b}' % (
        query_id,
        encode_text(outcome.message),
        encode_log_lines(outcome.log_lines),
        b"null" if outcome.journal is None else encode_text(outcome.journal),
        _error_data(outcome),
    )


def query_updated(query_id: int, result: Success) -> tuple[bytes, bytes, bytes]:
    """`QueryUpdated` in three pieces; the second is the value as it is."""
    journal = b"null" if result.journal is None else encode_text(result.journal)
    return (
        b'{"type":"QueryUpdated","queryId":%d,"value":' % query_id,
        result.value,
        b',"logLines":%b,"journal":%b}' % (encode_log_lines(result.log_lines), journal),
    )


def query_removed(query_id: int) -> bytes:
    return b'{"type":"QueryRemoved","queryId":%d}' % query_id


def split_transition(data: bytes, limit: int) -> list[bytes]:
    """A transition as it is when it has at most `limit` bytes, else as `TransitionChunk`s of at most that much of it."""
    if len(data) <= limit:
        return [data]
    pieces: list[bytes] = []
    start = 0
    while start < len(data):
        end = min(start + limit, len(data))
        # Not inside a character: back off over UTF-8 continuation bytes.
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[start:end])
        start = end
    return [
        b'{"type":"TransitionChunk","chunk":%b,"partNumber":%d,"totalParts":%d,"transitionId":"%d"}'
        % (msgspec.json.encode(piece.decode("utf-8")), number, len(pieces), len(data))
        for number, piece in enumerate(pieces)
    ]


def mutation_response(request_id: int, outcome: Outcome) -> bytes:
    if isinstance(outcome, Success):
        return b'{"type":"MutationResponse","requestId":%d,"success":true,"result":%b,"ts":"%b","logLines":%b}' % (
            request_id,
            outcome.value,
            encode_ts(outcome.ts).encode("ascii"),
            encode_log_lines(outcome.log_lines),
        )
    return b'{"type":"MutationResponse","requestId":%d,"success":false,"result":%b,"ts":null,"logLines":%b%b}' % (
        request_id,
        encode_text(outcome.message),
        encode_log_lines(outcome.log_lines),
        _error_data(outcome),
    )


def action_response(request_id: int, outcome: Outcome) -> bytes:
    if isinstance(outcome, Success):
        return b'{"type":"ActionResponse","requestId":%d,"success":true,"result":%b,"logLines":%b}' % (
            request_id,
            outcome.value,
            encode_log_lines(outcome.log_lines),
        )
    return b'{"type":"ActionResponse","requestId":%d,"success":false,"result":%b,"logLines":%b%b}' % (
        request_id,
        encode_text(outcome.message),
        encode_log_lines(outcome.log_lines),
        _error_data(outcome),
    )


def auth_error(message: str, *, base_version: int, update_attempted: bool) -> bytes:
    return b'{"type":"AuthError","error":%b,"baseVersion":%d,"authUpdateAttempted":%b}' % (
        encode_text(message),
        base_version,
        b"true" if update_attempted else b"false",
    )


def fatal_error(message: str) -> bytes:
    """Ends a JavaScript client for good: only for what no client may ever do."""
    return b'{"type":"FatalError","error":%b}' % encode_text(message)


def _error_data(failure: Failure) -> bytes:
    # Absent, not null, when there is none: clients take null for an application error whose data is null.
    return b"" if failure.data is None else b',"errorData":%b' % failure.data
