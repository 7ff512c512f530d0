"""The ASGI types and functions that the middleware shares."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.~%!$&'()*+;=-]+)(?::\d{1,5})?", re.ASCII)


def is_host(text: str) -> bool:
    """Returns whether ``text`` is a valid host, with or without a port (RFC 3986 section 3.2.2)."""
    return _HOST.fullmatch(text) is not None


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    """Responds with a status and no body. A WebSocket is denied with the status if the server supports that."""
    if scope["type"] == "http":
        start, body = "http.response.start", "http.response.body"
    elif "websocket.http.response" in (scope.get("extensions") or {}):
        start, body = "websocket.http.response.start", "websocket.http.response.body"
        await receive()  # websocket.connect, which comes before any answer
    else:
        await receive()
        await send({"type": "websocket.close"})
        return
    headers = [*headers, (b"content-length", b"0")]
    await send({"type": start, "status": status, "headers": headers})
    await send({"type": body, "body": b"", "more_body": False})
