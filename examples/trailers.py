"""Trailers: fields after a body, for what is only known when the body has been sent, such as its checksum.

hcrs examples.trailers:app
    curl --raw -H 'te: trailers' http://127.0.0.1:8000/

They are sent over HTTP/2 and over HTTP/1.1 (in its chunked coding), to clients whose request has `te: trailers`; for
others they are dropped.
"""

import hashlib
from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Sends a body in pieces, and its SHA-256 behind it."""
    if scope["type"] != "http":
        raise ValueError(f"a scope of the type {scope['type']!r}")
    head = {"type": "http.response.start", "status": 200, "headers": [(b"trailer", b"x-checksum")]}
    has_trailers = "http.response.trailers" in scope["extensions"]
    await send({**head, "trailers": has_trailers})
    digest = hashlib.sha256()
    for number in range(3):
        piece = f"piece {number}\n".encode()
        digest.update(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": number < 2})
    if has_trailers:
        checksum = digest.hexdigest().encode()
        await send({"type": "http.response.trailers", "headers": [(b"x-checksum", checksum)]})
