"""An app that stops in debuggers."""

import bdb
import os
import sys
import time
from typing import Any

import pdb  # noqa: F401  # isort: skip  # so that the first breakpoint() takes no longer than others


class Slow(bdb.Bdb):
    """Holds the program for a while at a line."""

    def user_line(self, frame: Any) -> None:
        time.sleep(float(os.environ["HELD"]))
        self.set_continue()


async def answer(send: Any, body: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    value = "before"
    if scope["path"] == "/breakpoint":
        breakpoint()
    elif scope["path"] == "/held":
        Slow().set_trace()
    elif scope["path"] == "/stdin":
        value = str(sys.stdin.isatty())
    await answer(send, f"{os.getpid()} {value}".encode())


def wsgi(environ: Any, start_response: Any) -> Any:
    value = "before"
    if environ["PATH_INFO"] == "/breakpoint":
        breakpoint()
    start_response("200 OK", [])
    return [f"{os.getpid()} {value}".encode()]
