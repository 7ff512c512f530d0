"""Apps for the trio worker: Starlette on anyio, and Quart-Trio."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import anyio
import anyio.to_thread
import sniffio
import trio
import trio.lowlevel
from quart import request
from quart_trio import QuartTrio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route


class Passing(BaseHTTPMiddleware):
    """Runs the rest of the app in a task group of its own, as this class does."""

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-passed"] = "yes"
        return response


@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[Any]:
    """Has a task group run as long as the app does."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        yield {"library": sniffio.current_async_library()}
        group.cancel_scope.cancel()


async def library(request: Any) -> Any:
    return JSONResponse([request.state.library, sniffio.current_async_library()])


async def echo(request: Any) -> Any:
    return PlainTextResponse(await request.body())


async def thread(request: Any) -> Any:
    return PlainTextResponse(str(await anyio.to_thread.run_sync(sum, [1, 2, 3])))


def in_a_thread(request: Any) -> Any:
    return PlainTextResponse("by a plain function")


async def stream(request: Any) -> Any:
    async def numbers() -> AsyncIterator[Any]:
        for number in range(int(request.query_params["count"])):
            yield f"{number:05}" * 2000
            await trio.lowlevel.checkpoint()

    return StreamingResponse(numbers())


async def disconnected(request: Any) -> Any:
    path = request.query_params["file"]

    async def endless() -> AsyncIterator[Any]:
        try:
            while True:
                yield b"."
        finally:
            with open(path, "w") as out:
                out.write("ended")

    return StreamingResponse(endless())


async def is_disconnected(request: Any) -> Any:
    return PlainTextResponse(str(await request.is_disconnected()))


async def background(request: Any) -> Any:
    async def write(path: Any) -> None:
        await trio.sleep(0.2)
        with open(path, "w") as out:
            out.write("done")

    return PlainTextResponse("later", background=BackgroundTask(write, request.query_params["file"]))


async def raises(request: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        raise LookupError("in a nursery")


ROUTES = [
    Route("/background", background),
    Route("/disconnected", disconnected),
    Route("/echo", echo, methods=["POST"]),
    Route("/is-disconnected", is_disconnected),
    Route("/library", library),
    Route("/plain", in_a_thread),
    Route("/raises", raises),
    Route("/stream", stream),
    Route("/thread", thread),
]
starlette = Starlette(routes=ROUTES, lifespan=lifespan)
starlette_with_middleware = Starlette(routes=ROUTES, lifespan=lifespan, middleware=[Middleware(Passing)])

quart = QuartTrio(__name__)


@quart.before_serving
async def open_database() -> None:
    quart.config["LIBRARY"] = sniffio.current_async_library()


@quart.get("/library")
async def quart_library() -> Any:
    await trio.lowlevel.checkpoint()
    return [quart.config["LIBRARY"], sniffio.current_async_library()]


@quart.post("/echo")
async def quart_echo() -> Any:
    return await request.get_data()


@quart.get("/stream")
async def quart_stream() -> Any:
    count = int(request.args["count"])

    async def numbers() -> AsyncIterator[Any]:
        for number in range(count):
            yield (f"{number:05}" * 2000).encode()
            await trio.lowlevel.checkpoint()

    return numbers(), 200, {"content-type": "text/plain"}


@quart.get("/raises")
async def quart_raises() -> NoReturn:
    raise LookupError("in Quart")
