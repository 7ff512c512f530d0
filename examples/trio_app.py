"""An app on trio: each request is a task of the server's nursery.

hcrs --worker-class trio examples.trio_app:app

`pip install 'hcrs[trio]'` installs what it needs.
"""

from typing import Any

import trio


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Does three things at a time, and answers when all are done."""
    if scope["type"] != "http":
        raise ValueError(f"a scope of the type {scope['type']!r}")
    done: list[str] = []

    async def work(name: str, seconds: float) -> None:
        await trio.sleep(seconds)
        done.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, "slow", 0.1)
        nursery.start_soon(work, "quick", 0.01)
        nursery.start_soon(work, "medium", 0.05)

    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": ", ".join(done).encode() + b"\n"})
