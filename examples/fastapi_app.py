"""A FastAPI app: JSON, path parameters, a page with a WebSocket and an event stream, echo, and an upload that is counted.

make run, then open https://localhost:8443/page in a browser, or for instance
    curl --cacert certs/cert.pem https://localhost:8443/items/7?q=tea
    curl --cacert certs/cert.pem -N https://localhost:8443/stream
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import FileResponse, StreamingResponse

app = FastAPI(title="hcrs example")


@app.get("/")
async def index(request: Request) -> dict[str, Any]:
    """How the request came in, and which worker answers it."""
    return {
        "message": "Hello from hcrs",
        "http_version": request.scope["http_version"],
        "scheme": request.url.scheme,
        "worker": os.getpid(),
    }


@app.get("/items/{item_id}")
async def item(item_id: int, q: str | None = None) -> dict[str, Any]:
    """A path parameter that has to be a number, and a query parameter."""
    return {"item_id": item_id, "q": q}


@app.get("/page")
async def page() -> FileResponse:
    """A page that opens the WebSocket and the event stream below, and shows what they say."""
    return FileResponse(Path(__file__).with_name("page.html"))


@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    """Returns each message, with the version of HTTP that the WebSocket uses."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{text} by HTTP/{websocket.scope['http_version']}")


@app.get("/stream")
async def stream(count: int = 5, interval: float = 1.0) -> StreamingResponse:
    """Server-sent events, one for each interval."""

    async def events() -> AsyncIterator[str]:
        for number in range(min(count, 1000)):
            if number:
                await asyncio.sleep(min(max(interval, 0.0), 60.0))
            yield f"data: {number}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


@app.post("/echo")
async def echo(request: Request) -> Response:
    """Returns the body unchanged."""
    content_type = request.headers.get("content-type", "application/octet-stream")
    return Response(await request.body(), media_type=content_type)


@app.post("/upload")
async def upload(request: Request) -> dict[str, int]:
    """Counts the bytes of a body of any size, in memory for one piece."""
    length = 0
    async for piece in request.stream():
        length += len(piece)
    return {"bytes": length}


@app.get("/bytes/{length}")
async def download(length: int) -> Response:
    """As many zero bytes as asked for, up to a gibibyte."""
    piece = bytes(64 * 1024)
    if not 0 <= length <= 1 << 30:
        return Response(status_code=400)

    async def pieces() -> AsyncIterator[bytes]:
        left = length
        while left:
            yield piece[:left]
            left -= min(left, len(piece))

    headers = {"content-length": str(length)}
    return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)
