"""Rows of an earlier database, brought in by the operator (sample app, sections 12 and 14)."""

from __future__ import annotations

from typing import Any

import pytest

from functions import import_data, messages, projects, usage
from reactor import UNSET, Id, InvalidArguments, MutationCtx
from reactor.testing import Backend
from schema import Attachment, Fragment, FragmentDraft, Message, Project, Usage
from tests.sample_app.scene import Wire, refused

TIMES = {"created_at": "2024-01-02T03:04:05.678Z", "updated_at": "2024-01-02T04:04:05.678+01:00"}
AT = 1_704_164_645_678.0


async def bring_project(operator: Backend, **changes: Any) -> Id[Project]:
    brought = await operator.action(
        import_data.import_project_action,
        old_id="p",
        name="Old",
        user_id="ann",
        framework="VUE",
        **{**TIMES, **changes},
    )
    assert brought.old_id == "p"
    return Id(brought.new_id)


async def bring_message(operator: Backend, project_id: Id[Project]) -> Id[Message]:
    brought = await operator.action(
        import_data.import_message_action,
        old_id="m",
        content="hi",
        role="USER",
        type="RESULT",
        status="COMPLETE",
        old_project_id="p",
        new_project_id=project_id,
        **TIMES,
    )
    return Id(brought.new_id)


async def test_a_project_with_all_it_holds_comes_in(operator: Backend, ann: Backend) -> None:
    project_id = await bring_project(operator)
    message_id = await bring_message(operator, project_id)
    fragment = await operator.action(
        import_data.import_fragment_action,
        old_id="f",
        old_message_id="m",
        new_message_id=message_id,
        sandbox_url="u",
        title="t",
        files={"a.ts": "1"},
        framework="VUE",
        **TIMES,
    )
    draft = await operator.action(
        import_data.import_fragment_draft_action,
        old_id="d",
        old_project_id="p",
        new_project_id=project_id,
        files=[],
        framework="VUE",
        **TIMES,
    )
    attachment = await operator.action(
        import_data.import_attachment_action,
        old_id="a",
        type="IMAGE",
        url="a.png",
        size=1,
        width=2,
        old_message_id="m",
        new_message_id=message_id,
        **TIMES,
    )

    project = await ann.query(projects.get, project_id=project_id)
    [message] = await ann.query(messages.list_, project_id=project_id)
    kept = await ann.mutation(projects.get_or_create_fragment_draft, project_id=project_id, framework="REACT")
    assert (project.name, project.user_id, project.created_at, project.updated_at) == ("Old", "ann", AT, AT)
    assert (message.id, message.content, message.created_at) == (message_id, "hi", AT)
    assert message.fragment is not None
    assert (message.fragment.id, message.fragment.metadata) == (fragment.new_id, UNSET)
    assert [(one.id, one.width, one.height) for one in message.attachments] == [(attachment.new_id, 2, None)]
    assert (kept.id, kept.files, kept.framework) == (draft.new_id, [], "VUE")


async def test_answers_have_the_old_id_and_the_new_one(operator: Backend) -> None:
    answer = await Wire(operator).action(
        "importData:importProjectAction",
        oldId="p",
        name="Old",
        userId="ann",
        framework="VUE",
        createdAt="2024-01-02",
        updatedAt="2024-01-02",
    )
    assert set(answer) == {"oldId", "newId"}


async def test_a_balance_is_set_per_user_with_a_chosen_end(operator: Backend, ann: Backend, backend: Backend) -> None:
    bring = import_data.import_usage_action
    first = await operator.action(bring, key="rlflx:ann", user_id="ann", points=2, expire="2040-01-01T00:00:00Z")
    balance = await ann.query(usage.get_usage)
    second = await operator.action(bring, key="rlflx:ann", user_id="ann", points=0)
    endless = await ann.mutation(usage.check_and_consume_credit)
    over = await operator.action(bring, key="rlflx:ann", user_id="ann", points=0, expire="2020-01-01T00:00:00Z")
    fresh = await ann.mutation(usage.check_and_consume_credit)

    assert (first.user_id, first.new_id) == ("ann", second.new_id) == ("ann", over.new_id)
    assert (balance.points, balance.expire) == (2, 2_208_988_800_000)
    assert endless.message == "Insufficient credits. Your credits will reset in 0 minutes."
    assert (fresh.success, fresh.remaining) == (True, 4)


async def test_what_is_no_date_is_refused(operator: Backend) -> None:
    with refused("Not an ISO date: yesterday"):
        await bring_project(operator, created_at="yesterday")


async def test_everything_can_be_cleared(operator: Backend, ann: Backend, backend: Backend) -> None:
    await bring_message(operator, await bring_project(operator))
    await ann.action(projects.create_with_message, value="a shop")
    cleared = await operator.mutation(import_data.clear_all_data)

    async def left(ctx: MutationCtx) -> int:
        return sum([await ctx.db.query(table).count() for table in import_data.CLEARED])

    assert (cleared.success, cleared.message) == (True, "All data cleared")
    assert set(import_data.CLEARED) == {Attachment, Fragment, FragmentDraft, Message, Project, Usage}
    assert await backend.run(left) == 0


ACTIONS = ["Project", "Message", "Fragment", "FragmentDraft", "Attachment", "Usage"]


async def test_only_the_operator_imports(
    backend: Backend, ann: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    times = {"createdAt": "2024-01-02", "updatedAt": "2024-01-02"}
    row = {"oldId": "x", "framework": "VUE", **times}
    arguments: dict[str, dict[str, Any]] = {
        "Project": {**row, "name": "n", "userId": "ann"},
        "Message": {"oldId": "x", "content": "", "role": "USER", "type": "RESULT", "status": "COMPLETE"}
        | {"oldProjectId": "p", "newProjectId": project_id, **times},
        "Fragment": {**row, "oldMessageId": "m", "newMessageId": message_id, "sandboxUrl": "", "title": "", "files": 1},
        "FragmentDraft": {**row, "oldProjectId": "p", "newProjectId": project_id, "files": 1},
        "Attachment": {"oldId": "x", "type": "IMAGE", "url": "", "size": 1}
        | {"oldMessageId": "m", "newMessageId": message_id, **times},
        "Usage": {"key": "k", "userId": "ann", "points": 1000},
    }
    assert list(arguments) == ACTIONS
    for stranger in (backend, ann):
        for name, given in arguments.items():
            with refused("Unauthorized"):
                await stranger.action(f"importData:import{name}Action", given)


@pytest.mark.parametrize("wrong", [{"framework": "SOLID"}, {"old_id": 3}])
async def test_rows_are_checked(operator: Backend, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        await operator.action(
            "importData:importProjectAction",
            {"old_id": "p", "name": "n", "user_id": "ann", "framework": "VUE", **TIMES, **wrong},
        )
