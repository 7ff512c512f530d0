"""The site of ``test_alike.py`` in Starlette and FastAPI, by anyio on asyncio as well as on trio."""

import collections
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import sniffio
from fastapi import FastAPI, Request, WebSocket
from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

gates: dict[str, anyio.Event] = collections.defaultdict(anyio.Event)


@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[Any]:
    yield {"database": "open"}


async def facts(request: Request) -> Any:
    return JSONResponse(
        {
            "library": sniffio.current_async_library(),
            "state": request.state.database,
            "query": request.query_params["q"],
            "scheme": request.url.scheme,
            "host": request.url.netloc,
            "version": request.scope["http_version"],
        }
    )


async def echo(request: Request) -> Any:
    return Response(await request.body(), media_type="application/octet-stream")


async def file(request: Request) -> Any:
    return FileResponse(os.environ["DATA"])


async def stream(request: Request) -> Any:
    async def numbers() -> AsyncIterator[Any]:
        for number in range(int(request.query_params["count"])):
            yield f"{number:05}" * 2000
            await anyio.lowlevel.checkpoint()

    return StreamingResponse(numbers(), media_type="text/plain")


async def events(request: Request) -> Any:
    gate = gates[request.query_params["key"]]

    async def numbered() -> AsyncIterator[Any]:
        yield "data: 0\n\n"
        await gate.wait()
        yield "data: 1\n\n"

    return StreamingResponse(numbered(), media_type="text/event-stream")


async def open_gate(request: Request) -> Any:
    gates[request.query_params["key"]].set()
    return Response(status_code=204)


async def raises(request: Request) -> None:
    raise LookupError("as it was asked to")


async def socket(websocket: WebSocket) -> Any:
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
    await websocket.send_json(
        {
            "version": websocket.scope["http_version"],
            "query": websocket.query_params["q"],
            "state": websocket.state.database,
        }
    )
    while (message := await websocket.receive())["type"] == "websocket.receive":
        if message.get("text") == "bye":
            return await websocket.close(4001, "as you say")
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])


async def denied(websocket: WebSocket) -> None:
    await websocket.close()


static = StaticFiles(directory=os.path.dirname(os.environ["DATA"]))
GET = {"/facts": facts, "/file": file, "/stream": stream, "/events": events, "/raises": raises}
POST = {"/echo": echo, "/open": open_gate}
SOCKETS = {"/socket": socket, "/denied": denied}

starlette = Starlette(
    routes=[
        *(Route(path, handler) for path, handler in GET.items()),
        *(Route(path, handler, methods=["POST"]) for path, handler in POST.items()),
        *(WebSocketRoute(path, handler) for path, handler in SOCKETS.items()),
        Mount("/static", static),
    ],
    lifespan=lifespan,
)

fastapi = FastAPI(lifespan=lifespan)
for path, handler in GET.items():
    fastapi.get(path)(handler)
for path, handler in POST.items():
    fastapi.post(path)(handler)
for path, socket_handler in SOCKETS.items():
    fastapi.websocket(path)(socket_handler)
fastapi.mount("/static", static)
