"""What third-party test suites do through the official npm client with the admin key (deployment-api 8: points 55 and 56).

Such suites compare two deployments, fill and empty tables, act as users and call internal functions. Each helper here
makes the calls that one of theirs makes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.support.dashboard_app import write_app
from tests.support.driver import Driver, RemoteError, node_driver
from tests.support.server import ReactorProcess, running_server

pytestmark = [pytest.mark.node, pytest.mark.process]

LEGACY_KEY = "0135d8598650f8f5cb0f30c34ec2e2bb62793bc28717c8eb6fb577996d50be5f4281b59181095065c5d0f86a2c31ddbe9b597ec62b47ded69782cd"
"""118 hexadecimal digits, without an instance name: the form that such suites carry in their source."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ReactorProcess, ReactorProcess]]:
    """The deployment under test, and the one that its answers are compared with."""
    app = write_app(tmp_path_factory.mktemp("suite_app"))
    key = (f"--admin-key={LEGACY_KEY}",)
    work = tmp_path_factory.mktemp("suites")
    with (
        running_server(work / "one", app=app, options=key) as one,
        running_server(work / "two", app=app, options=key) as two,
    ):
        yield one, two


class Suite:
    """The clients that a suite opens: a plain one, an operator, and an operator of the other deployment."""

    def __init__(self, driver: Driver, one: ReactorProcess, two: ReactorProcess) -> None:
        self._driver, self.one, self.two = driver, one, two

    async def open(self) -> None:
        for name, server in (("plain", self.one), ("admin", self.one), ("other", self.two)):
            await self._driver.call("newClient", name=name, url=server.url)
        for name in ("admin", "other"):
            await self._driver.call("setAdminAuth", name=name, token=LEGACY_KEY)

    async def act_as(self, **identity: str) -> None:
        """Open the client `user`: the operator, as a user."""
        await self._driver.call("newClient", name="user", url=self.one.url)
        await self._driver.call("setAdminAuth", name="user", token=LEGACY_KEY, identity=identity)

    async def call(self, kind: str, path: str, args: Any = None, *, by: str = "admin") -> Any:
        return await self._driver.call(kind, name=by, path=path, args=args or {})

    async def follow(self, sub: str, path: str, args: Any = None) -> None:
        await self._driver.call("subscribe", name="admin", sub=sub, path=path, args=args or {})

    async def until(self, sub: str, condition: Any) -> Any:
        return await self._driver.until_update(sub, condition)

    async def get_schema(self, by: str = "admin") -> Any:
        schemas = await self.call("query", "_system/frontend/getSchemas", {"componentId": None}, by=by)
        return json.loads(schemas["active"]) if "active" in schemas else None

    async def compare_schema(self) -> None:
        assert await self.get_schema() == await self.get_schema("other") is not None

    async def compare_function_spec(self, *, public_only: bool = False) -> list[Any]:
        specs = [await self.call("query", "_system/cli/modules:apiSpec", by=by) for by in ("admin", "other")]
        if public_only:
            specs = [[fn for fn in spec if fn.get("visibility", {}).get("kind") == "public"] for spec in specs]
        assert specs[0] == specs[1]
        return specs[0]

    async def add_documents(self, table: str, documents: Sequence[Any]) -> None:
        answer = await self.call("mutation", "_system/frontend/addDocument", {"table": table, "documents": documents})
        assert answer == {"success": True}

    async def list_table(self, table: str, limit: int = 1000) -> list[Any]:
        scan = await self.call("query", "_system/frontend/listTableScan", {"table": table, "limit": limit})
        return scan[::-1]

    async def delete_all_documents(self, *tables: str) -> None:
        for table in tables:
            if not await self.list_table(table, 1):
                continue
            cursor, more = None, True
            while more:
                page = await self.call(
                    "mutation", "_system/frontend/clearTablePage", {"tableName": table, "cursor": cursor}
                )
                cursor, more = page["continueCursor"], page["hasMore"]


@pytest.fixture
async def suite(servers: tuple[ReactorProcess, ReactorProcess]) -> AsyncIterator[Suite]:
    async with node_driver() as driver:
        made = Suite(driver, *servers)
        await made.open()
        await made.delete_all_documents("notes", "replies", "loose")
        yield made
        driver.assert_calm()


async def test_55_the_key_without_a_name_opens_the_deployment(suite: Suite) -> None:
    assert len(LEGACY_KEY) == 118
    assert await suite.call("query", "notes:secret", {"word": "abc"}) == "cba"
    await suite.compare_schema()


async def test_56_two_deployments_of_one_app_have_equal_schemas_and_functions(suite: Suite) -> None:
    await suite.compare_schema()
    schema = await suite.get_schema()
    assert [table["tableName"] for table in schema["tables"]] == ["links", "notes", "reminders", "replies"]
    everything = await suite.compare_function_spec()
    public = await suite.compare_function_spec(public_only=True)
    assert {fn["identifier"] for fn in public} < {fn.get("identifier") for fn in everything}
    assert "notes.js:secret" in {fn.get("identifier") for fn in everything}


async def test_56_tables_are_filled_read_and_emptied(suite: Suite) -> None:
    assert await suite.list_table("notes") == await suite.list_table("nothing") == []
    await suite.add_documents("notes", [{"text": "a"}, {"text": "b", "big": {"$integer": "BwAAAAAAAAA="}}])
    first, second = await suite.list_table("notes")
    assert (first["text"], second["text"], second["big"]) == ("a", "b", {"$integer": "BwAAAAAAAAA="})
    await suite.add_documents("replies", [{"noteId": first["_id"]}])
    await suite.add_documents("loose", [{"anything": [1, None, {"$bytes": "AQI="}]}])
    with pytest.raises(RemoteError, match="does not match the schema") as failed:
        await suite.add_documents("replies", [{"noteId": first["_id"]}, {"noteId": "nobody"}])
    assert failed.value.name == "ConvexError"
    assert isinstance(failed.value.data, str)
    assert len(await suite.list_table("replies")) == 1
    with pytest.raises(RemoteError, match="does not match the schema"):
        await suite.add_documents("replies", [{"noteId": (await suite.list_table("loose"))[0]["_id"]}])
    await suite.delete_all_documents("notes", "replies", "loose", "nothing")
    assert [await suite.list_table(table) for table in ("notes", "replies", "loose")] == [[], [], []]


async def test_56_thousands_of_documents(suite: Suite) -> None:
    documents = [{"text": "x" * 100, "rank": number} for number in range(4096)]
    await suite.add_documents("notes", documents)
    await suite.add_documents("notes", documents[:1000])
    answer = await suite.call(
        "mutation", "_system/frontend/addDocument", {"table": "notes", "documents": [{"text": ""}] * 4097}
    )
    assert answer["success"] is False
    listed = await suite.list_table("notes", 5000)
    assert [note["rank"] for note in listed[:3]] == [96, 97, 98]
    await suite.delete_all_documents("notes")
    assert await suite.list_table("notes") == []


async def test_56_a_listing_follows_the_app_and_the_operator(suite: Suite) -> None:
    await suite.follow("scan", "_system/frontend/listTableScan", {"table": "notes", "limit": 10})
    await suite.until("scan", lambda notes: notes == [])
    await suite.call("mutation", "notes:add", {"text": "from the app"}, by="plain")
    await suite.until("scan", lambda notes: [note["text"] for note in notes] == ["from the app"])
    await suite.call("mutation", "_system/frontend/clearTablePage", {"tableName": "notes", "cursor": None})
    await suite.until("scan", lambda notes: notes == [])


async def test_56_crons_name_functions_of_the_list(suite: Suite) -> None:
    crons = await suite.call("query", "_system/frontend/listCronJobs")
    often = next(cron for cron in crons if cron["name"] == "often")
    assert often["cronSpec"]["cronSchedule"] == {"type": "interval", "seconds": {"$integer": "LAEAAAAAAAA="}}
    identifiers = {fn.get("identifier") for fn in await suite.call("query", "_system/cli/modules:apiSpec")}
    assert {cron["cronSpec"]["udfPath"] for cron in crons} <= identifiers
    assert set(often["cronSpec"]["udfArgs"]) == {"$bytes"}
    assert "$integer" in often["nextRun"]["nextTs"]


async def test_56_environment_variables_are_seen_at_once(suite: Suite) -> None:
    url = f"{suite.one.url}/api/update_environment_variables"
    headers = {"authorization": f"Convex {LEGACY_KEY}"}
    for value in ("one", "two", None):
        changes = {"changes": [{"name": "SUITE", "value": value}]}
        answer = await asyncio.to_thread(httpx.post, url, json=changes, headers=headers)
        assert answer.status_code == 200
        assert await suite.call("query", "notes:variable", {"name": "SUITE"}, by="plain") == value


async def test_56_the_operator_acts_as_a_user(suite: Suite) -> None:
    assert await suite.call("query", "notes:whoami") == []
    await suite.act_as(subject="ann", issuer="https://issuer.example", name="Ann", email="ann@example.com")
    told = await suite.call("query", "notes:whoami", by="user")
    assert told == ["ann", "https://issuer.example", "Ann", "ann@example.com"]
    assert await suite.call("query", "notes:secret", {"word": "abc"}, by="user") == "cba"


async def test_56_internal_functions_are_the_operators_alone(suite: Suite) -> None:
    reminder = {"text": "inside", "times": {"$integer": "AQAAAAAAAAA="}}
    calls = (
        ("query", "secret", {"word": "ab"}),
        ("action", "whisper", {"word": "ab"}),
        ("mutation", "remind", reminder),
    )
    for kind, name, args in calls:
        assert await suite.call(kind, f"notes:{name}", args) == (None if kind == "mutation" else "ba")
        with pytest.raises(RemoteError, match="Could not find public function"):
            await suite.call(kind, f"notes:{name}", args, by="plain")
    for path in ("getSchemas", "listTableScan", "listCronJobs"):
        with pytest.raises(RemoteError, match=r"permission|Could not find public function"):
            await suite.call("query", f"_system/frontend/{path}", by="plain")
    with pytest.raises(RemoteError, match=r"permission|Could not find public function"):
        await suite.call(
            "mutation", "_system/frontend/addDocument", {"table": "notes", "documents": [{"text": "x"}]}, by="plain"
        )
    assert await suite.list_table("notes") == []
