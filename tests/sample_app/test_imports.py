"""Imports: made, moved along, listed, and by whom (sample app, section 8)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from functions import imports
from reactor import UNSET, Id, InvalidArguments
from reactor.testing import Backend
from schema import Import, Message, Project
from tests.sample_app.scene import Wire, refused


async def begin(user: Backend, project_id: Id[Project], **more: Any) -> Id[Import]:
    return await user.mutation(
        imports.create_import,
        project_id=project_id,
        source="FIGMA",
        source_id="f1",
        source_name="Shop",
        source_url="https://figma.example/f1",
        **more,
    )


@pytest.fixture
async def import_id(ann: Backend, project_id: Id[Project]) -> Id[Import]:
    return await begin(ann, project_id, metadata={"pages": 1, "team": "x"})


async def test_a_new_import_is_pending_and_its_makers(
    ann: Backend, backend: Backend, project_id: Id[Project], message_id: Id[Message]
) -> None:
    import_id = await begin(ann, project_id, message_id=message_id)
    made = await ann.query(imports.get_import, import_id=import_id)
    assert (made.status, made.user_id, made.project_id, made.message_id) == ("PENDING", "ann", project_id, message_id)
    assert (made.source, made.source_id, made.source_name) == ("FIGMA", "f1", "Shop")
    assert (made.created_at, made.updated_at, made.metadata) == (backend.now(), backend.now(), UNSET)


async def test_what_was_not_given_is_absent_and_writers_answer_null(ann_wire: Wire, import_id: Id[Import]) -> None:
    assert await ann_wire.mutation("imports:markProcessing", importId=import_id) is None
    made = await ann_wire.query("imports:getImport", importId=import_id)
    assert not {"messageId", "error"} & set(made)


async def test_update_status_lays_metadata_over_what_is_there(
    ann: Backend, backend: Backend, import_id: Id[Import]
) -> None:
    await backend.advance(timedelta(seconds=1))
    await ann.mutation(
        imports.update_status, import_id=import_id, status="PROCESSING", error="slow", metadata={"pages": 2, "new": {}}
    )
    row = await ann.query(imports.get_import, import_id=import_id)
    assert (row.status, row.error, row.updated_at) == ("PROCESSING", "slow", backend.now())
    assert row.metadata == {"pages": 2, "team": "x", "new": {}}


@pytest.mark.parametrize("nothing", [{}, {"error": "", "metadata": None}, {"metadata": 0}, {"metadata": ""}])
async def test_empty_errors_and_empty_metadata_change_nothing(
    ann: Backend, import_id: Id[Import], nothing: dict[str, Any]
) -> None:
    await ann.mutation(imports.mark_failed, import_id=import_id, error="broken")
    await ann.mutation(imports.update_status, import_id=import_id, status="COMPLETE", **nothing)
    row = await ann.query(imports.get_import, import_id=import_id)
    assert (row.status, row.error, row.metadata) == ("COMPLETE", "broken", {"pages": 1, "team": "x"})


async def test_metadata_that_is_no_object_takes_the_place(ann: Backend, import_id: Id[Import]) -> None:
    await ann.mutation(imports.update_status, import_id=import_id, status="PENDING", metadata=["a"])
    assert (await ann.query(imports.get_import, import_id=import_id)).metadata == ["a"]


async def test_mark_complete_replaces_metadata_or_leaves_it(ann: Backend, import_id: Id[Import]) -> None:
    await ann.mutation(imports.mark_complete, import_id=import_id)
    kept = await ann.query(imports.get_import, import_id=import_id)
    await ann.mutation(imports.mark_complete, import_id=import_id, metadata={"files": 3})
    replaced = await ann.query(imports.get_import, import_id=import_id)
    assert (kept.status, kept.metadata) == ("COMPLETE", {"pages": 1, "team": "x"})
    assert (replaced.status, replaced.metadata) == ("COMPLETE", {"files": 3})


async def test_an_error_stays_after_a_later_success(ann: Backend, import_id: Id[Import]) -> None:
    await ann.mutation(imports.mark_failed, import_id=import_id, error="broken")
    await ann.mutation(imports.mark_processing, import_id=import_id)
    await ann.mutation(imports.mark_complete, import_id=import_id)
    row = await ann.query(imports.get_import, import_id=import_id)
    assert (row.status, row.error) == ("COMPLETE", "broken")


async def test_lists_are_oldest_first(ann: Backend, bob: Backend, project_id: Id[Project]) -> None:
    made = [await begin(ann, project_id) for _ in range(3)]
    by_project = await ann.query(imports.list_by_project, project_id=project_id)
    by_user = await ann.query(imports.list_by_user)
    assert [row.id for row in by_project] == [row.id for row in by_user] == made
    assert await bob.query(imports.list_by_user) == []


async def test_the_anonymous_are_unauthorized(backend: Backend, project_id: Id[Project], import_id: Id[Import]) -> None:
    with refused("Unauthorized"):
        await begin(backend, project_id)
    for change, more in WRITES.items():
        with refused("Unauthorized"):
            await backend.mutation(f"imports:{change}", import_id=import_id, **more)
    with refused("Unauthorized"):
        await backend.query(imports.get_import, import_id=import_id)
    with refused("Unauthorized"):
        await backend.query(imports.list_by_project, project_id=project_id)
    with refused("Unauthorized"):
        await backend.query(imports.list_by_user)


WRITES: dict[str, dict[str, Any]] = {
    "updateStatus": {"status": "COMPLETE"},
    "markProcessing": {},
    "markComplete": {},
    "markFailed": {"error": "x"},
}


async def test_missing_and_foreign_ones_are_refused_alike(
    ann: Backend, bob: Backend, project_id: Id[Project], import_id: Id[Import]
) -> None:
    with refused("Project not found or unauthorized"):
        await begin(bob, project_id)
    with refused("Project not found or unauthorized"):
        await bob.query(imports.list_by_project, project_id=project_id)
    with refused("Import not found or unauthorized"):
        await bob.query(imports.get_import, import_id=import_id)
    for change, more in WRITES.items():
        with refused("Import not found or unauthorized"):
            await bob.mutation(f"imports:{change}", import_id=import_id, **more)

    await ann.mutation("projects:deleteProject", project_id=project_id)
    with refused("Project not found or unauthorized"):
        await begin(ann, project_id)
    # Imports outlive their project: they are records of what happened.
    assert (await ann.query(imports.get_import, import_id=import_id)).project_id == project_id


async def test_arguments_are_checked(ann: Backend, project_id: Id[Project], import_id: Id[Import]) -> None:
    with pytest.raises(InvalidArguments):
        await ann.mutation("imports:updateStatus", import_id=import_id, status="DONE")
    with pytest.raises(InvalidArguments):
        await ann.query("imports:getImport", import_id=project_id)
