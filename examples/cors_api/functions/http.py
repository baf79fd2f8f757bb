"""The routes, and who may call them from a browser: pages of CLIENT_ORIGIN, or of any origin while that is not set."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from functions import items
from reactor import ActionCtx, Environment, HttpRouter, Id, Struct, cors
from schema import Item


class Env(Environment):
    CLIENT_ORIGIN: str = "*"


http = HttpRouter(cors=cors(Env().CLIENT_ORIGIN, headers=["Content-Type", "Authorization"]))


class NewItem(Struct):
    name: str
    text: str = ""


class Submitted(Struct):
    item_id: Id[Item]


class Items(Struct):
    items: list[Item]


@http.route("/api/items", methods=["GET"])
async def show(ctx: ActionCtx, request: Request) -> Items:
    return Items(items=await ctx.run_query(items.list_))


@http.route("/api/submit", methods=["POST"])
async def submit(ctx: ActionCtx, item: NewItem) -> Submitted:
    """400 for a body that is no `NewItem`; 401 without a token, or (from reactor) with one that does not hold."""
    if await ctx.auth.get_user_identity() is None:
        raise HTTPException(401, "Missing bearer token", headers={"WWW-Authenticate": "Bearer"})
    return Submitted(item_id=await ctx.run_mutation(items.add, name=item.name, text=item.text))


@http.route(prefix="/files/", methods=["GET"])
async def download(ctx: ActionCtx, request: Request) -> Response:
    """The text of an item by its name, which is all that follows the prefix."""
    item = await ctx.run_query(items.newest_called, name=request.path_params["path"])
    if item is None:
        raise HTTPException(404, "No such item")
    return PlainTextResponse(item.text)
