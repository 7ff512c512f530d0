"""The app of the steady load: answers with its process id, and writes down each request that it begins.

Settings are variables of the environment, so that any server can run it: ``STEADY_BEGUN`` names a folder, in which each
process has a file with a line for each request that it has begun; an import takes ``STEADY_IMPORT`` seconds, a request
``STEADY_NAP`` seconds, and keeps ``STEADY_KEPT`` bytes for ever.
"""

import asyncio
import ctypes
import os
import sys
import time
from typing import Any
from urllib.parse import parse_qs

time.sleep(float(os.environ.get("STEADY_IMPORT", "0")))
NAP = float(os.environ.get("STEADY_NAP", "0.01"))
KEPT = int(os.environ.get("STEADY_KEPT", "0"))
FOLDER = os.environ.get("STEADY_BEGUN")

kept: list[bytes] = []
files: dict[int, int] = {}


def note(number: str) -> None:
    """Writes down that a request was begun. What is written survives the process."""
    if FOLDER is None:
        return
    pid = os.getpid()
    if pid not in files:
        files[pid] = os.open(f"{FOLDER}/{pid}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(files[pid], f"{number}\n".encode())


def misbehave(how: str) -> None:
    """Takes the whole worker away, or blocks it."""
    if how == "kill":
        os.kill(os.getpid(), 9)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "hang":
        time.sleep(60)
    elif how == "hold-the-gil":
        ctypes.PyDLL(None).sleep(60)
    else:
        sys.exit(f"unknown: {how}")


async def http(query: dict[str, str], send: Any) -> None:
    """Every other answer comes in two pieces."""
    body, number = str(os.getpid()).encode(), int(query.get("n", "0"))
    headers = [(b"content-type", b"text/plain")]
    if number % 2:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:1], "more_body": True})
        await asyncio.sleep(NAP)
        await send({"type": "http.response.body", "body": body[1:]})
    else:
        await asyncio.sleep(NAP)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def websocket(receive: Any, send: Any) -> None:
    """Sends each message back behind the process id."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": f"{os.getpid()} {message['text']}"})


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    if "do" in query:
        misbehave(query["do"])
    note(query.get("n", "0"))
    if KEPT:
        kept.append(b"x" * KEPT)
    if scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await http(query, send)
