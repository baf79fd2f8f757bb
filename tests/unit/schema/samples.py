"""A small schema, and ids of its tables, for the tests of the schema layer."""

from __future__ import annotations

from typing import Any, Literal

from reactor.schema.codec import Codec
from reactor.schema.ids import Id
from reactor.schema.structs import Document, Struct
from reactor.schema.tables import SchemaDefinition, define_schema, define_table
from reactor.values.ids import encode_id

PROJECTS, MESSAGES, USERS, STORAGE = 10_001, 10_002, 10_003, 5
NAMES = {PROJECTS: "projects", MESSAGES: "messages", USERS: "users", STORAGE: "_storage"}


def resolve(number: int) -> str | None:
    return NAMES.get(number)


def make_id(table: int, count: int = 1) -> str:
    return encode_id(table, count.to_bytes(16, "big"))


PROJECT_ID, MESSAGE_ID, USER_ID = make_id(PROJECTS), make_id(MESSAGES), make_id(USERS)
STORAGE_ID, GONE_ID = make_id(STORAGE), make_id(10_099)


class Owner(Struct):
    display_name: str
    email: str | None = None


class Project(Document):
    name: str
    user_id: str
    framework: Literal["NEXTJS", "VUE"] = "NEXTJS"
    model_preference: str | None = None
    owner: Owner | None
    created_at: float


class Message(Document):
    project_id: Id[Project]
    content: str
    role: Literal["USER", "ASSISTANT"]
    tags: list[str] = []


def schema_of(**tables: Any) -> SchemaDefinition:
    return define_schema(projects=define_table(Project), messages=define_table(Message), **tables)


SCHEMA = schema_of()


def codec_of(annotation: Any) -> Codec:
    return SCHEMA.codec_of(annotation)


def tree_only(codec: Codec) -> Codec:
    """The same codec without its fast way."""
    slow = Codec(codec.shape)
    slow._fast = slow._guard = slow._finish = None
    return slow
