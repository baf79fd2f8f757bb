"""What a project holds: messages, and on each message at most one fragment and any number of attachments.

Nothing here asks who is calling; that is settled before (`rules/access.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from reactor import UNSET, Document, Id, MutationCtx, QueryCtx, Struct, UnsetType
from schema import (
    Attachment,
    AttachmentType,
    Fragment,
    FragmentDraft,
    Framework,
    Import,
    Message,
    MessageRole,
    MessageStatus,
    MessageType,
    Project,
)

D = TypeVar("D", bound=Document)


class NewAttachment(Struct):
    """An attachment as a client describes it."""

    url: str
    size: float
    width: float | None = None
    height: float | None = None
    type: AttachmentType = "IMAGE"
    import_id: Id[Import] | None = None
    source_metadata: Any | UnsetType = UNSET


async def written(ctx: QueryCtx, document_id: Id[D]) -> D:
    """A document that this transaction has just written, whole."""
    document = await ctx.db.get(document_id)
    assert document is not None
    return document


async def create_project(ctx: MutationCtx, user_id: str, name: str, framework: Framework) -> Id[Project]:
    now = ctx.now()
    return await ctx.db.insert(Project(name=name, user_id=user_id, framework=framework, created_at=now, updated_at=now))


async def update_project(
    ctx: MutationCtx,
    project: Project,
    name: str | None,
    framework: Framework | None,
    model_preference: str | None,
) -> Id[Project]:
    """Set what is given. An empty name is ignored, an empty model preference is stored."""
    changes: dict[str, Any] = {"updated_at": ctx.now()}
    if name:
        changes["name"] = name
    if framework is not None:
        changes["framework"] = framework
    if model_preference is not None:
        changes["model_preference"] = model_preference
    await ctx.db.patch(project.id, changes)
    return project.id


async def post(
    ctx: MutationCtx,
    project_id: Id[Project],
    content: str,
    role: MessageRole,
    type: MessageType,
    status: MessageStatus = "COMPLETE",
) -> Id[Message]:
    now = ctx.now()
    return await ctx.db.insert(
        Message(
            content=content,
            role=role,
            type=type,
            status=status,
            project_id=project_id,
            created_at=now,
            updated_at=now,
        )
    )


async def post_request(
    ctx: MutationCtx, project_id: Id[Project], value: str, attachments: Sequence[NewAttachment]
) -> Id[Message]:
    """What the user asks for, with the attachments in their order."""
    message_id = await post(ctx, project_id, value, role="USER", type="RESULT")
    for attachment in attachments:
        await attach(ctx, message_id, attachment)
    return message_id


async def attach(ctx: MutationCtx, message_id: Id[Message], new: NewAttachment) -> Id[Attachment]:
    now = ctx.now()
    return await ctx.db.insert(
        Attachment(
            type=new.type,
            url=new.url,
            width=new.width,
            height=new.height,
            size=new.size,
            message_id=message_id,
            import_id=new.import_id,
            source_metadata=new.source_metadata,
            created_at=now,
            updated_at=now,
        )
    )


async def save_fragment(
    ctx: MutationCtx,
    message_id: Id[Message],
    sandbox_url: str,
    title: str,
    files: Any,
    framework: Framework,
    metadata: Any | UnsetType,
) -> Id[Fragment]:
    """Write the message's one fragment. A second call overwrites it; metadata left out is erased."""
    now = ctx.now()
    existing = await fragment_of(ctx, message_id)
    if existing is not None:
        await ctx.db.patch(
            existing.id,
            sandbox_url=sandbox_url,
            title=title,
            files=files,
            framework=framework,
            metadata=metadata,
            updated_at=now,
        )
        return existing.id
    return await ctx.db.insert(
        Fragment(
            message_id=message_id,
            sandbox_url=sandbox_url,
            title=title,
            files=files,
            framework=framework,
            metadata=metadata,
            created_at=now,
            updated_at=now,
        )
    )


async def fragment_of(ctx: QueryCtx, message_id: Id[Message]) -> Fragment | None:
    return await ctx.db.query(Fragment).with_index("by_messageId", message_id=message_id).first()


def text_files(fragment: Fragment) -> dict[str, str]:
    """Those of a fragment's files that are text, by path. `files` may be anything: what is no object has none."""
    files: object = fragment.files
    if not isinstance(files, dict):
        return {}
    return {path: text for path, text in cast("dict[str, Any]", files).items() if isinstance(text, str)}


async def attachments_of(ctx: QueryCtx, message_id: Id[Message]) -> list[Attachment]:
    """Oldest first."""
    return await ctx.db.query(Attachment).with_index("by_messageId", message_id=message_id).collect()


async def messages_of(ctx: QueryCtx, project_id: Id[Project]) -> list[Message]:
    """Oldest first."""
    return await ctx.db.query(Message).with_index("by_projectId_createdAt", project_id=project_id).collect()


async def preview_of(ctx: QueryCtx, project_id: Id[Project]) -> Attachment | None:
    """The newest image on the latest message. An image on an older message does not count."""
    latest = await (
        ctx.db.query(Message).with_index("by_projectId_createdAt", project_id=project_id).order("desc").first()
    )
    if latest is None:
        return None
    return await (
        ctx.db.query(Attachment)
        .with_index("by_messageId", message_id=latest.id)
        .order("desc")
        .filter(lambda attachment: attachment.type == "IMAGE")
        .first()
    )


async def has_fragment(ctx: QueryCtx, project_id: Id[Project]) -> bool:
    # Newest first, because answers come after questions: the search usually ends at the first row.
    async for message in ctx.db.query(Message).with_index("by_projectId", project_id=project_id).order("desc"):
        if await fragment_of(ctx, message.id) is not None:
            return True
    return False


async def delete_project(ctx: MutationCtx, project_id: Id[Project]) -> None:
    """The project with all that it holds. Imports, agent runs and consumed credits stay: they are records."""
    async for message in ctx.db.query(Message).with_index("by_projectId", project_id=project_id):
        async for fragment in ctx.db.query(Fragment).with_index("by_messageId", message_id=message.id):
            await ctx.db.delete(fragment.id)
        async for attachment in ctx.db.query(Attachment).with_index("by_messageId", message_id=message.id):
            await ctx.db.delete(attachment.id)
        await ctx.db.delete(message.id)
    async for draft in ctx.db.query(FragmentDraft).with_index("by_projectId", project_id=project_id):
        await ctx.db.delete(draft.id)
    await ctx.db.delete(project_id)
