"""Serves the built page and signs people in without a password: for development only, on your own machine."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from reactor.testing import TestIssuer


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=3212)
    options.add_argument("--issuer-port", type=int, default=3213, help="what CLERK_JWT_ISSUER_DOMAIN names")
    options.add_argument("--page", type=Path, default=Path(__file__).parent / "dist")
    given = options.parse_args()

    with TestIssuer(application_id="convex", port=given.issuer_port) as issuer:

        async def token(request: Request) -> Response:
            """A token for whoever says who they are. Other origins can't read it: there are no CORS headers."""
            user = request.query_params.get("user")
            if not user:
                return PlainTextResponse("Who are you?", 400)
            return PlainTextResponse(issuer.token(user), headers={"Cache-Control": "no-store"})

        app = Starlette(routes=[Route("/dev/token", token), Mount("/", StaticFiles(directory=given.page, html=True))])
        uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
