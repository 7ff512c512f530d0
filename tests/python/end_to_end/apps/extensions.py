"""An app for ASGI's HTTP extensions: each path uses one."""

import ctypes
import os
from typing import Any
from urllib.parse import parse_qs

from starlette.background import BackgroundTask
from starlette.responses import FileResponse

PR_SET_DUMPABLE = 4

LINKS = [b"</style.css>; rel=preload; as=style", b"</app.js>; rel=preload; as=script"]


async def start(send: Any, headers: Any = (), **more: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers), **more})


async def body(send: Any, data: bytes = b"", more_body: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more_body})


async def trailers(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """A body in ``pieces`` of ``size`` bytes, and trailers after it."""
    headers = [(b"content-length", query["length"].encode())] if "length" in query else []
    await start(send, headers, trailers=True)
    pieces, size = int(query.get("pieces", 1)), int(query.get("size", 5))
    for left in reversed(range(pieces)):
        await body(send, b"x" * size, more_body=left > 0)
    await send({"type": "http.response.trailers", "headers": [(b"X-First", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-second", b"2"), (b"x-second", b"3")]})


async def trailers_alone(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await start(send, trailers=True)
    await body(send)
    await send({"type": "http.response.trailers", "headers": [(b"x-only", b"1")]})


async def trailers_empty(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await start(send, trailers=True)
    await body(send, b"body")
    await send({"type": "http.response.trailers"})


async def trailers_forgotten(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await start(send, trailers=True)
    await body(send, b"body")


async def hints(scope: Any, receive: Any, send: Any, query: Any) -> None:
    for link in LINKS[: int(query.get("count", 1))]:
        await send({"type": "http.response.early_hint", "links": [link]})
    await start(send)
    await body(send, b"hinted")


async def flood_of_hints(scope: Any, receive: Any, send: Any, query: Any) -> None:
    for _ in range(1000):
        await send({"type": "http.response.early_hint", "links": LINKS})
    await start(send)
    await body(send, b"hinted")


async def path(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Sends ``file`` by its path, removes it with ``remove``, and lets no process look into this one with ``hide``."""
    if "hide" in query:
        assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0) == 0
    await start(send, [(b"content-length", query["length"].encode())] if "length" in query else [])
    await send({"type": "http.response.pathsend", "path": query["file"]})
    if "remove" in query:
        os.remove(query["file"])


async def descriptor(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Sends a part of ``file`` between two pieces of body, and closes it at once."""
    part = {name: int(query[name]) for name in ("offset", "count") if name in query}
    await start(send)
    await body(send, b"<", more_body=True)
    with open(query["file"], "rb") as file:
        file.seek(int(query.get("seek", 0)))
        await send({"type": "http.response.zerocopysend", "file": file, "more_body": True, **part})
        place = file.tell()
    await body(send, b">", more_body=True)
    await body(send, str(place).encode())


async def descriptors(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Sends ``file`` many times over."""
    await start(send)
    with open(query["file"], "rb") as file:
        for left in reversed(range(int(query["times"]))):
            await send({"type": "http.response.zerocopysend", "file": file, "offset": 0, "more_body": left > 0})


async def file_response(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Starlette's response, which removes the file as its background task."""
    types = []

    async def noting(message: Any) -> None:
        types.append(message["type"])
        await send(message)

    response = FileResponse(query["file"], background=BackgroundTask(os.remove, query["file"]))
    await response(scope, receive, noting)
    assert types == ["http.response.start", "http.response.pathsend"]


async def ranges(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Starlette's response to a request for a part, or for all."""
    await FileResponse(query["file"])(scope, receive, send)


async def die(scope: Any, receive: Any, send: Any, query: Any) -> None:
    os.kill(os.getpid(), 9)


async def debug(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await send({"type": "http.response.debug", "info": {"template": "a.html"}})
    await start(send)
    await body(send, b"shown")


async def show(scope: Any, receive: Any, send: Any, query: Any) -> None:
    text = repr(scope["extensions"]).encode()
    scope["extensions"].clear()
    await start(send)
    await body(send, text)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    await globals()[scope["path"][1:]](scope, receive, send, query)
