"""An app that keeps as many megabytes as the path says."""

from typing import Any

hoard: list[bytes] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    megabytes = scope["path"][1:]
    if megabytes:
        hoard.append(b"x" * (int(megabytes) * 1_000_000))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})
