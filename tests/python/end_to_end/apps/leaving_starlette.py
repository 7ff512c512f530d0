"""Apps of Starlette that do not handle clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

notes: dict[str, list[str]] = {}


async def note(request: Any) -> Any:
    return PlainTextResponse("\n".join(notes.get(request.url.query, [])))


async def rows(request: Any) -> Any:
    """An export that never waits."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"1,2,3\n" * 1000
            notes[request.url.query] = ["begun"]

    async def end() -> None:
        notes[request.url.query] = ["ended"]

    return StreamingResponse(endless(), background=BackgroundTask(end))


async def asks_twice(request: Any) -> Any:
    """As a middleware and an endpoint do, each with a request object of its own."""
    await request.body()
    seen = notes.setdefault(request.url.query, ["begun"])
    for name in ("middleware", "endpoint"):
        own = Request(request.scope, request.receive)
        while not await own.is_disconnected():
            await asyncio.sleep(0.01)
        seen.append(name)
    return PlainTextResponse("nobody reads this")


async def upload(request: Any) -> Any:
    notes[request.url.query] = ["begun"]
    return PlainTextResponse(str(len(await request.body())))


async def receives(websocket: Any) -> None:
    await websocket.accept()
    while True:
        notes[websocket.url.query] = [await websocket.receive_text()]


async def sends(websocket: Any) -> None:
    await websocket.accept()
    while True:
        await websocket.send_bytes(b"z" * 65536)


app = Starlette(
    routes=[
        Route("/note", note),
        Route("/rows", rows),
        Route("/asks-twice", asks_twice),
        Route("/upload", upload, methods=["POST"]),
        WebSocketRoute("/receives", receives),
        WebSocketRoute("/sends", sends),
    ]
)
