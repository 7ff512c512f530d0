"""An app whose responses carry the number of their request, and which records what it has run and when.

``/own?n=N`` answers N. ``/wait?n=N&gate=F`` answers N once the file F exists; how many wait for it stands in the file
F.count, so that a worker that takes no more requests can still be asked. ``/block?file=F`` blocks the worker's only
thread from the time at which it writes F until F is removed. ``/ran`` tells which numbers were run, in order.
"""

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

#: The longest that ``/block`` blocks, whatever happens, in seconds.
BLOCK_MAX = 240.0

#: Numbers of the requests that were run, and when they were begun by the clock that all processes share.
ran: list[tuple[str, float]] = []
gates: "dict[str, Gate]" = {}


async def answer(send: Any, body: Any, status: int = 200) -> None:
    body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def own(receive: Any, send: Any, query: Any) -> None:
    ran.append((query["n"], time.monotonic()))
    await answer(send, query["n"])


class Gate:
    """A file that opens it, and how many wait for that."""

    def __init__(self, name: Any) -> None:
        self.file, self.count_file = Path(name), Path(name + ".count")
        self.waiting = 0
        self.opened = asyncio.Event()
        self.watch = asyncio.create_task(self.look())

    async def look(self) -> None:
        while not self.file.exists():
            aside = self.count_file.with_suffix(".new")
            aside.write_text(str(self.waiting))
            aside.replace(self.count_file)
            await asyncio.sleep(0.02)
        self.opened.set()


def gate_of(query: Any) -> Any:
    """The one that the query names."""
    return gates.get(query["gate"]) or gates.setdefault(query["gate"], Gate(query["gate"]))


async def wait(receive: Any, send: Any, query: Any) -> None:
    gate = gate_of(query)
    gate.waiting += 1
    await gate.opened.wait()
    await answer(send, query["n"])


async def show_ran(receive: Any, send: Any, query: Any) -> None:
    await answer(send, ran)


async def upload(receive: Any, send: Any, query: Any) -> Any:
    """Reads the body; answers the number and the body's length."""
    ran.append((query["n"], time.monotonic()))
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        length += len(message["body"])
        if not message["more_body"]:
            return await answer(send, f"{query['n']}: {length}")


async def block(receive: Any, send: Any, query: Any) -> None:
    """Blocks the worker's only thread until the file is removed."""
    file = Path(query["file"])
    file.write_text(str(os.getpid()))
    end = time.monotonic() + BLOCK_MAX
    while file.exists() and time.monotonic() < end:
        time.sleep(0.005)
    await answer(send, "unblocked")


async def work(receive: Any, send: Any, query: Any) -> None:
    """Keeps the worker's only thread busy for some seconds; answers when it began."""
    began = time.monotonic()
    ran.append((query["n"], began))
    time.sleep(float(query["seconds"]))
    await answer(send, {"n": query["n"], "began": began})


async def pid(receive: Any, send: Any, query: Any) -> None:
    await answer(send, str(os.getpid()))


async def nap(receive: Any, send: Any, query: Any) -> None:
    await asyncio.sleep(float(query["seconds"]))
    await answer(send, str(os.getpid()))


ROUTES = {
    "/block": block,
    "/nap": nap,
    "/own": own,
    "/pid": pid,
    "/ran": show_ran,
    "/upload": upload,
    "/wait": wait,
    "/work": work,
}


async def echo(receive: Any, send: Any, query: Any) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


async def give_up(receive: Any, send: Any, query: Any) -> None:
    """Gives up a message that the client does not read, notes that in the file, and returns."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(send({"type": "websocket.send", "bytes": bytes(4 << 20)}), 0.3)
    with open(query["file"], "a") as file:
        file.write("given up\n")


async def deaf(receive: Any, send: Any, query: Any) -> None:
    """Receives nothing, and returns once the gate is opened."""
    await gate_of(query).opened.wait()


async def flood(receive: Any, send: Any, query: Any) -> None:
    """Sends messages without a byte for as long as the client is there."""
    while True:
        await send({"type": "websocket.send", "text": ""})


SOCKETS = {"/echo": echo, "/deaf": deaf, "/flood": flood, "/gives-up": give_up}


async def app(scope: Any, receive: Any, send: Any) -> Any:
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    if scope["type"] == "websocket":
        assert (await receive())["type"] == "websocket.connect"
        if scope["path"] == "/never-accepts":
            assert (await receive())["type"] == "websocket.disconnect"
            return None
        await send({"type": "websocket.accept"})
        return await SOCKETS[scope["path"]](receive, send, query)
    assert scope["type"] == "http"
    return await ROUTES[scope["path"]](receive, send, query)
