"""Early hints and pushes: what a page needs is announced while the page itself is still being made.

hcrs examples.early_hints:app
    curl -v http://127.0.0.1:8000/

Early hints (103, RFC 8297) work over HTTP/1.1 and HTTP/2. Pushes (RFC 9113 §8.4) work over HTTP/2, for clients that
accept them; browsers do not any more. The scope names what can be used.
"""

import asyncio
from typing import Any

PAGE = b'<!doctype html><link rel="stylesheet" href="/style.css"><h1>Hello</h1>'
STYLE = b"h1 { font-family: sans-serif }"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serves a page and its style sheet."""
    if scope["type"] != "http":
        raise ValueError(f"a scope of the type {scope['type']!r}")
    if scope["path"] == "/style.css":
        await respond(send, b"text/css", STYLE)
        return
    if "http.response.push" in scope["extensions"]:
        await send({"type": "http.response.push", "path": "/style.css", "headers": []})
    elif "http.response.early_hint" in scope["extensions"]:
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]})
    await asyncio.sleep(0.05)  # a query of a database, say
    await respond(send, b"text/html", PAGE)


async def respond(send: Any, content_type: bytes, body: bytes) -> None:
    """Sends a whole response."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
    await send({"type": "http.response.body", "body": body})
