"""Messages of a project, with the fragment and the attachments that hang on each.

An agent's answer streams in: a message with status STREAMING, `update_message` again and again, then COMPLETE. Whoever
subscribes to `list_` sees every step.
"""

from __future__ import annotations

from typing import Any, cast

from functions.rules import access, conversation, credits
from functions.rules.conversation import NewAttachment
from reactor import (
    UNSET,
    ActionCtx,
    ApplicationError,
    Id,
    MutationCtx,
    QueryCtx,
    Struct,
    UnsetType,
    action,
    field,
    internal_mutation,
    mutation,
    query,
)
from schema import (
    Attachment,
    AttachmentType,
    Fragment,
    Framework,
    Import,
    Message,
    MessageRole,
    MessageStatus,
    MessageType,
    Project,
)


class ListedMessage(Message):
    fragment: Fragment | None = field(name="Fragment")
    attachments: list[Attachment] = field(name="Attachment")


class MessageForUser(Message):
    """`ListedMessage` under the names that the web tier uses."""

    fragment: Fragment | None
    attachments: list[Attachment]


class PostedMessage(Struct):
    message_id: Id[Message]
    project_id: str
    value: str


class FragmentInContext(Struct):
    fragment: Fragment
    message: Message
    project: Project


@mutation
async def create(
    ctx: MutationCtx,
    project_id: Id[Project],
    content: str,
    role: MessageRole,
    type: MessageType,
    status: MessageStatus = "COMPLETE",
) -> Id[Message]:
    await access.writable_project(ctx, project_id, await access.user(ctx))
    return await conversation.post(ctx, project_id, content, role, type, status)


@mutation
async def create_for_user(
    ctx: MutationCtx,
    user_id: str,
    project_id: Id[Project],
    content: str,
    role: MessageRole,
    type: MessageType,
    status: MessageStatus = "COMPLETE",
) -> Id[Message]:
    await access.require_user(ctx, user_id)
    await access.writable_project(ctx, project_id, user_id)
    return await conversation.post(ctx, project_id, content, role, type, status)


@action
async def create_with_attachments(
    ctx: ActionCtx, value: str, project_id: str, attachments: list[NewAttachment] | None = None
) -> PostedMessage:
    """Ask for more in a project. Costs a credit. A `project_id` that is no id is refused by `request`."""
    await access.user(ctx)
    message_id = await ctx.run_mutation(
        request, value=value, project_id=cast("Id[Project]", project_id), attachments=attachments or []
    )
    return PostedMessage(message_id=message_id, project_id=project_id, value=value)


@internal_mutation
async def request(
    ctx: MutationCtx, value: str, project_id: Id[Project], attachments: list[NewAttachment]
) -> Id[Message]:
    """Credit, message and attachments: all of them or none. A stranger's project costs nothing."""
    user_id = await access.user(ctx)
    await access.writable_project(ctx, project_id, user_id)
    await credits.charge(ctx, user_id)
    return await conversation.post_request(ctx, project_id, value, attachments)


@mutation
async def update_status(ctx: MutationCtx, message_id: Id[Message], status: MessageStatus) -> Id[Message]:
    message, _ = await access.message_of(ctx, message_id, await access.user(ctx))
    await ctx.db.patch(message.id, status=status, updated_at=ctx.now())
    return message.id


@mutation
async def update_message(
    ctx: MutationCtx, message_id: Id[Message], content: str, status: MessageStatus | None = None
) -> Message:
    """Replace the text, and the status if one is given. Answers the message as it now is."""
    message, _ = await access.message_of(ctx, message_id, await access.user(ctx))
    await ctx.db.patch(message.id, content=content, status=status or message.status, updated_at=ctx.now())
    return await conversation.written(ctx, message.id)


@mutation
async def create_fragment(
    ctx: MutationCtx,
    message_id: Id[Message],
    sandbox_url: str,
    title: str,
    files: Any,
    framework: Framework,
    metadata: Any | UnsetType = UNSET,
) -> Id[Fragment]:
    """Write the message's fragment; there is at most one."""
    message, _ = await access.message_of(ctx, message_id, await access.user(ctx))
    return await conversation.save_fragment(ctx, message.id, sandbox_url, title, files, framework, metadata)


@mutation
async def create_fragment_for_user(
    ctx: MutationCtx,
    user_id: str,
    message_id: Id[Message],
    sandbox_url: str,
    title: str,
    files: Any,
    framework: Framework,
    metadata: Any | UnsetType = UNSET,
) -> Id[Fragment]:
    await access.require_user(ctx, user_id)
    message, _ = await access.message_of(ctx, message_id, user_id)
    return await conversation.save_fragment(ctx, message.id, sandbox_url, title, files, framework, metadata)


@mutation
async def add_attachment(
    ctx: MutationCtx,
    message_id: Id[Message],
    type: AttachmentType,
    url: str,
    size: float,
    width: float | None = None,
    height: float | None = None,
    import_id: Id[Import] | None = None,
    source_metadata: Any | UnsetType = UNSET,
) -> Id[Attachment]:
    message, _ = await access.message_of(ctx, message_id, await access.user(ctx))
    new = NewAttachment(
        url=url,
        size=size,
        width=width,
        height=height,
        type=type,
        import_id=import_id,
        source_metadata=source_metadata,
    )
    return await conversation.attach(ctx, message.id, new)


@query
async def list_(ctx: QueryCtx, project_id: Id[Project]) -> list[ListedMessage]:
    """A project's messages, oldest first, each with its fragment and attachments."""
    await access.writable_project(ctx, project_id, await access.user(ctx))
    return [
        message.extend(
            ListedMessage,
            fragment=await conversation.fragment_of(ctx, message.id),
            attachments=await conversation.attachments_of(ctx, message.id),
        )
        for message in await conversation.messages_of(ctx, project_id)
    ]


@query
async def list_for_user(ctx: QueryCtx, user_id: str, project_id: Id[Project]) -> list[MessageForUser]:
    await access.require_user(ctx, user_id)
    await access.writable_project(ctx, project_id, user_id)
    return [
        message.extend(
            MessageForUser,
            fragment=await conversation.fragment_of(ctx, message.id),
            attachments=await conversation.attachments_of(ctx, message.id),
        )
        for message in await conversation.messages_of(ctx, project_id)
    ]


@query
async def get(ctx: QueryCtx, message_id: Id[Message]) -> Message:
    message, _ = await access.message_of(ctx, message_id, await access.user(ctx))
    return message


@query
async def get_fragment(ctx: QueryCtx, message_id: Id[Message]) -> Fragment | None:
    message, _ = await access.message_of(ctx, message_id, await access.user(ctx))
    return await conversation.fragment_of(ctx, message.id)


@query
async def get_attachments(ctx: QueryCtx, message_id: Id[Message]) -> list[Attachment]:
    """Oldest first."""
    message, _ = await access.message_of(ctx, message_id, await access.user(ctx))
    return await conversation.attachments_of(ctx, message.id)


@query
async def get_fragment_by_id(ctx: QueryCtx, fragment_id: Id[Fragment]) -> Fragment:
    """Public: whoever has the link may look."""
    fragment = await ctx.db.get(fragment_id)
    if fragment is None:
        raise ApplicationError("Fragment not found")
    return fragment


@query
async def get_fragment_by_id_auth(ctx: QueryCtx, fragment_id: Id[Fragment]) -> FragmentInContext:
    """A fragment with its message and project, for their owner."""
    user_id = await access.user(ctx)
    fragment = await get_fragment_by_id(ctx, fragment_id)
    message, project = await access.message_of(ctx, fragment.message_id, user_id)
    return FragmentInContext(fragment=fragment, message=message, project=project)
