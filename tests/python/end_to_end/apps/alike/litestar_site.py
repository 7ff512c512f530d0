"""The site of ``test_alike.py`` in Litestar."""

import asyncio
import collections
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import sniffio
from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.response import File, Response, ServerSentEvent, Stream

gates: dict[str, asyncio.Event] = collections.defaultdict(asyncio.Event)


@get("/facts")
async def facts(request: Request[Any, Any, Any], q: str) -> dict[str, str]:
    return {
        "library": sniffio.current_async_library(),
        "state": request.app.state.database,
        "query": q,
        "scheme": request.url.scheme,
        "host": request.url.netloc,
        "version": request.scope["http_version"],
    }


@post("/echo", status_code=200)
async def echo(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(await request.body(), media_type="application/octet-stream")


@get("/file")
async def file() -> File:
    return File(os.environ["DATA"])


@get("/stream")
async def stream(count: int) -> Stream:
    async def numbers() -> AsyncIterator[Any]:
        for number in range(count):
            yield f"{number:05}" * 2000
            await asyncio.sleep(0)

    return Stream(numbers(), media_type="text/plain")


@get("/events")
async def events(key: str) -> ServerSentEvent:
    async def numbered() -> AsyncIterator[Any]:
        yield "0"
        await gates[key].wait()
        yield "1"

    return ServerSentEvent(numbered())


@post("/open", status_code=204)
async def open_gate(key: str) -> None:
    gates[key].set()


@get("/raises")
async def raises() -> None:
    raise LookupError("as it was asked to")


@websocket("/socket")
async def socket(socket: WebSocket[Any, Any, Any], q: str) -> None:
    await socket.accept(subprotocols=socket.scope["subprotocols"][0])
    await socket.send_json(
        {"version": socket.scope["http_version"], "query": q, "state": socket.app.state.database}
    )
    while (message := await socket.receive())["type"] == "websocket.receive":
        if message.get("text") == "bye":
            await socket.close(4001, "as you say")
            return
        if (text := message.get("text")) is not None:
            await socket.send_text(text)
        else:
            await socket.send_bytes(message["bytes"] or b"")


@websocket("/denied")
async def denied(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.close()


@contextlib.asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[Any]:
    app.state.database = "open"
    yield


app = Litestar(
    [facts, echo, file, stream, events, open_gate, raises, socket, denied], lifespan=[lifespan]
)
