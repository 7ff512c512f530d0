"""The same few behaviours in the frameworks that people use."""

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any, NoReturn

from fastapi import BackgroundTasks, Depends, FastAPI, File, HTTPException, Request, UploadFile
from fastapi.responses import StreamingResponse
from flask import Flask, send_file
from flask import request as flask_request
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

current = contextvars.ContextVar("current", default="nobody")


# ---- FastAPI ----

@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[Any]:
    """Leaves something in the state."""
    yield {"database": "open"}


fastapi = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float


def in_a_thread() -> bool:
    """A synchronous dependency, which Starlette runs in a thread."""
    return threading.current_thread() is not threading.main_thread()


@fastapi.get("/state")
async def state(request: Request) -> Any:
    return {"database": request.state.database, "http_version": request.scope["http_version"]}


@fastapi.post("/items/{number}")
async def create(number: int, item: Item, threaded: bool = Depends(in_a_thread)) -> Any:
    return {"number": number, "name": item.name, "price": item.price, "threaded": threaded}


@fastapi.get("/sync")
def synchronous() -> Any:
    return {"thread": threading.current_thread() is threading.main_thread()}


@fastapi.post("/file")
async def upload(file: Annotated[UploadFile, File()]) -> Any:
    return {"name": file.filename, "size": len(await file.read())}


@fastapi.get("/missing")
async def missing() -> None:
    raise HTTPException(404, "not here")


@fastapi.get("/stream")
async def stream() -> Any:
    async def numbers() -> AsyncIterator[Any]:
        for number in range(5):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(numbers(), media_type="text/plain")


@fastapi.get("/tasks")
async def tasks(file: str, background: BackgroundTasks) -> Any:
    def write() -> None:
        with open(file, "w") as out:
            out.write("done")

    background.add_task(write)
    return {"accepted": True}


@fastapi.get("/loop")
async def loop() -> Any:
    return type(asyncio.get_running_loop()).__module__


@fastapi.get("/raises")
async def raises() -> None:
    raise RuntimeError("in FastAPI")


# ---- Starlette ----

class Named(BaseHTTPMiddleware):
    """Names the request for all that runs below it."""

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        token = current.set(request.query_params.get("name", "nobody"))
        try:
            response = await call_next(request)
        finally:
            current.reset(token)
        response.headers["x-named"] = "yes"
        return response


async def who(request: Any) -> Any:
    before = current.get()
    await asyncio.sleep(0.01)
    inner = await asyncio.create_task(asyncio.sleep(0, current.get()))
    in_thread = await asyncio.to_thread(current.get)
    return JSONResponse([before, current.get(), inner, in_thread])


async def leak(request: Any) -> Any:
    """Sets the variable and does not take it back."""
    before = current.get()
    current.set("leaked")
    return PlainTextResponse(before)


async def background(request: Any) -> Any:
    async def write(path: Any) -> None:
        while not os.path.exists(path + ".go"):
            await asyncio.sleep(0.01)
        with open(path, "w") as out:
            out.write("done")

    return PlainTextResponse("later", background=BackgroundTask(write, request.query_params["file"]))


async def large(request: Any) -> Any:
    return PlainTextResponse("x" * 100_000)


async def disconnected(request: Any) -> Any:
    """Streams until Starlette notices that the client has gone."""
    path = request.query_params["file"]

    async def endless() -> AsyncIterator[Any]:
        try:
            while True:
                yield b"."
                await asyncio.sleep(0.01)
        finally:
            with open(path, "w") as out:
                out.write("ended")

    return StreamingResponse(endless())


async def is_disconnected(request: Any) -> Any:
    return PlainTextResponse(str(await request.is_disconnected()))


starlette = Starlette(
    routes=[
        Route("/background", background),
        Route("/disconnected", disconnected),
        Route("/is-disconnected", is_disconnected),
        Route("/large", large),
        Route("/leak", leak),
        Route("/who", who),
    ],
)
starlette_with_middleware = Starlette(
    routes=starlette.routes, middleware=[Middleware(Named), Middleware(GZipMiddleware)]
)


# ---- Flask ----

flask = Flask(__name__)


@flask.get("/")
def index() -> Any:
    return {
        "worker": os.getpid(),
        "main_thread": threading.current_thread() is threading.main_thread(),
        "query": flask_request.args.get("q"),
        "protocol": flask_request.environ["SERVER_PROTOCOL"],
        "scheme": flask_request.scheme,
        "host": flask_request.host,
        "remote": flask_request.remote_addr,
    }


@flask.post("/echo")
def echo() -> Any:
    return flask_request.get_data(), {"content-type": "application/octet-stream"}


@flask.post("/form")
def form() -> Any:
    return {"field": flask_request.form["field"], "file": len(flask_request.files["file"].read())}


@flask.get("/stream")
def stream_flask() -> Any:
    return flask.response_class((f"{number}\n" for number in range(5)), mimetype="text/plain")


@flask.get("/nothing")
def nothing() -> Any:
    return "", 204


@flask.get("/file")
def file_flask() -> Any:
    return send_file(os.environ["DATA"])


@flask.get("/redirect")
def redirect() -> Any:
    return "", 302, {"location": "/"}


@flask.get("/raises")
def raises_flask() -> NoReturn:
    raise RuntimeError("in Flask")
