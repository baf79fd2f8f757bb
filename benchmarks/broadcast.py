"""The baselines of the fan-out, on the same server stack: a WebSocket application that sends one text to all its sockets.

POST the text to `/` and it goes the way of every ASGI application, `await send(...)` for each socket. POST it to `/straight`
and one frame is made of it and written to each transport: the least that Python can do.
"""

from __future__ import annotations

import gc
import sys

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

sockets = set()
transports = set()


class Protocol(WebSocketsSansIOProtocol):
    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        transports.add(transport)

    def connection_lost(self, exc) -> None:
        super().connection_lost(exc)
        transports.discard(self.transport)


async def app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        # As `reactor serve` does.
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
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
        if body and scope["path"] == "/straight":
            frame = Frame(Opcode.TEXT, body).serialize(mask=False)
            for transport in list(transports):
                transport.write(frame)
        elif body:
            text = {"type": "websocket.send", "text": body.decode()}
            for send_to in list(sockets):
                await send_to(text)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", ws=Protocol, access_log=False,
        log_level="warning", ws_per_message_deflate=False,
    )  # fmt: skip
