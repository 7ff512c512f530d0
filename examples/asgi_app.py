"""An ASGI app without a framework: what a request looks like, and how an answer is sent.

hcrs examples.asgi_app:app
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answers every request with how it came in, and keeps lifespan's rules."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return

    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        if not message.get("more_body", False):
            break

    body = (
        f"{scope['method']} {scope['path']} over HTTP/{scope['http_version']} ({scope['scheme']}), "
        f"{length} bytes of body, answered by process {os.getpid()}\n"
    ).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Receive, send: Send) -> None:
    """Opens what the app needs, before the first request, and closes it after the last one."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
