"""User code, as type checkers must understand it: read by pyright and mypy in strict mode, and imported by a test.

A line with `# refused` must be an error for both; every other line must not.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, Literal, TypedDict, TypeVar, assert_type

from reactor import (
    UNSET,
    Document,
    Fields,
    Id,
    Int64,
    Projection,
    ScheduledFunction,
    StoredFile,
    Struct,
    UnsetType,
    define_schema,
    define_table,
    field,
    v,
)

T = TypeVar("T")


class Role(StrEnum):
    USER = "user"
    BOT = "bot"


class Address(Struct):
    street: str
    postal_code: str | None = None


class Options(TypedDict, total=False):
    depth: int


class Project(Document):
    name: str
    user_id: str
    framework: Literal["NEXTJS", "VUE"] = "NEXTJS"
    model_preference: str | None = None
    address: Address | None
    created_at: float


class Message(Document):
    project_id: Id[Project]
    content: str
    role: Role = Role.USER
    parent: Id[Message] | None = None
    tags: list[str] = []
    scores: dict[Id[Project], float] = field(default_factory=dict[Id[Project], float])
    embedding: list[float] = []
    account_id: float = field(name="id", default=0.0)
    file: Id[StoredFile] | None = None
    counter: Int64 = Int64(0)
    extra: Any = None


class MessageWithAuthor(Message):
    author: str


class MessageChanges(Struct):
    content: str | UnsetType = UNSET
    parent: Id[Message] | UnsetType | None = UNSET


class Summary(Projection):
    content: str


class Page(Struct, Generic[T]):
    page: list[T]
    is_done: bool


class Cat(Document):
    kind: Literal["cat"]


class Dog(Document):
    kind: Literal["dog"]


class Verbatim(Struct, rename=None):
    snake_case: str


schema = define_schema(
    projects=define_table(Project).index("by_user", "user_id", "created_at"),
    messages=define_table(Message)
    .index("by_project", "project_id", staged=True)
    .search_index("search_content", "content", filter_fields=["project_id"])
    .vector_index("by_meaning", "embedding", dimensions=3, filter_fields=("role",)),
    pets=define_table(Cat | Dog, name="animals"),
    logs=define_table({"text": v.string(), "level": v.optional(v.union(v.literal("a"), v.null()))}),
    free=define_table(v.any()),
    schema_validation=True,
)


def build(project_id: Id[Project], message: Message) -> None:
    project = Project(name="x", user_id="u", address=None, created_at=1)
    assert_type(project.model_preference, str | None)
    assert_type(project.framework, Literal["NEXTJS", "VUE"])
    assert_type(project.id, Id[Project])
    assert_type(project.creation_time, float)
    assert_type(message.id, Id[Message])
    assert_type(message.parent, Id[Message] | None)

    new = Message(project_id=project_id, content="hi")
    assert_type(new.tags, list[str])
    assert_type(new.scores, dict[Id[Project], float])
    assert_type(new.counter, Int64)

    wider = message.extend(MessageWithAuthor, author="ann")
    assert_type(wider, MessageWithAuthor)
    assert_type(wider.id, Id[MessageWithAuthor])
    page = Page(page=[message], is_done=True)
    assert_type(page, Page[Message])
    takes_message(wider)
    takes_message_id(wider.id)  # ids of a subclass are ids of the table's class

    text: str = project_id
    print(text.upper(), MessageChanges(content="x"), Verbatim(snake_case="x"), Summary(content="x"))
    takes_project_id(Id[Project]("an id that came as text"))
    validator = v.object({"a": v.string()}).partial().extend({"b": v.optional(v.number())})
    print(validator.pick("a").omit("a"), validator.render())


def takes_message(message: Message) -> None: ...
def takes_message_id(message: Id[Message]) -> None: ...
def takes_project_id(project: Id[Project]) -> None: ...
def takes_fields(message: Fields[Message]) -> None: ...
def takes_job(job: Id[ScheduledFunction], options: Options) -> None: ...


def mistakes(project_id: Id[Project], message: Message, changes: MessageChanges) -> None:
    takes_fields(message)
    Project(name="x")  # refused
    Project(name="x", user_id="u", address=None, created_at="now")  # refused
    Project("x", "u")  # refused
    Message(project_id=message.id, content="x")  # refused
    Message(project_id="text", content="x")  # refused
    Message(project_id=project_id, content="x", unknown=1)  # refused
    Message(project_id=project_id, content="x", id="x")  # refused
    message.content = "y"  # refused
    message.id = message.id  # refused
    changes.content = UNSET  # refused
    takes_message_id(project_id)  # refused
    takes_project_id(message.id)  # refused
    takes_project_id("text")  # refused
    takes_message(changes)  # refused
    Page[int](page=["x"], is_done=True)  # refused
    define_table(3)  # refused
    define_schema(a=Project)  # refused
    define_table(Project).index("by_user", 3)  # refused
    define_table(Project).vector_index("by_x", "x")  # refused
    v.object({"a": str})  # refused
    v.literal(None)  # refused
