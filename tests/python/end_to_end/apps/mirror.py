"""An ASGI app that sends a request's fields back: those that begin with ``x-`` as fields, and all of them in the body."""

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    fields = scope["headers"]
    mirrored = [(name, value) for name, value in fields if name.startswith(b"x-")]
    await send({"type": "http.response.start", "status": 200, "headers": mirrored})
    await send({"type": "http.response.body", "body": repr(fields).encode()})
