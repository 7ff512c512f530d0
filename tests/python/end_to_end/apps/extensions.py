"""An app for ASGI's HTTP extensions: each path uses one."""

from urllib.parse import parse_qs

LINKS = [b"</style.css>; rel=preload; as=style", b"</app.js>; rel=preload; as=script"]


async def start(send, headers=(), **more):
    await send({"type": "http.response.start", "status": 200, "headers": list(headers), **more})


async def body(send, data=b"", more_body=False):
    await send({"type": "http.response.body", "body": data, "more_body": more_body})


async def trailers(scope, receive, send, query):
    """A body in ``pieces`` of ``size`` bytes, and trailers after it."""
    headers = [(b"content-length", query["length"].encode())] if "length" in query else []
    await start(send, headers, trailers=True)
    pieces, size = int(query.get("pieces", 1)), int(query.get("size", 5))
    for left in reversed(range(pieces)):
        await body(send, b"x" * size, more_body=left > 0)
    await send({"type": "http.response.trailers", "headers": [(b"X-First", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-second", b"2"), (b"x-second", b"3")]})


async def trailers_alone(scope, receive, send, query):
    await start(send, trailers=True)
    await body(send)
    await send({"type": "http.response.trailers", "headers": [(b"x-only", b"1")]})


async def trailers_empty(scope, receive, send, query):
    await start(send, trailers=True)
    await body(send, b"body")
    await send({"type": "http.response.trailers"})


async def trailers_forgotten(scope, receive, send, query):
    await start(send, trailers=True)
    await body(send, b"body")


async def hints(scope, receive, send, query):
    for link in LINKS[: int(query.get("count", 1))]:
        await send({"type": "http.response.early_hint", "links": [link]})
    await start(send)
    await body(send, b"hinted")


async def flood_of_hints(scope, receive, send, query):
    for _ in range(1000):
        await send({"type": "http.response.early_hint", "links": LINKS})
    await start(send)
    await body(send, b"hinted")


async def debug(scope, receive, send, query):
    await send({"type": "http.response.debug", "info": {"template": "a.html"}})
    await start(send)
    await body(send, b"shown")


async def show(scope, receive, send, query):
    text = repr(scope["extensions"]).encode()
    scope["extensions"].clear()
    await start(send)
    await body(send, text)


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    await globals()[scope["path"][1:]](scope, receive, send, query)
