"""A chat room: each message of a WebSocket goes to all of them, over HTTP/1.1 and HTTP/2 alike.

hcrs examples.websocket:app

Clients that offer permessage-deflate get compressed messages, and clients that stop answering pings are closed; both
are settings. A client that reads slowly delays the others here, because `send` waits for the room in its window.
"""

from collections.abc import Awaitable, Callable
from typing import Any

#: The `send` of each open WebSocket of this worker.
members: set[Callable[[dict[str, Any]], Awaitable[None]]] = set()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Accepts a WebSocket at /chat, and closes all others before they are accepted, which is a 403."""
    if scope["type"] != "websocket":
        raise ValueError(f"a scope of the type {scope['type']!r}")
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] != "/chat":
        await send({"type": "websocket.close"})
        return

    # Of the subprotocols that the client offers the server may choose one.
    chosen = "chat.v1" if "chat.v1" in scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    members.add(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            await to_all(message.get("text") or "")
    finally:
        members.discard(send)


async def to_all(text: str) -> None:
    """Sends a text to all members. `send` raises an `OSError` for a client that has just left."""
    for send in list(members):
        try:
            await send({"type": "websocket.send", "text": text})
        except OSError:
            members.discard(send)
