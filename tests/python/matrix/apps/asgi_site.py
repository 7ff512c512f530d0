"""The site that stands behind each middleware: one route for each thing that apps do."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from fastapi import BackgroundTasks, FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

#: What apps have noted, by name.
NOTES: dict[str, list[str]] = defaultdict(list)

#: How many pieces an endless response has at most: some 20 s.
LAST_PIECE = 2000


class Endless(StreamingResponse):
    """Goes on until its client leaves, and notes that it has ended."""

    def __init__(self, name: str) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(LAST_PIECE):
                yield b"piece\n" * 200
                await asyncio.sleep(0.01)
            NOTES[name].append("nobody has left")

        super().__init__(pieces(), media_type="text/event-stream")
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            NOTES[self.name].append("ended")


def site() -> FastAPI:
    """A new one."""
    app = FastAPI(openapi_url=None)

    @app.get("/json")
    async def as_json(request: Request) -> JSONResponse:
        facts = {"path": request.url.path, "scheme": request.url.scheme, "query": dict(request.query_params)}
        return JSONResponse(facts, headers={"x-app": "site"})

    @app.get("/sync")
    def in_a_thread() -> str:
        return "from a thread"

    @app.get("/large")
    async def large() -> PlainTextResponse:
        return PlainTextResponse("a line of text\n" * 5000)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(5):
                yield f"piece {number}\n".encode() * 100
                await asyncio.sleep(0)

        return StreamingResponse(pieces(), media_type="text/plain")

    @app.get("/events")
    async def events() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            for number in range(3):
                yield f"id: {number}\ndata: event {number}\n\n"
                await asyncio.sleep(0.01)

        return StreamingResponse(pieces(), media_type="text/event-stream")

    @app.api_route("/file", methods=["GET", "HEAD"])
    async def file() -> FileResponse:
        return FileResponse(__file__, filename="site.txt")

    @app.post("/upload")
    async def upload(file: UploadFile) -> dict[str, Any]:
        body = await file.read()
        return {"name": file.filename, "length": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    @app.post("/form")
    async def form(request: Request) -> dict[str, str]:
        return {name: str(value) for name, value in (await request.form()).items()}

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        body = b"".join([piece async for piece in request.stream()])
        return Response(body, media_type="application/octet-stream")

    @app.get("/error")
    async def error() -> None:
        raise RuntimeError("as it was told to")

    @app.get("/background")
    async def background(name: str, tasks: BackgroundTasks) -> str:
        async def afterwards() -> None:
            await asyncio.sleep(0.01)
            NOTES[name].append("background")

        tasks.add_task(afterwards)
        return "before"

    @app.get("/endless")
    async def endless(name: str) -> StreamingResponse:
        return Endless(name)

    @app.get("/session")
    async def session(request: Request) -> JSONResponse:
        if "session" in request.scope:
            request.session["visits"] = request.session.get("visits", 0) + 1
            return JSONResponse(dict(request.session))
        return JSONResponse({})

    @app.websocket("/ws")
    async def websocket(socket: WebSocket) -> None:
        await socket.accept()
        while (message := await socket.receive())["type"] == "websocket.receive":
            if message.get("text") is not None:
                await socket.send_text(message["text"].upper())
            else:
                await socket.send_bytes(message["bytes"][::-1])
        NOTES[socket.query_params["name"]].append(f"closed {message['code']}")

    return app
