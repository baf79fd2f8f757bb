"""HTTP routes, listed behind the functions."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from reactor import ActionCtx, HttpRouter

http = HttpRouter()


@http.route("/hello", methods=["GET", "POST"])
async def hello(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse(f"hello by {request.method}")


@http.route(prefix="/files/", methods=["GET"])
async def files(ctx: ActionCtx, request: Request) -> Response:
    return PlainTextResponse(request.url.path)
