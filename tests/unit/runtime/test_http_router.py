"""How HTTP routes are declared, and what of it is refused when the app loads (server-semantics 8, 43)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reactor import ActionCtx, HttpRouter, SchemaError, Struct, action, cors
from reactor.runtime.loader import AppLoader


async def handler(ctx: ActionCtx, request: Any) -> None: ...


@pytest.mark.parametrize(
    ("args", "options", "text"),
    [
        (["/x"], {"methods": ["FETCH"]}, "'FETCH' is not an allowed HTTP method (like GET, POST, PUT etc.)"),
        (["/x"], {"methods": ["get"]}, "'get' is not an allowed HTTP method"),
        (["/x"], {"methods": ["HEAD"]}, "HEAD requests run the GET route"),
        (["x"], {"methods": ["GET"]}, "path 'x' does not start with a /"),
        ([], {"prefix": "x/", "methods": ["GET"]}, "pathPrefix 'x/' does not start with a /"),
        ([], {"prefix": "/x", "methods": ["GET"]}, "pathPrefix /x must end with a /"),
        (["/x"], {"prefix": "/x/", "methods": ["GET"]}, "cannot contain both 'path' and 'pathPrefix'"),
        ([], {"methods": ["GET"]}, "must contain a path"),
        (["/.files"], {"methods": ["GET"]}, "reserved"),
        (["/.files/x"], {"methods": ["GET"]}, "reserved"),
        ([], {"prefix": "/.files/", "methods": ["GET"]}, "reserved"),
        (["/x"], {}, "route requires method"),
        (["/x"], {"methods": []}, "route requires method"),
        (["/x?a=1"], {"methods": ["GET"]}, "query string"),
        ([1], {"methods": ["GET"]}, "a path is a text"),
        (["/x"], {"methods": ["GET"], "cors": "*"}, "cors takes what `cors(…)` makes"),
    ],
)
def test_what_can_be_no_route_is_refused(args: list[Any], options: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(text)):
        HttpRouter().route(*args, **options)(handler)


def test_duplicates_are_refused_by_method_and_path() -> None:
    http = HttpRouter()
    http.route("/x", methods=["GET", "POST"])(handler)
    http.route("/x", methods=["PUT"])(handler)
    http.route("/x/", methods=["GET"])(handler)
    with pytest.raises(SchemaError, match="Path '/x' for method POST already in use"):
        http.route("/x", methods=["PATCH", "POST"])(handler)
    http.route(prefix="/x/", methods=["GET"])(handler)
    with pytest.raises(SchemaError, match="GET pathPrefix /x/ is already defined"):
        http.route(prefix="/x/", methods=["GET"])(handler)
    assert http.match("PATCH", "/x") is None  # what failed has left nothing


def test_only_coroutines_that_are_no_functions_already_are_handlers() -> None:
    http = HttpRouter()

    def plain(ctx: ActionCtx, request: Any) -> None: ...

    @action
    async def declared(ctx: ActionCtx) -> None: ...

    with pytest.raises(SchemaError, match="write `async def plain"):
        http.route("/x", methods=["GET"])(plain)  # type: ignore[type-var]
    with pytest.raises(SchemaError, match=r"ctx\.run_action"):
        http.route("/x", methods=["GET"])(declared)  # type: ignore[type-var]
    with pytest.raises(SchemaError, match="route requires handler"):
        http.route("/x", methods=["GET"])(None)  # type: ignore[type-var]


def test_a_handler_stays_what_it_is_and_may_have_several_routes() -> None:
    http = HttpRouter()
    assert http.route("/a", methods=["GET"])(http.route("/b", methods=["GET"])(handler)) is handler
    a, b = http.match("GET", "/a"), http.match("GET", "/b")
    assert a is not None
    assert b is not None
    assert a.handler is b.handler is handler


def test_the_root_prefix_takes_the_rest() -> None:
    http = HttpRouter()
    http.route(prefix="/", methods=["GET"])(handler)
    for path in ("/", "/a", "/a/b/"):
        assert http.match("GET", path) is not None
        assert http.match("POST", path) is None


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://app.example/path", "", "https://"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(SchemaError, match="is not an origin"):
        cors(origin)


def test_credentials_for_everybody_are_refused() -> None:
    for origins in ([], ["*"], ["https://a.example", "*"]):
        with pytest.raises(SchemaError, match="name the origins"):
            cors(*origins, credentials=True)
    with pytest.raises(SchemaError, match="list of names"):
        cors(headers="content-type")


def test_a_star_stands_for_subdomains_only() -> None:
    allowed = cors("https://*.example.com")
    assert allowed.allows("https://a.example.com")
    assert allowed.allows("https://a.b.example.com")
    for origin in (
        "https://example.com",
        "https://evil.com/.example.com",
        "https://a.example.com.evil.com",
        "http://a.example.com",
    ):
        assert not allowed.allows(origin)


HEAD = """
from reactor import ActionCtx, HttpRouter, Struct
from starlette.requests import Request
from starlette.responses import Response

http = HttpRouter()


class Body(Struct):
    a: int

"""


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            HEAD + "@http.route('/x', methods=['GET'])\nasync def x() -> Response: ...",
            "needs the context as its first parameter",
        ),
        (
            HEAD + "@http.route('/x', methods=['GET'])\nasync def x(ctx, id: str): ...",
            "must be annotated with `Request`",
        ),
        (HEAD + "@http.route('/x', methods=['GET'])\nasync def x(ctx, id: Missing): ...", "Missing"),
        (HEAD + "@http.route('/x', methods=['POST'])\nasync def x(ctx, a: Body, b: Body): ...", "only one parameter"),
        (
            HEAD + "@http.route('x', methods=['GET'])\nasync def x(ctx, request: Request): ...",
            "does not start with a /",
        ),
        ("http = 3", "`http` must be an HttpRouter, not int"),
        ("from reactor import HttpRouter\nrouter = HttpRouter()", "`http = HttpRouter()`; this one is called 'router'"),
    ],
)
def test_a_module_that_cannot_work_is_refused_with_its_place(tmp_path: Path, module: str, text: str) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "http.py").write_text(module)
    with pytest.raises(SchemaError, match=re.escape(text)) as caught:
        AppLoader(tmp_path).load()
    assert "http.py" in str(caught.value)


def test_an_http_module_of_functions_alone_is_fine(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "http.py").write_text(
        "from reactor import QueryCtx, query\n\n\n@query\nasync def http(ctx: QueryCtx) -> int:\n    return 1\n"
    )
    app = AppLoader(tmp_path).load()
    assert list(app.functions) == ["http:http"]
    assert app.http is None


def test_parameters_may_stand_in_any_order_and_kind(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "http.py").write_text(
        HEAD
        + "@http.route('/x', methods=['POST'])\nasync def x(ctx, body: list[Body], req, /, *, again: Request, n: int = 3):\n"
        "    return body, req, again, n\n"
    )
    app = AppLoader(tmp_path).load()
    assert app.http is not None
    route = app.http.match("POST", "/x")
    assert route is not None
    body = route.decode_body(b'[{"a": 1}]', None)
    coroutine = route.call("ctx", "request", body)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    ((item,), *rest) = stop.value.value
    assert isinstance(item, Struct)
    assert rest == ["request", "request", 3]
