"""HTTP routes as `functions/http.py` declares them: `http = HttpRouter()`, and `@http.route(…)` on handlers.

A request meets the route of exactly its path and method, else the one with the longest prefix of its path. What a
handler takes is worked out when the app loads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import HTTPConnection

from reactor.errors import InvalidValue, SchemaError
from reactor.runtime.http_cors import Cors
from reactor.runtime.registry import Function, source_of
from reactor.schema.codec import Codec
from reactor.schema.hints import signature_hints
from reactor.schema.shapes import ListShape, Shape
from reactor.schema.struct_shapes import StructShape, UnionShape
from reactor.schema.tables import SchemaDefinition
from reactor.schema.validators import Array, Object, Record, Resolver, Union, Validator
from reactor.values import wire

__all__ = ["METHODS", "BoundRoute", "BoundRouter", "HttpRouter", "Route", "router_of"]

METHODS: Final = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")

Handler = TypeVar("Handler", bound=Callable[..., Coroutine[Any, Any, Any]])

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EMPTY: Final = inspect.Parameter.empty


class Route:
    """One declared route. `path` is the exact path, or the prefix."""

    __slots__ = ("cors", "handler", "is_prefix", "methods", "path")

    def __init__(
        self, path: str, is_prefix: bool, methods: tuple[str, ...], handler: Callable[..., Any], cors: Cors | None
    ) -> None:
        self.path, self.is_prefix, self.methods, self.handler, self.cors = path, is_prefix, methods, handler, cors

    def __repr__(self) -> str:
        return f"<route {'|'.join(self.methods)} {self.path}{'*' if self.is_prefix else ''}>"


class HttpRouter:
    """The HTTP actions of an app: `functions/http.py` exports one as `http`."""

    def __init__(self, *, cors: Cors | None = None) -> None:
        """`cors` is for all routes that have none of their own; see `reactor.cors`."""
        _check_cors(cors)
        self._cors = cors
        self._exact: dict[tuple[str, str], Route] = {}
        self._prefixes: dict[tuple[str, str], Route] = {}
        self.routes: list[Route] = []
        """In the order of their declaration."""

    def route(
        self,
        path: str | None = None,
        /,
        *,
        prefix: str | None = None,
        methods: Sequence[str] | None = None,
        cors: Cors | None = None,
    ) -> Callable[[Handler], Handler]:
        """Serve a path, or all paths with a prefix: `@http.route("/hook", methods=["POST"])`.

        The handler is `async def hook(ctx: ActionCtx, request: Request)`, with Starlette's Request, or takes a parameter
        annotated with a Struct: the JSON body, validated. It returns a Starlette Response, or a Struct, which is sent as
        JSON. HEAD runs the GET route. `cors` lets pages of other origins call it. Raises SchemaError.
        """
        pattern, is_prefix = _pattern(path, prefix)
        names = _methods(methods)
        _check_cors(cors)

        def declare(handler: Handler) -> Handler:
            _check_handler(handler)
            self._add(Route(pattern, is_prefix, names, handler, cors or self._cors))
            return handler

        return declare

    def _add(self, route: Route) -> None:
        table = self._prefixes if route.is_prefix else self._exact
        for method in route.methods:
            if (method, route.path) in table:
                if route.is_prefix:
                    raise SchemaError(f"{method} pathPrefix {route.path} is already defined")
                raise SchemaError(f"Path '{route.path}' for method {method} already in use")
        for method in route.methods:
            table[method, route.path] = route
        self.routes.append(route)

    def match(self, method: str, path: str) -> Route | None:
        """The route that a request meets, or None. HEAD meets GET's."""
        if method == "HEAD":
            method = "GET"
        route = self._exact.get((method, path))
        if route is not None or not self._prefixes:
            return route
        end = len(path)
        while (end := path.rfind("/", 0, end)) >= 0:
            route = self._prefixes.get((method, path[: end + 1]))
            if route is not None:
                return route
        return None

    def preflight(self, method: str | None, path: str) -> tuple[Cors, list[str]] | None:
        """What answers a preflight for `method`: its route's `cors`, and all methods of the path which share that.

        None when no route of the path has `cors`. Without a method, or for one that is not there, the first that has.
        """
        found = {
            m: route.cors for m in METHODS if (route := self.match(m, path)) is not None and route.cors is not None
        }
        if not found:
            return None
        chosen = found.get("GET" if method == "HEAD" else method or "", next(iter(found.values())))
        return chosen, [m for m, cors in found.items() if cors is chosen]


def _pattern(path: str | None, prefix: str | None) -> tuple[str, bool]:
    if path is not None and prefix is not None:
        raise SchemaError("Invalid httpRouter route: cannot contain both 'path' and 'pathPrefix'")
    if path is None and prefix is None:
        raise SchemaError("Invalid httpRouter route: it must contain a path, or `prefix=…`")
    given: Any = path if prefix is None else prefix
    if not isinstance(given, str):
        raise SchemaError(f"Invalid httpRouter route: a path is a text, not {given!r}")
    kind = "path" if prefix is None else "pathPrefix"
    if not given.startswith("/"):
        raise SchemaError(f"{kind} '{given}' does not start with a /")
    if prefix is not None and not given.endswith("/"):
        raise SchemaError(f"pathPrefix {given} must end with a /")
    if given == "/.files" or given.startswith("/.files/"):
        raise SchemaError(f"{kind} '{given}' is reserved: nothing may begin with '/.files'")
    if "?" in given or "#" in given:
        raise SchemaError(f"{kind} '{given}' can't hold a query string: look at `request.query_params`")
    return given, prefix is not None


def _methods(methods: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(methods, str):
        methods = [methods]
    if not methods:
        raise SchemaError('route requires method: say which with `methods=["GET"]`')
    names: list[str] = []
    for method in methods:
        if method not in METHODS:
            hint = "; HEAD requests run the GET route" if method == "HEAD" else ""
            raise SchemaError(f"'{method}' is not an allowed HTTP method (like GET, POST, PUT etc.){hint}.")
        if method not in names:
            names.append(method)
    return tuple(names)


def _check_cors(cors: Any) -> None:
    if cors is not None and not isinstance(cors, Cors):
        raise SchemaError(f'cors takes what `cors(…)` makes: cors=cors("https://app.example.com"), not {cors!r}')


def _check_handler(handler: Any) -> None:
    if handler is None or not callable(handler):
        raise SchemaError(f"route requires handler: it goes on an `async def`, not on {handler!r}")
    if isinstance(handler, Function):
        raise SchemaError(
            f"{handler!r} is called through references; an HTTP route goes on a plain `async def` of its own, which may "
            f"call it with `ctx.run_{handler.kind}(…)`."
        )
    inner = inspect.unwrap(handler)
    name = getattr(inner, "__qualname__", repr(inner))
    if not (inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(handler)):
        raise SchemaError(
            f"{name} must be a coroutine: write `async def {getattr(inner, '__name__', 'handler')}(ctx, request)`."
        )


class BoundRoute:
    """A route of a loaded app: how its handler is called."""

    __slots__ = ("_body", "_keyword", "_positional", "path", "route")

    def __init__(self, route: Route, types: SchemaDefinition) -> None:
        self.route = route
        self.path = f"{'|'.join(route.methods)} {route.path}"
        """How logs and errors call it."""
        self._positional: list[bool] = []
        """Per positional parameter after the context: whether it takes the body; else it takes the request."""
        self._keyword: dict[str, bool] = {}
        self._body: Codec | None = None
        signature, scope = signature_hints(route.handler)
        parameters = list(signature.parameters.values())
        where = scope.where
        if not parameters or parameters[0].kind not in _POSITIONAL:
            raise SchemaError(
                f"{where} needs the context as its first parameter: `async def …(ctx: ActionCtx, request: Request)`."
            )
        for parameter in parameters[1:]:
            if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
                continue
            annotation = parameter.annotation
            if annotation is not _EMPTY:
                annotation = types.reader.evaluate(annotation, scope.at(f"{where}({parameter.name})"))
            is_request = annotation is _EMPTY or (
                isinstance(annotation, type) and issubclass(annotation, HTTPConnection)
            )
            if not is_request:
                if parameter.default is not _EMPTY and not _is_body_type(annotation):
                    continue  # its default is all it ever gets
                self._take_body(annotation, parameter.name, where, types)
            if parameter.kind in _POSITIONAL:
                self._positional.append(not is_request)
            else:
                self._keyword[parameter.name] = not is_request

    def _take_body(self, annotation: Any, name: str, where: str, types: SchemaDefinition) -> None:
        if self._body is not None:
            raise SchemaError(f"{where}({name}): only one parameter can take the body of the request.")
        codec = types.codec_of(annotation, f"{where}({name})")
        if not _is_body(codec.validator):
            raise SchemaError(
                f"{where}({name}) must be annotated with `Request` (from starlette.requests), or with a Struct that takes "
                "the JSON body. What stands in the URL is in `request.query_params` and `request.url.path`."
            )
        self._body = codec

    @property
    def takes_body(self) -> bool:
        """Whether the JSON body is decoded for the handler."""
        return self._body is not None

    def decode_body(self, raw: bytes, resolve: Resolver | None) -> Any:
        """The validated body. Raises InvalidValue; msgspec's DecodeError for what is no JSON."""
        codec = self._body
        assert codec is not None
        tree = msgspec.json.decode(raw)
        if codec.shape.lenient:
            raw = msgspec.json.encode(_known(codec.shape, tree))
            return codec.load(wire.decode(raw), resolve)
        return codec.decode(raw, resolve)

    def call(self, ctx: Any, request: Any, body: Any) -> Coroutine[Any, Any, Any]:
        """Begin the handler."""
        args = [body if takes_body else request for takes_body in self._positional]
        kwargs = {name: body if takes_body else request for name, takes_body in self._keyword.items()}
        return self.route.handler(ctx, *args, **kwargs)


def _is_body_type(annotation: Any) -> bool:
    from reactor.schema.structs import Struct

    return isinstance(annotation, type) and issubclass(annotation, Struct)


def _is_body(validator: Validator) -> bool:
    if isinstance(validator, Union):
        return all(_is_body(member) for member in validator.members)
    return isinstance(validator, Object | Array | Record)


def _known(shape: Shape, tree: Any) -> Any:
    """The tree without the fields that its projections don't list."""
    if isinstance(shape, StructShape) and isinstance(tree, dict):
        return {
            name: _known(shape.by_wire[name].shape, item) if name in shape.by_wire else item
            for name, item in tree.items()
            if name in shape.by_wire or not shape.is_projection
        }
    if isinstance(shape, ListShape) and isinstance(tree, list):
        return [_known(shape.element, item) for item in tree]
    if isinstance(shape, UnionShape):
        for member in shape.members:
            known = _known(member, tree)
            try:
                if member.validator.accepts(wire.decode(msgspec.json.encode(known)), None):
                    return known
            except InvalidValue:
                continue
    return tree


class BoundRouter:
    """The routes of a loaded app."""

    def __init__(self, router: HttpRouter, types: SchemaDefinition) -> None:
        """Raises SchemaError, with file and line, for a handler whose parameters make no sense."""
        self.router = router
        self._bound: dict[Route, BoundRoute] = {}
        for route in router.routes:
            try:
                self._bound[route] = BoundRoute(route, types)
            except SchemaError as error:
                file, line = source_of(route.handler)
                raise SchemaError(f"{file}:{line}: {error}", code=error.code) from error

    def match(self, method: str, path: str) -> BoundRoute | None:
        """The route that a request meets, or None."""
        route = self.router.match(method, path)
        return None if route is None else self._bound[route]


def router_of(modules: Mapping[str, Any], types: SchemaDefinition) -> BoundRouter | None:
    """The router that `functions/http.py` exports as `http`; None when there is none. Raises SchemaError."""
    module = modules.get("http")
    if module is None:
        return None
    router = getattr(module, "http", None)
    file = getattr(module, "__file__", "functions/http.py")
    if isinstance(router, HttpRouter):
        return BoundRouter(router, types)
    if router is not None and not isinstance(router, Function) and not inspect.ismodule(router):
        raise SchemaError(f"{file}: `http` must be an HttpRouter, not {type(router).__name__}.")
    other = next((name for name, value in vars(module).items() if isinstance(value, HttpRouter)), None)
    if other is not None:
        raise SchemaError(
            f"{file}: the router must be called `http`: `http = HttpRouter()`; this one is called {other!r}."
        )
    return None
