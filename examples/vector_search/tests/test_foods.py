"""What is near in meaning is found, with and without a filter, by whichever embedding is installed."""

from __future__ import annotations

import pytest

from functions import foods
from reactor import DatabaseError
from reactor.testing import Backend


async def test_similar_foods_come_first_and_scores_fall(backend: Backend) -> None:
    assert await backend.action(foods.populate) == 8
    found = await backend.action(foods.similar, text="sweet dessert")
    assert {food.description for food in found[:2]} == {"Sweet chocolate cake", "Ice cream, a cold sweet dessert"}
    assert [food.score for food in found] == sorted([food.score for food in found], reverse=True)
    assert len(await backend.action(foods.similar, text="sweet dessert", limit=3)) == 3


async def test_a_filter_keeps_some_cuisines(backend: Backend) -> None:
    await backend.action(foods.populate)
    italian = await backend.action(foods.similar, text="sweet dessert", cuisines=["Italian"])
    assert italian[0].description == "Ice cream, a cold sweet dessert"
    assert {food.cuisine for food in italian} == {"Italian"}
    two = await backend.action(foods.similar, text="soup", cuisines=["Thai", "Japanese"])
    assert {food.cuisine for food in two} == {"Thai", "Japanese"}


async def test_words_are_found_as_they_stand(backend: Backend) -> None:
    async with backend.subscribe(foods.search, text="dess") as updates:
        assert await updates.next() == []
        await backend.action(foods.populate)
        found = await updates.next()
    assert [food.description for food in found] == ["Ice cream, a cold sweet dessert"]


async def test_populating_again_changes_nothing(backend: Backend) -> None:
    for _ in range(2):
        await backend.action(foods.populate)
    assert len(await backend.action(foods.similar, text="soup", limit=256)) == 8


@pytest.mark.parametrize("limit", [0, 257])
async def test_the_limit_is_from_1_to_256(backend: Backend, limit: int) -> None:
    with pytest.raises(DatabaseError):
        await backend.action(foods.similar, text="soup", limit=limit)
