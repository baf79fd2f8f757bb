"""The baseline of the fan-out: on the same server stack, a WebSocket application that sends one text to all its sockets."""

from __future__ import annotations

import asyncio
import sys

import uvicorn

sockets = set()


async def app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        sockets.add(send)
        try:
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            sockets.discard(send)
    else:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        text = {"type": "websocket.send", "text": body.decode()}
        if body:
            for send_to in list(sockets):
                await send_to(text)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        await asyncio.sleep(0)


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="websockets-sansio", access_log=False,
        log_level="warning", ws_per_message_deflate=False,
    )  # fmt: skip
