"""The routes, as a page of another origin meets them."""

from __future__ import annotations

from reactor.testing import Backend, TestIssuer

PAGE = {"Origin": "https://elsewhere.example"}


async def test_what_is_submitted_is_listed_and_can_be_fetched_by_name(backend: Backend) -> None:
    ann = backend.as_user("ann")
    item = {"name": "notes/todo.txt", "text": "water the plants"}
    submitted = await ann.fetch("/api/submit", "POST", json=item, headers=PAGE)
    assert (submitted.status_code, list(submitted.json())) == (200, ["itemId"])

    [listed] = (await backend.fetch("/api/items", headers=PAGE)).json()["items"]
    assert listed["_id"] == submitted.json()["itemId"]
    assert (listed["name"], listed["addedBy"]) == ("notes/todo.txt", "https://reactor.test|ann")
    assert (await backend.fetch("/files/notes/todo.txt", headers=PAGE)).text == "water the plants"


async def test_a_token_is_needed_and_verified(backend: Backend, issuer: TestIssuer) -> None:
    async def submit(**headers: str) -> tuple[int, str]:
        answer = await backend.fetch("/api/submit", "POST", json={"name": "a"}, headers={**PAGE, **headers})
        assert answer.headers["access-control-allow-origin"] == "*"
        return answer.status_code, answer.text

    assert await submit() == (401, '{"error":"Missing bearer token"}')
    status, text = await submit(authorization="Bearer not-a-token")
    assert (status, "code" in text) == (401, True)
    assert (await submit(authorization=f"Bearer {issuer.token('ann')}"))[0] == 200


async def test_errors_have_the_headers_too(backend: Backend) -> None:
    ann = backend.as_user("ann")
    missing = await ann.fetch("/api/submit", "POST", json={"text": "no name"}, headers=PAGE)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "InvalidBody")
    nowhere = await backend.fetch("/files/nothing", headers=PAGE)
    assert (nowhere.status_code, nowhere.json()) == (404, {"error": "No such item"})
    for answer in (missing, nowhere):
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_preflights_are_answered(backend: Backend) -> None:
    for path, method in (("/api/submit", "POST"), ("/api/items", "GET"), ("/files/a", "GET")):
        asked = {**PAGE, "Access-Control-Request-Method": method}
        answer = await backend.fetch(path, "OPTIONS", headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-methods"] == method
        assert answer.headers["access-control-allow-headers"] == "Content-Type, Authorization"
        assert answer.headers["access-control-max-age"] == "86400"
