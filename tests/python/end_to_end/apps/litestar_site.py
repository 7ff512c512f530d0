"""The same few behaviours in Litestar."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from litestar import Litestar, Request, get, post
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import NotFoundException
from litestar.response import File, Response, Stream


@dataclass
class Item:
    """What is posted."""

    name: str
    price: float


@get("/facts")
async def facts(request: Request[Any, Any, Any]) -> dict[str, str | None]:
    return {
        "state": request.app.state.database,
        "query": request.query_params.get("q"),
        "scheme": request.url.scheme,
        "version": request.scope["http_version"],
    }


@post("/items/{number:int}")
async def create(number: int, data: Item) -> dict[str, object]:
    return {"number": number, "name": data.name, "price": data.price}


@post("/echo")
async def echo(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(await request.body(), media_type="application/octet-stream")


@get("/sync", sync_to_thread=True)
def synchronous() -> str:
    return "by a plain function"


@get("/stream")
async def stream() -> Stream:
    async def numbers() -> AsyncIterator[Any]:
        for number in range(5):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return Stream(numbers())


@get("/file")
async def file(path: str) -> File:
    return File(path, filename="data.bin")


@get("/task")
async def task(path: str) -> Response[str]:
    async def write() -> None:
        with open(path, "w") as out:
            out.write("done")

    return Response("accepted", background=BackgroundTask(write))


@get("/missing")
async def missing() -> None:
    raise NotFoundException("not here")


@get("/raises")
async def raises() -> None:
    raise RuntimeError("in Litestar")


@contextlib.asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[Any]:
    app.state.database = "open"
    yield


app = Litestar(
    [facts, create, echo, synchronous, stream, file, task, missing, raises], lifespan=[lifespan]
)
