"""Bodies of any length in both directions, with a few kilobytes of memory.

hcrs examples.streaming:app
    curl -N http://127.0.0.1:8000/events
    curl -T large.iso http://127.0.0.1:8000/checksum

`receive` returns the next piece of a request's body when it has arrived, and `send` returns once there is room for
more: a client that reads slowly makes the app wait, and does not fill memory.
"""

import asyncio
import hashlib
from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serves two paths."""
    if scope["type"] != "http":
        raise ValueError(f"a scope of the type {scope['type']!r}")
    await {"/events": events, "/checksum": checksum}.get(scope["path"], not_found)(receive, send)


async def events(receive: Any, send: Any) -> None:
    """Server-sent events, until there are ten or the client leaves."""
    await start(send, 200, b"text/event-stream")
    left = asyncio.create_task(client_left(receive))
    try:
        for number in range(10):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await asyncio.wait([left], timeout=0.1)
            if left.done():
                return
        await send({"type": "http.response.body"})
    finally:
        left.cancel()


async def client_left(receive: Any) -> None:
    """Waits until the client has left; there is no body here that is worth keeping."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def checksum(receive: Any, send: Any) -> None:
    """The SHA-256 of a request's body, one piece at a time."""
    digest = hashlib.sha256()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await start(send, 200, b"text/plain")
    await send({"type": "http.response.body", "body": digest.hexdigest().encode() + b"\n"})


async def not_found(receive: Any, send: Any) -> None:
    """404."""
    await start(send, 404, b"text/plain")
    await send({"type": "http.response.body", "body": b"/events or /checksum\n"})


async def start(send: Any, status: int, content_type: bytes) -> None:
    """Sends the head of a response."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]})
