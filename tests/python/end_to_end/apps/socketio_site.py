"""python-socketio, which looks for `upgrade` in the environ that it makes of a scope."""

from __future__ import annotations

from typing import Any

import socketio  # type: ignore[import-untyped, unused-ignore]

server: Any = socketio.AsyncServer(async_mode="asgi")


async def hello(_sid: str, name: str) -> None:
    """Answers with an event of its own."""
    await server.emit("greeting", f"hello {name}", to=_sid)


server.on("hello", hello)
app = socketio.ASGIApp(server)
