"""Chat with a (toy) assistant: one table of messages, grouped by session."""

from __future__ import annotations

from typing import Any, Literal

from reactor import Document, Struct, define_schema, define_table


class ToolCall(Struct):
    id: str
    name: str
    input: Any


class Message(Document):
    session_id: str
    role: Literal["user", "assistant"]
    content: str
    tool_calls: list[ToolCall] | None = None


schema = define_schema(
    messages=define_table(Message).index("by_sessionId", "session_id"),
)
