"""An app that pushes: each path does it in its way."""

import asyncio
import json
import os
from typing import Any
from urllib.parse import parse_qs

STYLE = {
    "type": "http.response.push",
    "path": "/style.css?v=1",
    "headers": [(b"Accept", b"text/css"), (b"x-push", b"1")],
}

counts: dict[str, Any] = {}
gates: dict[str, asyncio.Event] = {}


async def start(send: Any, *headers: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})


async def body(send: Any, data: bytes = b"", more_body: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more_body})


async def page(scope: Any, send: Any, query: Any) -> None:
    """Pushes ``before`` the head, after it, or once the body has begun."""
    when = query.get("when", "before")
    if when == "before":
        await send(STYLE)
    await start(send)
    if when == "after":
        await send(STYLE)
    if when == "late":
        await body(send, b"first", True)
        await asyncio.sleep(0.1)  # so that the edge has the piece first
        await send(STYLE)
    await body(send, b"page")


async def style(scope: Any, send: Any, query: Any) -> None:
    """The pushed resource, which shows its own scope."""
    counts["style"] = counts.get("style", 0) + 1
    shown = {
        "method": scope["method"], "path": scope["path"], "query": scope["query_string"].decode(),
        "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
        "scheme": scope["scheme"], "version": scope["http_version"], "client": scope["client"],
        "extensions": sorted(scope["extensions"]), "pid": os.getpid(),
    }
    await start(send, (b"content-type", b"application/json"))
    await body(send, json.dumps(shown).encode())


async def large(scope: Any, send: Any, query: Any) -> None:
    await start(send)
    for _ in range(200):
        await body(send, b"x" * 10_000, True)
    await body(send)


async def waiting(scope: Any, send: Any, query: Any) -> None:
    """Answers once ``/go`` was asked for."""
    counts["waiting"] = counts.get("waiting", 0) + 1
    await gates.setdefault("gate", asyncio.Event()).wait()
    await start(send)
    await body(send, b"waited")


async def at_gate(scope: Any, send: Any, query: Any) -> None:
    """Pushes as soon as ``file`` exists."""
    counts["at_gate"] = counts.get("at_gate", 0) + 1
    while not os.path.exists(query["file"]):
        await asyncio.sleep(0.01)
    await page(scope, send, query)


async def failing(scope: Any, send: Any, query: Any) -> None:
    raise LookupError("in a pushed request")


async def push_of(scope: Any, send: Any, query: Any) -> None:
    """Pushes ``path``, ``count`` times."""
    for _ in range(int(query.get("count", 1))):
        await send({"type": "http.response.push", "path": query["path"], "headers": []})
    await start(send)
    await body(send, b"page")


async def chain(scope: Any, send: Any, query: Any) -> None:
    """Pushes itself, for ever if it could."""
    counts["chain"] = counts.get("chain", 0) + 1
    await send({"type": "http.response.push", "path": "/chain", "headers": []})
    await start(send)
    await body(send, b"link")


async def afterwards(scope: Any, send: Any, query: Any) -> None:
    await start(send)
    await body(send)
    try:
        await send(STYLE)
    except Exception as error:
        counts["afterwards"] = f"{type(error).__name__}: {error}"


async def nonsense(scope: Any, send: Any, query: Any) -> None:
    """Messages that cannot be pushed, and what was raised for each."""
    wrong: list[dict[str, Any]] = [
        {}, {"path": b"/x"}, {"path": "x"}, {"path": "https://other.test/"}, {"path": "/a b"}, {"path": "/a#b"},
        {"path": "/\r\nx: y"}, {"path": "/x", "headers": [(b":path", b"/y")]},
        {"path": "/x", "headers": [(b"host", b"other.test")]}, {"path": "/x", "headers": [(b"content-length", b"1")]},
        {"path": "/x", "headers": [(b"Connection", b"close")]}, {"path": "/x", "headers": [(b"a", b"b\r\nc: d")]},
        {"path": "/x", "headers": [(b"a", b"b" * 20_000)]}, {"path": "/" + "x" * 20_000},
        {"path": "/x", "headers": [1]},
    ]
    raised = []
    for message in wrong:
        try:
            await send({"type": "http.response.push", **message})
            raised.append("")
        except Exception as error:
            raised.append(f"{type(error).__name__}: {error}")
    await start(send)
    await body(send, json.dumps(raised).encode())


async def show(scope: Any, send: Any, query: Any) -> None:
    await start(send)
    await body(send, json.dumps({"counts": counts, "extensions": sorted(scope["extensions"])}).encode())


async def go(scope: Any, send: Any, query: Any) -> None:
    gates.setdefault("gate", asyncio.Event()).set()
    await start(send)
    await body(send)


ROUTES = {
    "/page": page, "/style.css": style, "/large": large, "/waiting": waiting, "/at_gate": at_gate,
    "/failing": failing, "/push": push_of,
    "/chain": chain, "/afterwards": afterwards, "/nonsense": nonsense, "/show": show, "/go": go,
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    await ROUTES[scope["path"]](scope, send, query)
