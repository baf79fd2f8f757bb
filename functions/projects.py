"""Projects: made from a first message, listed, shown, deleted with all that they hold."""

from __future__ import annotations

from functions.rules import access, conversation, credits
from functions.rules.conversation import NewAttachment
from reactor import (
    ActionCtx,
    Id,
    MutationCtx,
    QueryCtx,
    Struct,
    action,
    field,
    internal_mutation,
    mutation,
    query,
)
from schema import Attachment, FragmentDraft, Framework, Message, Project

SHOWCASE_SIZE = 12

ADJECTIVES = ("happy", "quiet", "bold", "clever", "bright", "gentle", "swift", "sunny")
NOUNS = ("project", "river", "garden", "engine", "island", "canvas", "signal", "harbor")


class NewImage(Struct):
    """An image that comes with a project's first message."""

    url: str
    size: float
    width: float | None = None
    height: float | None = None


class StartedProject(Project):
    """The new project and its first message. The id is there under both names that clients use."""

    project_id: Id[Project] = field(name="id")
    message_id: Id[Message]
    value: str


class ListedProject(Project):
    preview_attachment: Attachment | None


class ShowcaseProject(Project):
    message_count: int
    has_fragment: bool


class Deleted(Struct):
    success: bool


@mutation
async def create(ctx: MutationCtx, name: str, framework: Framework) -> Id[Project]:
    return await conversation.create_project(ctx, await access.user(ctx), name, framework)


@mutation
async def create_for_user(ctx: MutationCtx, user_id: str, name: str, framework: Framework) -> Id[Project]:
    await access.require_user(ctx, user_id)
    return await conversation.create_project(ctx, user_id, name, framework)


@action
async def create_with_message(ctx: ActionCtx, value: str) -> StartedProject:
    """Start a project with what the user wants built. Costs a credit."""
    return await ctx.run_mutation(start, value=value, images=[])


@action
async def create_with_message_and_attachments(
    ctx: ActionCtx, value: str, attachments: list[NewImage] | None = None
) -> StartedProject:
    """Like `create_with_message`, with images."""
    return await ctx.run_mutation(start, value=value, images=attachments or [])


@internal_mutation
async def start(ctx: MutationCtx, value: str, images: list[NewImage]) -> StartedProject:
    """Credit, project, message and images: all of them or none, because this is one transaction."""
    user_id = await access.user(ctx)
    await credits.charge(ctx, user_id)
    name = f"{ctx.random.choice(ADJECTIVES)}-{ctx.random.choice(NOUNS)}"
    project_id = await conversation.create_project(ctx, user_id, name, "NEXTJS")
    attachments = [NewAttachment(url=i.url, size=i.size, width=i.width, height=i.height) for i in images]
    message_id = await conversation.post_request(ctx, project_id, value, attachments)
    project = await conversation.written(ctx, project_id)
    return project.extend(StartedProject, project_id=project_id, message_id=message_id, value=value)


@mutation
async def update(
    ctx: MutationCtx,
    project_id: Id[Project],
    name: str | None = None,
    framework: Framework | None = None,
    model_preference: str | None = None,
) -> Id[Project]:
    project = await access.project_of(ctx, project_id, await access.user(ctx))
    return await conversation.update_project(ctx, project, name, framework, model_preference)


@mutation
async def update_for_user(
    ctx: MutationCtx,
    user_id: str,
    project_id: Id[Project],
    name: str | None = None,
    framework: Framework | None = None,
    model_preference: str | None = None,
) -> Id[Project]:
    await access.require_user(ctx, user_id)
    project = await access.project_of(ctx, project_id, user_id)
    return await conversation.update_project(ctx, project, name, framework, model_preference)


@mutation
async def delete_project(ctx: MutationCtx, project_id: Id[Project]) -> Deleted:
    """Delete a project, its messages with their fragments and attachments, and its draft."""
    project = await access.project_of(ctx, project_id, await access.user(ctx))
    await conversation.delete_project(ctx, project.id)
    return Deleted(success=True)


@mutation
async def get_or_create_fragment_draft(
    ctx: MutationCtx, project_id: Id[Project], framework: Framework
) -> FragmentDraft:
    """The project's draft as it is; a new empty one if there is none."""
    project = await access.writable_project(ctx, project_id, await access.user(ctx))
    draft = await ctx.db.query(FragmentDraft).with_index("by_projectId", project_id=project.id).first()
    if draft is not None:
        return draft
    now = ctx.now()
    draft_id = await ctx.db.insert(
        FragmentDraft(project_id=project.id, files={}, framework=framework, created_at=now, updated_at=now)
    )
    return await conversation.written(ctx, draft_id)


@query
async def list_(ctx: QueryCtx) -> list[ListedProject]:
    """The caller's projects, newest first, each with a preview. Nobody's, for the anonymous."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return []
    projects = await (
        ctx.db.query(Project).with_index("by_userId_createdAt", user_id=identity.subject).order("desc").collect()
    )
    return [
        project.extend(ListedProject, preview_attachment=await conversation.preview_of(ctx, project.id))
        for project in projects
    ]


@query
async def list_showcase(ctx: QueryCtx) -> list[ShowcaseProject]:
    """The newest projects, anyone's, for which something was built. Public."""
    shown: list[ShowcaseProject] = []
    async for project in ctx.db.query(Project).with_index("by_createdAt").order("desc"):
        if not await conversation.has_fragment(ctx, project.id):
            continue
        count = await ctx.db.query(Message).with_index("by_projectId", project_id=project.id).count()
        shown.append(project.extend(ShowcaseProject, message_count=count, has_fragment=True))
        if len(shown) == SHOWCASE_SIZE:
            break
    return shown


@query
async def get(ctx: QueryCtx, project_id: Id[Project]) -> Project:
    return await access.project_of(ctx, project_id, await access.user(ctx))


@query
async def get_for_user(ctx: QueryCtx, user_id: str, project_id: Id[Project]) -> Project:
    await access.require_user(ctx, user_id)
    return await access.project_of(ctx, project_id, user_id)


@query
async def get_for_system(ctx: QueryCtx, project_id: Id[Project]) -> Project:
    """Any project, for the operator."""
    await access.require_system(ctx)
    return await access.any_project(ctx, project_id)
