"""HTTP actions as users write them; both checkers, strict, must be content, but for the lines marked `# refused`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reactor import ActionCtx, Environment, HttpRouter, Struct, cors

http = HttpRouter(cors=cors("https://a.example"))


class Env(Environment):
    KEY: str = ""


class Body(Struct):
    a: int


@http.route("/a", methods=["POST"], cors=cors())
async def a(ctx: ActionCtx, body: Body) -> Body:
    return Body(a=body.a + 1)


@http.route(prefix="/b/", methods=["GET", "POST"])
async def b(ctx: ActionCtx, request: Request) -> Response:
    key: str = ctx.env(Env).KEY
    return JSONResponse({"k": key, "p": request.path_params["path"]})


async def use(ctx: ActionCtx) -> int:
    return (await a(ctx, Body(a=1))).a


@http.route("/c", methods="GET", cors="*")  # refused
async def c(ctx: ActionCtx, request: Request) -> Response:
    return Response(str(ctx.env(Env).NOT_THERE))  # refused


@http.route("/d", methods=["GET"])  # refused
def d(ctx: ActionCtx, request: Request) -> Response:
    return Response()
