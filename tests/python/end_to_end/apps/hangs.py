"""An app whose requests hold up their worker, each in a way of its own, and some that only look like it."""

import asyncio
import ctypes
import os
import time
from typing import Any
from urllib.parse import parse_qs


def never_ends_in_the_loop() -> None:
    while True:
        pass


def holds_the_gil() -> None:
    ctypes.PyDLL(None).sleep(60)


def computes(seconds: Any) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(10_000))


async def answer(send: Any, body: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    path = scope["path"]
    if path == "/never-ends":
        never_ends_in_the_loop()
    elif path == "/holds-the-gil":
        holds_the_gil()
    elif path == "/naps":
        if "file" in query:
            open(query["file"], "w").close()
        await asyncio.sleep(float(query["seconds"]))
    elif path == "/computes":
        await asyncio.to_thread(computes, float(query["seconds"]))
    elif path == "/blocks":
        time.sleep(float(query["seconds"]))
    await answer(send, str(os.getpid()).encode())


async def on_trio(scope: Any, receive: Any, send: Any) -> None:
    """The same as far as asyncio has no part in it."""
    assert scope["type"] == "http"
    if scope["path"] == "/never-ends":
        never_ends_in_the_loop()
    await answer(send, str(os.getpid()).encode())


def wsgi(environ: Any, start_response: Any) -> Any:
    """A request that never ends, ones that take their time, and one that waits for its client."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    if environ["PATH_INFO"] == "/never-ends":
        never_ends_in_the_loop()
    if environ["PATH_INFO"] == "/naps":
        time.sleep(float(query["seconds"]))
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/much":
        return (b"x" * 65536 for _ in range(1000))
    return [str(os.getpid()).encode()]
