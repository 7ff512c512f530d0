"""Apps whose answers the query describes, for tests of compression: ``size`` and ``field=name:value``."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

gates: dict[str, asyncio.Semaphore] = {}
progress: dict[str, int] = {}


def text(size: int) -> bytes:
    """JSON that becomes shorter when it is compressed; of a size, the same each time."""
    lines = (f'{{"id": {n}, "name": "item {n * 7919 % 1000}"}},\n' for n in range(size // 20 + 1))
    return "".join(lines).encode()[:size]


def fields_of(query: dict[str, list[str]], length: int) -> list[tuple[str, str]]:
    """The fields of a response, with the length unless ``length`` says otherwise."""
    fields = [("content-type", query.get("type", ["application/json"])[0])]
    announced = query.get("length", [str(length)])[0]
    if announced != "no":
        fields.append(("content-length", announced))
    return [*fields, *((name, value) for name, _, value in (field.partition(":") for field in query.get("field", [])))]


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def noise(send: Any, key: str, size: int) -> None:
    """Sends bytes that do not become shorter, and counts them."""
    fields = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for _ in range(size // 65_536):
        progress[key] = progress.get(key, 0) + 65_536
        await send({"type": "http.response.body", "body": os.urandom(65_536), "more_body": True})
    await send({"type": "http.response.body"})


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    query = parse_qs(scope["query_string"].decode())
    key = query.get("key", [""])[0]
    if scope["path"] == "/go":
        gates.setdefault(key, asyncio.Semaphore(0)).release()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        return
    if scope["path"] == "/progress":
        await answer(send, str(progress.get(key, 0)).encode())
        return
    if scope["path"] == "/noise":
        await noise(send, key, int(query["size"][0]))
        return
    body = text(int(query.get("size", ["5000"])[0]))
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": body.decode()})
        return
    head = [(name.encode(), value.encode()) for name, value in fields_of(query, len(body))]
    if scope["path"] == "/hinted":
        links = [b"</style.css>; rel=preload"]
        await send({"type": "http.response.early_hint", "links": links})
    trailers = scope["path"] == "/trailers"
    start = {"type": "http.response.start", "status": int(query.get("status", ["200"])[0]), "headers": head}
    await send({**start, "trailers": trailers})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body"})
        return
    if scope["path"] == "/events":
        gate = gates.setdefault(key, asyncio.Semaphore(0))
        for number in range(int(query["count"][0])):
            await send({"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True})
            await gate.acquire()
        await send({"type": "http.response.body"})
        return
    piece = int(query.get("piece", ["0"])[0])
    for at in range(0, len(body) if piece else 0, piece or 1):
        await send({"type": "http.response.body", "body": body[at : at + piece], "more_body": True})
    if scope["path"] == "/fails":
        raise RuntimeError("in the middle of the body")
    await send({"type": "http.response.body", "body": b"" if piece else body})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False})


def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
    query = parse_qs(environ["QUERY_STRING"])
    body = text(int(query.get("size", ["5000"])[0]))
    start_response("200 OK", fields_of(query, len(body)))
    piece = int(query.get("piece", [str(len(body))])[0])
    return iter([body[at : at + piece] for at in range(0, len(body), piece)])
