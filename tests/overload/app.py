"""Apps whose requests keep their worker busy for a while: by blocking its thread, or by computing."""

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "0.02"))
COMPUTES = os.environ.get("OVERLOAD_COMPUTES") == "1"
TEXT = [("content-type", "text/plain"), ("content-length", "4")]
FIELDS = [(name.encode(), value.encode()) for name, value in TEXT]


def work() -> None:
    """Keeps the calling thread busy."""
    if not COMPUTES:
        return time.sleep(SECONDS)
    until = time.thread_time() + SECONDS
    while time.thread_time() < until:
        pass
    return None


async def asgi(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Works in the event loop."""
    assert scope["type"] == "http"
    work()
    await send({"type": "http.response.start", "status": 200, "headers": FIELDS})
    await send({"type": "http.response.body", "body": b"done"})


def wsgi(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Works in a thread of the pool."""
    work()
    start_response("200 OK", TEXT)
    return [b"done"]
