"""Messages, their fragments and attachments, and the answer that streams in (sample app, sections 5 and 12)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from functions import messages, projects, usage
from functions.rules.conversation import NewAttachment
from reactor import UNSET, Id, InvalidArguments, MutationCtx
from reactor.testing import Backend
from schema import Fragment, Import, Message, Project
from tests.sample_app.scene import Wire, refused


async def delete_project_only(backend: Backend, project_id: Id[Project]) -> None:
    """Leave the messages behind, as no function does."""

    async def delete(ctx: MutationCtx) -> None:
        await ctx.db.delete(project_id)

    await backend.run(delete)


# Writing


async def test_a_message_is_complete_unless_told_otherwise(
    ann: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    plain = await ann.mutation(messages.create, project_id=project_id, content="hi", role="USER", type="RESULT")
    pending = await ann.mutation(
        messages.create, project_id=project_id, content="", role="ASSISTANT", type="STREAMING", status="PENDING"
    )
    message = await ann.query(messages.get, message_id=plain)
    assert (message.content, message.role, message.type, message.status) == ("hi", "USER", "RESULT", "COMPLETE")
    assert (message.created_at, message.updated_at) == (backend.now(), backend.now())
    assert (await ann.query(messages.get, message_id=pending)).status == "PENDING"


@pytest.mark.parametrize("field", ["role", "type", "status"])
async def test_enumerations_are_closed(ann: Backend, project_id: Id[Project], field: str) -> None:
    arguments = {"project_id": project_id, "content": "x", "role": "USER", "type": "RESULT", field: "ELSE"}
    with pytest.raises(InvalidArguments):
        await ann.mutation("messages:create", **arguments)


async def test_missing_and_foreign_projects_are_unauthorized_alike(
    ann: Backend, bob: Backend, backend: Backend, project_id: Id[Project]
) -> None:
    for stranger in (bob, backend):
        with refused("Unauthorized"):
            await stranger.mutation(messages.create, project_id=project_id, content="", role="USER", type="RESULT")
        with refused("Unauthorized"):
            await stranger.query(messages.list_, project_id=project_id)
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Unauthorized"):
        await ann.mutation(messages.create, project_id=project_id, content="", role="USER", type="RESULT")
    with refused("Unauthorized"):
        await ann.query(messages.list_, project_id=project_id)


async def test_update_status_changes_the_status_and_the_time(
    ann: Backend, backend: Backend, message_id: Id[Message]
) -> None:
    await backend.advance(timedelta(seconds=1))
    assert await ann.mutation(messages.update_status, message_id=message_id, status="PENDING") == message_id
    message = await ann.query(messages.get, message_id=message_id)
    assert (message.content, message.status, message.updated_at) == ("hi", "PENDING", backend.now())
    assert message.created_at == backend.now() - 1000


async def test_update_message_answers_the_message_as_it_now_is(
    ann: Backend, backend: Backend, message_id: Id[Message]
) -> None:
    await backend.advance(timedelta(seconds=1))
    text = await ann.mutation(messages.update_message, message_id=message_id, content="hello")
    both = await ann.mutation(messages.update_message, message_id=message_id, content="bye", status="STREAMING")
    assert (text.id, text.content, text.status, text.updated_at) == (message_id, "hello", "COMPLETE", backend.now())
    assert (both.content, both.status) == ("bye", "STREAMING")
    assert await ann.query(messages.get, message_id=message_id) == both


# With attachments


async def test_create_with_attachments_costs_a_credit_and_answers_what_was_made(
    ann: Backend, project_id: Id[Project]
) -> None:
    posted = await ann.action(
        messages.create_with_attachments,
        value="like this",
        project_id=project_id,
        attachments=[
            NewAttachment(url="a.png", size=1),
            NewAttachment(url="https://github.com/x/y", size=0, type="GITHUB_REPO", source_metadata={"stars": 3}),
        ],
    )
    message = await ann.query(messages.get, message_id=posted.message_id)
    first, second = await ann.query(messages.get_attachments, message_id=posted.message_id)
    assert (posted.project_id, posted.value) == (project_id, "like this")
    assert (message.content, message.role, message.type, message.status) == ("like this", "USER", "RESULT", "COMPLETE")
    assert (first.type, first.url, first.source_metadata) == ("IMAGE", "a.png", UNSET)
    assert (second.type, second.source_metadata) == ("GITHUB_REPO", {"stars": 3})
    assert (await ann.query(usage.get_usage)).points == 4


async def test_attachments_are_optional(ann: Backend, project_id: Id[Project]) -> None:
    posted = await ann.action(messages.create_with_attachments, value="x", project_id=project_id)
    assert await ann.query(messages.get_attachments, message_id=posted.message_id) == []


async def test_an_attachment_may_refer_to_an_import(ann: Backend, backend: Backend, project_id: Id[Project]) -> None:
    async def insert(ctx: MutationCtx) -> Id[Import]:
        return await ctx.db.insert(
            Import(
                user_id="ann",
                project_id=project_id,
                source="FIGMA",
                source_id="1",
                source_name="n",
                source_url="u",
                status="COMPLETE",
                created_at=0,
                updated_at=0,
            )
        )

    import_id = await backend.run(insert)
    posted = await ann.action(
        messages.create_with_attachments,
        value="x",
        project_id=project_id,
        attachments=[NewAttachment(url="f", size=1, type="FIGMA_FILE", import_id=import_id)],
    )
    [attachment] = await ann.query(messages.get_attachments, message_id=posted.message_id)
    assert attachment.import_id == import_id


async def test_without_credits_nothing_is_posted(ann: Backend, project_id: Id[Project]) -> None:
    for _ in range(5):
        await ann.mutation(usage.check_and_consume_credit)
    with refused("You have run out of credits"):
        await ann.action(messages.create_with_attachments, value="x", project_id=project_id)
    assert await ann.query(messages.list_, project_id=project_id) == []


async def test_a_strangers_project_costs_nothing(bob: Backend, backend: Backend, project_id: Id[Project]) -> None:
    with refused("Unauthorized"):
        await bob.action(messages.create_with_attachments, value="x", project_id=project_id)
    with refused("Unauthorized"):
        await backend.action(messages.create_with_attachments, value="x", project_id=project_id)
    assert (await bob.query(usage.get_usage)).points == 5


async def test_a_project_id_that_is_none_is_an_argument_error_and_costs_nothing(ann: Backend) -> None:
    with pytest.raises(InvalidArguments):
        await ann.action(messages.create_with_attachments, value="x", project_id="nonsense")
    assert (await ann.query(usage.get_usage)).points == 5


async def test_ten_at_once_on_five_credits_post_five_messages(ann: Backend, project_id: Id[Project]) -> None:
    attempts = (
        ann.action(messages.create_with_attachments, value=f"message {n}", project_id=project_id) for n in range(10)
    )
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert [str(o) for o in outcomes if isinstance(o, Exception)] == ["You have run out of credits"] * 5
    assert len(await ann.query(messages.list_, project_id=project_id)) == 5


async def test_add_attachment_takes_what_is_given(ann: Backend, message_id: Id[Message]) -> None:
    attachment_id = await ann.mutation(
        messages.add_attachment,
        message_id=message_id,
        type="FIGMA_FILE",
        url="f",
        size=3,
        width=1,
        height=2,
        source_metadata=[1, None],
    )
    [attachment] = await ann.query(messages.get_attachments, message_id=message_id)
    assert attachment.id == attachment_id
    assert (attachment.type, attachment.url, attachment.size) == ("FIGMA_FILE", "f", 3)
    assert (attachment.width, attachment.height, attachment.source_metadata) == (1, 2, [1, None])


# Fragments


async def save(user: Backend, message_id: Id[Message], **changes: Any) -> Id[Fragment]:
    arguments = {"sandbox_url": "u", "title": "t", "files": {"a.js": "1"}, "framework": "VUE", **changes}
    return await user.mutation(messages.create_fragment, message_id=message_id, **arguments)


async def test_a_second_fragment_overwrites_the_first_and_erases_metadata_left_out(
    ann: Backend, backend: Backend, message_id: Id[Message]
) -> None:
    first_id = await save(ann, message_id, metadata={"model": "large"})
    first = await ann.query(messages.get_fragment, message_id=message_id)
    await backend.advance(timedelta(seconds=1))
    second_id = await save(ann, message_id, sandbox_url="v", title="s", files={"b.js": "2"}, framework="REACT")
    second = await ann.query(messages.get_fragment, message_id=message_id)

    assert first is not None
    assert second is not None
    assert second_id == first_id
    assert first.metadata == {"model": "large"}
    assert second.metadata is UNSET
    assert (second.sandbox_url, second.title, second.files, second.framework) == ("v", "s", {"b.js": "2"}, "REACT")
    assert (second.created_at, second.updated_at) == (first.created_at, backend.now())


async def test_erased_metadata_is_absent_on_the_wire(ann_wire: Wire, ann: Backend, message_id: Id[Message]) -> None:
    await save(ann, message_id, metadata={"model": "large"})
    await save(ann, message_id)
    fragment = await ann_wire.query("messages:getFragment", messageId=message_id)
    assert set(fragment) == {
        *("_id", "_creationTime", "messageId", "sandboxUrl", "title", "files", "framework", "createdAt", "updatedAt"),
    }


@pytest.mark.parametrize("anything", [None, 3, "text", [1, "a"], {"nested": {"deep": [None]}}])
async def test_files_and_metadata_take_any_value(ann: Backend, message_id: Id[Message], anything: Any) -> None:
    await save(ann, message_id, files=anything, metadata=anything)
    fragment = await ann.query(messages.get_fragment, message_id=message_id)
    assert fragment is not None
    assert (fragment.files, fragment.metadata) == (anything, anything)


async def test_a_message_without_a_fragment_has_none(ann: Backend, message_id: Id[Message]) -> None:
    assert await ann.query(messages.get_fragment, message_id=message_id) is None


async def test_ten_fragments_at_once_leave_one(ann: Backend, message_id: Id[Message]) -> None:
    ids = await asyncio.gather(*(save(ann, message_id, title=f"title {n}") for n in range(10)))
    assert len(set(ids)) == 1


async def test_a_fragment_is_public_by_its_id(ann: Backend, backend: Backend, message_id: Id[Message]) -> None:
    fragment_id = await save(ann, message_id)
    assert (await backend.query(messages.get_fragment_by_id, fragment_id=fragment_id)).title == "t"


async def test_a_fragment_in_context_is_its_owners(
    ann: Backend, bob: Backend, backend: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    fragment_id = await save(ann, message_id)
    found = await ann.query(messages.get_fragment_by_id_auth, fragment_id=fragment_id)
    assert (found.fragment.id, found.message.id, found.project.id) == (fragment_id, message_id, project_id)
    for stranger in (bob, backend):
        with refused("Unauthorized"):
            await stranger.query(messages.get_fragment_by_id_auth, fragment_id=fragment_id)


async def test_what_a_fragment_lacks_is_named(ann: Backend, backend: Backend, message_id: Id[Message]) -> None:
    fragment_id = await save(ann, message_id)

    async def delete_message(ctx: MutationCtx) -> None:
        await ctx.db.delete(message_id)

    async def delete_fragment(ctx: MutationCtx) -> None:
        await ctx.db.delete(fragment_id)

    await backend.run(delete_message)
    with refused("Message not found"):
        await ann.query(messages.get_fragment_by_id_auth, fragment_id=fragment_id)
    await backend.run(delete_fragment)
    with refused("Fragment not found"):
        await ann.query(messages.get_fragment_by_id_auth, fragment_id=fragment_id)
    with refused("Fragment not found"):
        await backend.query(messages.get_fragment_by_id, fragment_id=fragment_id)


# Reading


async def test_a_list_is_oldest_first_with_parts_under_capital_letters(
    ann_wire: Wire, ann: Backend, backend: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    await backend.advance(timedelta(seconds=1))
    await ann.mutation(messages.create, project_id=project_id, content="second", role="USER", type="RESULT")
    await save(ann, message_id)
    await ann.mutation(messages.add_attachment, message_id=message_id, type="IMAGE", url="a.png", size=1)

    first, second = await ann_wire.query("messages:list", projectId=project_id)

    assert (first["content"], second["content"]) == ("hi", "second")
    assert first["Fragment"]["title"] == "t"
    assert [attachment["url"] for attachment in first["Attachment"]] == ["a.png"]
    assert (second["Fragment"], second["Attachment"]) == (None, [])


async def test_the_list_for_the_web_tier_has_small_letters(
    operator: Backend, ann: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    await save(ann, message_id)
    [message] = await Wire(operator).query("messages:listForUser", userId="ann", projectId=project_id)
    assert message["fragment"]["title"] == "t"
    assert message["attachments"] == []


async def test_order_is_by_created_at_not_by_arrival(ann: Backend, backend: Backend, project_id: Id[Project]) -> None:
    async def insert(ctx: MutationCtx) -> None:
        for content, created_at in (("late", 20.0), ("early", 10.0)):
            await ctx.db.insert(
                Message(
                    content=content,
                    role="USER",
                    type="RESULT",
                    status="COMPLETE",
                    project_id=project_id,
                    created_at=created_at,
                )
            )

    await backend.run(insert)
    listed = await ann.query(messages.list_, project_id=project_id)
    assert [message.content for message in listed] == ["early", "late"]


async def test_a_message_that_is_not_there_is_not_found(
    ann: Backend, backend: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    await ann.mutation(projects.delete_project, project_id=project_id)
    with refused("Message not found"):
        await ann.mutation(messages.update_status, message_id=message_id, status="PENDING")
    with refused("Message not found"):
        await ann.mutation(messages.update_message, message_id=message_id, content="x")
    with refused("Message not found"):
        await save(ann, message_id)
    with refused("Message not found"):
        await ann.mutation(messages.add_attachment, message_id=message_id, type="IMAGE", url="a", size=1)
    with refused("Message not found"):
        await ann.query(messages.get, message_id=message_id)
    with refused("Message not found"):
        await ann.query(messages.get_fragment, message_id=message_id)
    with refused("Message not found"):
        await ann.query(messages.get_attachments, message_id=message_id)
    with refused("Unauthorized"):
        await backend.query(messages.get, message_id=message_id)


async def test_strangers_touch_no_message(bob: Backend, backend: Backend, message_id: Id[Message]) -> None:
    for stranger in (bob, backend):
        with refused("Unauthorized"):
            await stranger.mutation(messages.update_status, message_id=message_id, status="PENDING")
        with refused("Unauthorized"):
            await stranger.mutation(messages.update_message, message_id=message_id, content="x")
        with refused("Unauthorized"):
            await save(stranger, message_id)
        with refused("Unauthorized"):
            await stranger.mutation(messages.add_attachment, message_id=message_id, type="IMAGE", url="a", size=1)
        with refused("Unauthorized"):
            await stranger.query(messages.get, message_id=message_id)
        with refused("Unauthorized"):
            await stranger.query(messages.get_fragment, message_id=message_id)
        with refused("Unauthorized"):
            await stranger.query(messages.get_attachments, message_id=message_id)


async def test_a_message_of_a_vanished_project_is_nobodys(
    ann: Backend, backend: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    await delete_project_only(backend, project_id)
    with refused("Unauthorized"):
        await ann.query(messages.get, message_id=message_id)


# On behalf of a user


async def test_the_operator_writes_and_reads_on_behalf_of_a_user(
    operator: Backend, ann: Backend, project_id: Id[Project]
) -> None:
    message_id = await operator.mutation(
        messages.create_for_user, user_id="ann", project_id=project_id, content="built", role="ASSISTANT", type="RESULT"
    )
    await operator.mutation(
        messages.create_fragment_for_user,
        user_id="ann",
        message_id=message_id,
        sandbox_url="u",
        title="t",
        files={},
        framework="VUE",
    )
    [message] = await operator.query(messages.list_for_user, user_id="ann", project_id=project_id)
    assert (message.content, message.status) == ("built", "COMPLETE")
    assert message.fragment is not None
    assert await ann.query(messages.get_fragment, message_id=message_id) == message.fragment


async def test_on_behalf_of_the_wrong_user_is_unauthorized(
    operator: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    await refuse_on_behalf(operator, "bob", project_id, message_id)


async def test_users_act_on_behalf_of_themselves_only(
    ann: Backend, bob: Backend, backend: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    await ann.mutation(
        messages.create_for_user, user_id="ann", project_id=project_id, content="", role="USER", type="RESULT"
    )
    assert len(await ann.query(messages.list_for_user, user_id="ann", project_id=project_id)) == 2
    await refuse_on_behalf(bob, "ann", project_id, message_id)
    await refuse_on_behalf(backend, "ann", project_id, message_id)


async def refuse_on_behalf(caller: Backend, user_id: str, project_id: Id[Project], message_id: Id[Message]) -> None:
    with refused("Unauthorized"):
        await caller.mutation(
            messages.create_for_user, user_id=user_id, project_id=project_id, content="", role="USER", type="RESULT"
        )
    with refused("Unauthorized"):
        await caller.mutation(
            messages.create_fragment_for_user,
            user_id=user_id,
            message_id=message_id,
            sandbox_url="u",
            title="t",
            files={},
            framework="VUE",
        )
    with refused("Unauthorized"):
        await caller.query(messages.list_for_user, user_id=user_id, project_id=project_id)


# The answer that streams in


async def test_subscribers_see_every_step_of_a_streaming_answer(ann: Backend, project_id: Id[Project]) -> None:
    async with ann.subscribe(messages.list_, project_id=project_id) as updates:
        assert await updates.next() == []
        message_id = await ann.mutation(
            messages.create, project_id=project_id, content="", role="ASSISTANT", type="STREAMING", status="STREAMING"
        )
        assert [(m.content, m.status) for m in await updates.next()] == [("", "STREAMING")]
        for text in ("I", "I am", "I am done"):
            await ann.mutation(messages.update_message, message_id=message_id, content=text)
            assert [(m.content, m.status) for m in await updates.next()] == [(text, "STREAMING")]
        await ann.mutation(messages.update_status, message_id=message_id, status="COMPLETE")
        assert [(m.content, m.status) for m in await updates.next()] == [("I am done", "COMPLETE")]
        await save(ann, message_id)
        [message] = await updates.next()
        assert message.fragment is not None


async def test_another_projects_answers_are_no_news(ann: Backend, bob: Backend, project_id: Id[Project]) -> None:
    other = await bob.mutation(projects.create, name="bob's", framework="VUE")
    async with ann.subscribe(messages.list_, project_id=project_id) as updates:
        await updates.next()
        await bob.mutation(messages.create, project_id=other, content="x", role="USER", type="RESULT")
        await updates.assert_quiet()
