"""Projects: made, changed, listed, shown and deleted, and by whom (sample app, sections 4 and 12)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from functions import messages, projects, usage
from functions.projects import ADJECTIVES, NOUNS, NewImage
from reactor import Id, InvalidArguments, MutationCtx
from reactor.testing import Backend
from schema import AgentRun, Attachment, Fragment, FragmentDraft, Import, Message, Project, Usage
from tests.sample_app.scene import Wire, refused


async def counts(backend: Backend, *tables: type[Any]) -> dict[str, int]:
    async def count(ctx: MutationCtx) -> dict[str, int]:
        return {table.__name__: await ctx.db.query(table).count() for table in tables}

    return await backend.run(count)


# Making


async def test_create_stores_name_framework_owner_and_both_times(ann: Backend, backend: Backend) -> None:
    now = backend.now()
    project_id = await ann.mutation(projects.create, name="Shop", framework="VUE")
    project = await ann.query(projects.get, project_id=project_id)
    assert (project.name, project.framework, project.user_id) == ("Shop", "VUE", "ann")
    assert (project.created_at, project.updated_at) == (now, now)


async def test_absent_fields_are_absent_on_the_wire(ann_wire: Wire) -> None:
    project_id = await ann_wire.mutation("projects:create", name="Shop", framework="VUE")
    project = await ann_wire.query("projects:get", projectId=project_id)
    assert set(project) == {"_id", "_creationTime", "name", "framework", "userId", "createdAt", "updatedAt"}


async def test_an_empty_name_is_accepted(ann: Backend) -> None:
    project_id = await ann.mutation(projects.create, name="", framework="VUE")
    assert (await ann.query(projects.get, project_id=project_id)).name == ""


async def test_the_anonymous_make_nothing(backend: Backend) -> None:
    with refused("Unauthorized"):
        await backend.mutation(projects.create, name="Shop", framework="VUE")
    with refused("Unauthorized"):
        await backend.action(projects.create_with_message, value="a shop")
    with refused("Unauthorized"):
        await backend.action(projects.create_with_message_and_attachments, value="a shop")
    assert await counts(backend, Project, Message, Usage) == {"Project": 0, "Message": 0, "Usage": 0}


async def test_an_identity_without_a_subject_is_nobody(backend: Backend) -> None:
    with refused("Unauthorized"):
        await backend.as_user("").mutation(projects.create, name="Shop", framework="VUE")


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "Shop", "framework": "SOLID"},
        {"name": "Shop"},
        {"name": 3, "framework": "VUE"},
        {"name": "Shop", "framework": "VUE", "extra": 1},
        {"name": None, "framework": "VUE"},
    ],
)
async def test_wrong_arguments_are_refused_before_anything_runs(ann: Backend, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        await ann.mutation("projects:create", **arguments)
    assert await ann.query(projects.list_) == []


# From a first message


async def test_create_with_message_answers_the_project_its_message_and_the_value(ann: Backend) -> None:
    started = await ann.action(projects.create_with_message, value="a shop")

    project = await ann.query(projects.get, project_id=started.id)
    [message] = await ann.query(messages.list_, project_id=started.id)
    assert (started.project_id, started.message_id, started.value) == (started.id, message.id, "a shop")
    assert (started.name, started.framework, started.user_id) == (project.name, "NEXTJS", "ann")
    assert (message.content, message.role, message.type, message.status) == ("a shop", "USER", "RESULT", "COMPLETE")


async def test_create_with_message_on_the_wire_has_the_id_under_both_names(ann_wire: Wire) -> None:
    started = await ann_wire.action("projects:createWithMessage", value="a shop")
    assert set(started) == {
        *("_id", "_creationTime", "name", "userId", "framework", "createdAt", "updatedAt"),
        *("id", "messageId", "value"),
    }
    assert started["id"] == started["_id"]


async def test_its_name_is_an_adjective_and_a_noun(ann: Backend) -> None:
    adjective, noun = (await ann.action(projects.create_with_message, value="a shop")).name.split("-")
    assert adjective in ADJECTIVES
    assert noun in NOUNS


async def test_it_costs_a_credit(ann: Backend) -> None:
    await ann.action(projects.create_with_message, value="a shop")
    assert (await ann.query(usage.get_usage)).points == 4


async def test_without_credits_nothing_is_made(ann: Backend, backend: Backend) -> None:
    for _ in range(5):
        await ann.mutation(usage.check_and_consume_credit)
    with refused("You have run out of credits"):
        await ann.action(projects.create_with_message, value="a shop")
    assert await counts(backend, Project, Message) == {"Project": 0, "Message": 0}


async def test_eight_at_once_on_five_credits_make_five_projects(ann: Backend) -> None:
    attempts = (ann.action(projects.create_with_message, value=f"shop {n}") for n in range(8))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(str(o) for o in outcomes if isinstance(o, Exception)) == ["You have run out of credits"] * 3
    assert len(await ann.query(projects.list_)) == 5
    assert (await ann.query(usage.get_usage)).points == 0


async def test_attachments_come_in_order_as_images(ann: Backend) -> None:
    started = await ann.action(
        projects.create_with_message_and_attachments,
        value="like this",
        attachments=[NewImage(url="a.png", size=1, width=10, height=20), NewImage(url="b.png", size=2)],
    )
    first, second = await ann.query(messages.get_attachments, message_id=started.message_id)
    assert (first.url, first.type, first.size, first.width, first.height) == ("a.png", "IMAGE", 1, 10, 20)
    assert (second.url, second.type, second.size, second.width, second.height) == ("b.png", "IMAGE", 2, None, None)


async def test_sizes_that_were_not_given_are_absent(ann_wire: Wire) -> None:
    started = await ann_wire.action(
        "projects:createWithMessageAndAttachments", value="x", attachments=[{"url": "b.png", "size": 2}]
    )
    [attachment] = await ann_wire.query("messages:getAttachments", messageId=started["messageId"])
    assert set(attachment) == {"_id", "_creationTime", "type", "url", "size", "messageId", "createdAt", "updatedAt"}


@pytest.mark.parametrize("arguments", [{}, {"attachments": []}])
async def test_no_attachments_are_fine(ann: Backend, arguments: dict[str, Any]) -> None:
    started = await ann.action("projects:createWithMessageAndAttachments", value="x", **arguments)
    assert started["value"] == "x" if isinstance(started, dict) else started.value == "x"


@pytest.mark.parametrize("attachment", [{"url": "a.png"}, {"url": "a.png", "size": 1, "type": "IMAGE"}])
async def test_an_attachment_needs_a_size_and_takes_no_type(
    ann: Backend, backend: Backend, attachment: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArguments):
        await ann.action("projects:createWithMessageAndAttachments", value="x", attachments=[attachment])
    assert await counts(backend, Project, Usage) == {"Project": 0, "Usage": 0}


# Changing


async def test_update_sets_what_is_given(ann: Backend, backend: Backend, project_id: Id[Project]) -> None:
    await backend.advance(timedelta(seconds=1))
    answer = await ann.mutation(projects.update, project_id=project_id, framework="SVELTE", model_preference="large")
    project = await ann.query(projects.get, project_id=project_id)
    assert answer == project_id
    assert (project.name, project.framework, project.model_preference) == ("Shop", "SVELTE", "large")
    assert project.created_at is not None
    assert project.updated_at == project.created_at + 1000


async def test_update_moves_updated_at_even_when_nothing_else_is_given(
    ann: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    await backend.advance(timedelta(seconds=1))
    await ann.mutation(projects.update, project_id=project_id)
    assert (await ann.query(projects.get, project_id=project_id)).updated_at == backend.now()


async def test_an_empty_name_is_ignored_and_an_empty_model_preference_is_stored(
    ann: Backend, project_id: Id[Project]
) -> None:
    await ann.mutation(projects.update, project_id=project_id, name="", model_preference="")
    project = await ann.query(projects.get, project_id=project_id)
    assert (project.name, project.model_preference) == ("Shop", "")


# Whose


async def test_somebody_elses_project_is_unauthorized_and_a_missing_one_is_not_found(
    ann: Backend, bob: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    with refused("Unauthorized"):
        await bob.query(projects.get, project_id=project_id)
    with refused("Unauthorized"):
        await bob.mutation(projects.update, project_id=project_id, name="Mine")
    with refused("Unauthorized"):
        await bob.mutation(projects.delete_project, project_id=project_id)
    with refused("Unauthorized"):
        await backend.query(projects.get, project_id=project_id)

    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Project not found"):
        await ann.query(projects.get, project_id=project_id)
    with refused("Project not found"):
        await ann.mutation(projects.update, project_id=project_id, name="Mine")
    with refused("Project not found"):
        await ann.mutation(projects.delete_project, project_id=project_id)


async def test_the_id_of_another_table_is_an_argument_error(ann: Backend, message_id: Id[Message]) -> None:
    with pytest.raises(InvalidArguments):
        await ann.query("projects:get", project_id=message_id)


async def test_the_operator_reads_any_project(operator: Backend, ann: Backend, project_id: Id[Project]) -> None:
    assert (await operator.query(projects.get_for_system, project_id=project_id)).name == "Shop"
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Project not found"):
        await operator.query(projects.get_for_system, project_id=project_id)


async def test_only_the_operator_reads_any_project(ann: Backend, backend: Backend, project_id: Id[Project]) -> None:
    with refused("Unauthorized"):
        await backend.query(projects.get_for_system, project_id=project_id)
    with refused("Unauthorized"):
        await ann.query(projects.get_for_system, project_id=project_id)


async def test_the_operator_acting_as_a_user_is_that_user(ann_wire: Wire, project_id: Id[Project]) -> None:
    assert (await ann_wire.query("projects:get", projectId=project_id))["name"] == "Shop"
    with pytest.raises(AssertionError, match="Unauthorized"):
        await ann_wire.query("projects:getForSystem", projectId=project_id)


async def test_the_operator_makes_changes_and_reads_on_behalf_of_a_user(operator: Backend, ann: Backend) -> None:
    project_id = await operator.mutation(projects.create_for_user, user_id="ann", name="Blog", framework="VUE")
    await operator.mutation(projects.update_for_user, user_id="ann", project_id=project_id, name="Log")
    assert (await operator.query(projects.get_for_user, user_id="ann", project_id=project_id)).name == "Log"
    assert (await ann.query(projects.get, project_id=project_id)).user_id == "ann"


async def test_on_behalf_of_the_wrong_user_is_unauthorized_and_nothing_is_not_found(
    operator: Backend, ann: Backend, project_id: Id[Project]
) -> None:
    with refused("Unauthorized"):
        await operator.query(projects.get_for_user, user_id="bob", project_id=project_id)
    with refused("Unauthorized"):
        await operator.mutation(projects.update_for_user, user_id="bob", project_id=project_id, name="Log")
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Project not found"):
        await operator.query(projects.get_for_user, user_id="ann", project_id=project_id)
    with refused("Project not found"):
        await operator.mutation(projects.update_for_user, user_id="ann", project_id=project_id)


async def test_users_act_on_behalf_of_themselves_only(
    ann: Backend, bob: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    await ann.mutation(projects.create_for_user, user_id="ann", name="Blog", framework="VUE")
    await ann.mutation(projects.update_for_user, user_id="ann", project_id=project_id, name="Log")
    assert (await ann.query(projects.get_for_user, user_id="ann", project_id=project_id)).name == "Log"
    for stranger in (bob, backend):
        with refused("Unauthorized"):
            await stranger.mutation(projects.create_for_user, user_id="ann", name="Blog", framework="VUE")
        with refused("Unauthorized"):
            await stranger.mutation(projects.update_for_user, user_id="ann", project_id=project_id)
        with refused("Unauthorized"):
            await stranger.query(projects.get_for_user, user_id="ann", project_id=project_id)


# Deleting


async def test_deleting_takes_all_that_a_project_holds_and_leaves_the_records(
    ann: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    async def fill(ctx: MutationCtx) -> None:
        now = ctx.now()
        for _ in range(3):
            message_id = await ctx.db.insert(
                Message(content="x", role="USER", type="RESULT", status="COMPLETE", project_id=project_id)
            )
            for _ in range(2):  # a second fragment and draft can only come from an import
                await ctx.db.insert(
                    Fragment(message_id=message_id, sandbox_url="u", title="t", files={}, framework="VUE")
                )
                await ctx.db.insert(Attachment(type="IMAGE", url="a.png", size=1, message_id=message_id))
        for _ in range(2):
            await ctx.db.insert(FragmentDraft(project_id=project_id, files={}, framework="VUE"))
        await ctx.db.insert(
            Import(
                user_id="ann",
                project_id=project_id,
                source="FIGMA",
                source_id="1",
                source_name="n",
                source_url="u",
                status="PENDING",
                created_at=now,
                updated_at=now,
            )
        )
        await ctx.db.insert(
            AgentRun(
                project_id=project_id,
                value="v",
                status="PENDING",
                run_source="WEBCONTAINER",
                created_at=now,
                updated_at=now,
            )
        )

    await backend.run(fill)
    other = await ann.action(projects.create_with_message, value="another")

    answer = await ann.mutation(projects.delete_project, project_id=project_id)

    assert answer.success is True
    held = (Project, Message, Fragment, Attachment, FragmentDraft)
    assert await counts(backend, *held) == {
        "Project": 1,
        "Message": 1,
        "Fragment": 0,
        "Attachment": 0,
        "FragmentDraft": 0,
    }
    assert await counts(backend, Import, AgentRun, Usage) == {"Import": 1, "AgentRun": 1, "Usage": 1}
    assert [project.id for project in await ann.query(projects.list_)] == [other.id]


async def test_deleting_answers_success_on_the_wire(ann_wire: Wire, project_id: Id[Project]) -> None:
    assert await ann_wire.mutation("projects:deleteProject", projectId=project_id) == {"success": True}


# Drafts


async def test_a_draft_is_made_once_and_then_answered_as_it_is(ann: Backend, project_id: Id[Project]) -> None:
    first = await ann.mutation(projects.get_or_create_fragment_draft, project_id=project_id, framework="VUE")
    second = await ann.mutation(projects.get_or_create_fragment_draft, project_id=project_id, framework="REACT")
    assert (first.files, first.framework) == ({}, "VUE")
    assert second == first


async def test_drafts_of_missing_and_of_foreign_projects_are_unauthorized_alike(
    ann: Backend, bob: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    for stranger in (bob, backend):
        with refused("Unauthorized"):
            await stranger.mutation(projects.get_or_create_fragment_draft, project_id=project_id, framework="VUE")
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Unauthorized"):
        await ann.mutation(projects.get_or_create_fragment_draft, project_id=project_id, framework="VUE")


async def test_ten_at_once_get_the_same_draft(ann: Backend, project_id: Id[Project]) -> None:
    calls = (
        ann.mutation(projects.get_or_create_fragment_draft, project_id=project_id, framework="VUE") for _ in range(10)
    )
    assert len({draft.id for draft in await asyncio.gather(*calls)}) == 1


# Lists


async def test_the_anonymous_have_no_projects(backend: Backend, project_id: Id[Project]) -> None:
    assert await backend.query(projects.list_) == []


async def test_a_list_holds_the_callers_own_newest_first(ann: Backend, bob: Backend, backend: Backend) -> None:
    for name in ("one", "two", "three"):
        await ann.mutation(projects.create, name=name, framework="VUE")
        await backend.advance(timedelta(seconds=1))
    await bob.mutation(projects.create, name="bob's", framework="VUE")
    assert [project.name for project in await ann.query(projects.list_)] == ["three", "two", "one"]


async def test_a_preview_is_the_newest_image_on_the_latest_message(
    ann: Backend, backend: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    async def preview() -> str | None:
        [project] = await ann.query(projects.list_)
        return project.preview_attachment and project.preview_attachment.url

    assert await preview() is None
    await ann.mutation(messages.add_attachment, message_id=message_id, type="IMAGE", url="old.png", size=1)
    await ann.mutation(messages.add_attachment, message_id=message_id, type="IMAGE", url="new.png", size=1)
    await ann.mutation(messages.add_attachment, message_id=message_id, type="GITHUB_REPO", url="repo", size=1)
    assert await preview() == "new.png"

    await backend.advance(timedelta(seconds=1))
    await ann.mutation(messages.create, project_id=project_id, content="x", role="USER", type="RESULT")
    assert await preview() is None


async def test_no_preview_is_null_on_the_wire(ann_wire: Wire, project_id: Id[Project]) -> None:
    [project] = await ann_wire.query("projects:list")
    assert project["previewAttachment"] is None


async def test_a_list_is_live(ann: Backend, bob: Backend) -> None:
    async with ann.subscribe(projects.list_) as updates:
        assert await updates.next() == []
        project_id = await ann.mutation(projects.create, name="one", framework="VUE")
        assert [project.name for project in await updates.next()] == ["one"]
        await ann.mutation(projects.update, project_id=project_id, name="two")
        assert [project.name for project in await updates.next()] == ["two"]
        await bob.mutation(projects.create, name="bob's", framework="VUE")
        await updates.assert_quiet()


# Showcase


async def show(user: Backend, name: str, fragments: int = 1) -> None:
    """A project with three messages, of which the first so many have a fragment."""
    project_id = await user.mutation(projects.create, name=name, framework="VUE")
    for number in range(3):
        message_id = await user.mutation(
            messages.create, project_id=project_id, content="x", role="ASSISTANT", type="RESULT"
        )
        if number < fragments:
            await user.mutation(
                messages.create_fragment, message_id=message_id, sandbox_url="u", title="t", files={}, framework="VUE"
            )


async def test_the_showcase_is_public_and_holds_what_was_built(ann: Backend, bob: Backend, backend: Backend) -> None:
    await show(ann, "built")
    await backend.advance(timedelta(seconds=1))
    await show(ann, "only talked about", fragments=0)
    await show(bob, "bob's", fragments=2)

    shown = await backend.query(projects.list_showcase)

    assert [(p.name, p.user_id, p.message_count, p.has_fragment) for p in shown] == [
        ("bob's", "bob", 3, True),
        ("built", "ann", 3, True),
    ]


async def test_the_showcase_ends_at_twelve(ann: Backend, backend: Backend) -> None:
    for number in range(14):
        await show(ann, f"project {number}")
        await backend.advance(timedelta(seconds=1))
    shown = await backend.query(projects.list_showcase)
    assert [project.name for project in shown] == [f"project {number}" for number in range(13, 1, -1)]
