"""`_system/frontend/…`: what every page of a dashboard asks for (deployment-api 10.2)."""

from __future__ import annotations

import json

from reactor.values.types import Int64
from tests.unit.admin.conftest import Dashboard


async def test_modules_with_functions_routes_and_crons(dashboard: Dashboard) -> None:
    ((component, modules),) = await dashboard.query("modules:listForAllComponents")
    assert component is None
    assert modules == await dashboard.query("modules:list")
    by_path = dict(modules)
    assert list(by_path) == ["authConfig.js", "crons.js", "http.js", "notes.js"]
    functions = {fn["name"]: fn for fn in by_path["notes.js"]["functions"]}
    assert list(functions)[:3] == ["add", "addLoose", "remind"]
    remind = functions["remind"]
    assert (remind["udfType"], remind["visibility"]) == ("Mutation", {"kind": "internal"})
    assert functions["count"]["udfType"] == "Query"
    assert functions["store"]["udfType"] == "Action"
    assert remind["lineno"] > functions["add"]["lineno"] > 1
    assert json.loads(remind["argsValidator"])["value"]["times"]["fieldType"] == {"type": "bigint"}
    assert isinstance(by_path["notes.js"]["sourcePackageId"], str)
    routes = {fn["name"]: fn["udfType"] for fn in by_path["http.js"]["functions"]}
    assert routes == {"POST /hook": "HttpAction", "GET /hook": "HttpAction", "GET /files/*": "HttpAction"}
    specs = dict(by_path["crons.js"]["cronSpecs"])
    assert specs["often"]["cronSchedule"] == {"type": "interval", "seconds": Int64(300)}
    assert specs["often"]["udfPath"] == "notes.js:remind"
    listed = {cron["name"]: cron["cronSpec"] for cron in await dashboard.query("listCronJobs")}
    assert specs == listed


async def test_the_arguments_of_a_function(dashboard: Dashboard) -> None:
    text = await dashboard.query("modules:argsValidator", function="notes.js:count")
    assert json.loads(text) == {"type": "object", "value": {}}
    text = await dashboard.query("modules:argsValidator", function="notes:add")
    assert set(json.loads(text)["value"]) == {"text", "rank"}
    for unknown in ("notes.js:nothing", "", "no path", "_system/frontend/getSchemas"):
        assert await dashboard.query("modules:argsValidator", function=unknown) is None


async def test_states_and_addresses(dashboard: Dashboard) -> None:
    reactor = dashboard.backend.reactor
    assert await dashboard.query("backendState:backendState") == {
        "system": "none",
        "usage_limit": "none",
        "user": "none",
    }
    assert await dashboard.query("deploymentState:deploymentState") == {"state": "running"}
    assert await dashboard.query("convexCloudUrl") == reactor.url
    assert await dashboard.query("convexSiteUrl") == reactor.site_url
    assert (await dashboard.query("getVersion")).count(".") == 2
    assert await dashboard.query("listConfiguredSinks") == []


async def test_table_numbers_lead_to_names(dashboard: Dashboard) -> None:
    mapping = await dashboard.query("getTableMapping")
    assert set(mapping.values()) == {"links", "notes", "reminders", "replies", "_storage", "_scheduled_functions"}
    assert mapping["10001"] in ("links", "notes", "reminders", "replies")
    assert all(number.isdigit() for number in mapping)


async def test_environment_variables_are_followed(dashboard: Dashboard) -> None:
    async with dashboard.subscribe("listEnvironmentVariables") as updates:
        assert await updates.next() == []
        await dashboard.backend.set_environment(B="2", A="1")
        variables = await updates.next()
        assert [(v["name"], v["value"]) for v in variables] == [("A", "1"), ("B", "2")]
        assert {"_id", "_creationTime"} <= set(variables[0])


async def test_auth_providers_as_the_app_lists_them(dashboard: Dashboard) -> None:
    oidc, jwt = await dashboard.query("listAuthProviders")
    assert (oidc["domain"], oidc["applicationID"]) == ("https://app.example.com", "app")
    assert jwt["type"] == "customJwt"
    assert jwt["applicationID"] is None
    assert json.loads(jwt["algorithm"]) == "ES256"
