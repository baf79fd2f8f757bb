"""People, and a project that one of them owns."""

from __future__ import annotations

import pytest

from functions import messages, projects
from reactor import Id
from reactor.testing import Backend
from schema import Message, Project
from tests.sample_app.scene import Subscriptions, Wire


@pytest.fixture
def ann(backend: Backend) -> Backend:
    return backend.as_user("ann")


@pytest.fixture
def bob(backend: Backend) -> Backend:
    return backend.as_user("bob")


@pytest.fixture
def operator(backend: Backend) -> Backend:
    """The admin key, acting as nobody."""
    return backend.as_admin()


@pytest.fixture
async def project_id(ann: Backend) -> Id[Project]:
    """A project of ann's."""
    return await ann.mutation(projects.create, name="Shop", framework="REACT")


@pytest.fixture
async def message_id(ann: Backend, project_id: Id[Project]) -> Id[Message]:
    """A message in ann's project."""
    return await ann.mutation(messages.create, project_id=project_id, content="hi", role="USER", type="RESULT")


@pytest.fixture
def ann_wire(ann: Backend) -> Wire:
    return Wire(ann)


@pytest.fixture
def subscriptions(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Subscriptions:
    monkeypatch.setenv("NEXT_PUBLIC_POLAR_PRO_PRODUCT_ID", "prod_pro")
    monkeypatch.setenv("NEXT_PUBLIC_POLAR_UNLIMITED_PRODUCT_ID", "prod_unlimited")
    return Subscriptions(backend)
