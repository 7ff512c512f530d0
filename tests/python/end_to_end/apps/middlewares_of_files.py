"""Starlette's FileResponse behind middlewares that know the messages of a body alone. The first part of the path says which."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route


class Shout(BaseHTTPMiddleware):
    """Puts the body into upper case."""

    async def dispatch(self, request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Response:
        answer = await call_next(request)
        body = b"".join([piece async for piece in answer.body_iterator])
        return Response(body.upper(), answer.status_code)


class LateHead:
    """Sends the head with the first piece of the body, as middlewares do that compress."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        held: list[Any] = []

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                held.append(message)
                return
            if message["type"] == "http.response.body":
                while held:
                    await send(held.pop())
            await send(message)

        await self.app(scope, receive, sending)


async def source(request: Request) -> FileResponse:
    """This file, by no path of the client's."""
    return FileResponse(Path(__file__), media_type="text/plain")


def behind(*middlewares: Any) -> Any:
    return Starlette(routes=[Route("/", source)], middleware=[Middleware(one) for one in middlewares])


APPS: dict[str, Any] = {"/shout": behind(Shout), "/late": behind(LateHead), "/gzip": behind(GZipMiddleware)}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await APPS[scope["path"]](dict(scope, path="/"), receive, send)
