"""An app that fails, with a filter that adds a context variable of the request to what is logged."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

request_id = contextvars.ContextVar("request_id", default="none")


class WithId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = f"{record.msg} (request {request_id.get()})"
        return True


logging.getLogger("hcrs.error").addFilter(WithId())


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    request_id.set(scope["path"])
    if scope["path"] == "/later":
        await receive()
        await asyncio.sleep(0)
    raise RuntimeError("as it was told to")


def wsgi(environ: Any, start_response: Any) -> Any:
    request_id.set(environ["PATH_INFO"])
    raise RuntimeError("as it was told to")


async def on_trio(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    request_id.set(scope["path"])
    await receive()
    raise RuntimeError("as it was told to")
