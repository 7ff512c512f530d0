"""The ASGI app of most tests, without a framework: each path is a behaviour.

A test and a request under way meet through *notes*: ``/note?key=K`` answers when somebody has written the note K, and
``/go?key=K`` opens the gate K that a request waits at. Both live in one worker.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

notes: dict[str, asyncio.Future[bytes]] = {}
gates: dict[str, asyncio.Event] = {}
progress: dict[str, int] = {}
events: list[Any] = []


def note(key: Any) -> Any:
    """The future of a note."""
    return notes.setdefault(key, asyncio.get_running_loop().create_future())


def write_note(key: Any, value: Any) -> None:
    """Writes a note, once."""
    if not note(key).done():
        note(key).set_result(value)


def gate(key: Any) -> Any:
    """The gate of that name, closed at first."""
    return gates.setdefault(key, asyncio.Event())


async def start(send: Any, status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def answer(send: Any, body: Any, status: int = 200, headers: Any = ()) -> None:
    """A whole response."""
    if not isinstance(body, bytes):
        body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    await start(send, status, [(b"content-length", str(len(body)).encode()), *headers])
    await send({"type": "http.response.body", "body": body})


async def pieces_of(receive: Any) -> AsyncIterator[Any]:
    """The request's body, piece by piece."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client is gone")
        yield message["body"]
        if not message["more_body"]:
            return


async def hello(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await answer(send, "hello", headers=[(b"content-type", b"text/plain")])


async def arguments(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """The command line of the worker, which the system does not show."""
    await answer(send, sys.orig_argv)


async def pid(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await answer(send, str(os.getpid()))


async def show_scope(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await answer(send, repr(scope))


async def change_state(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Writes into its own state, and shows what it had been given."""
    before = repr(scope["state"])
    scope["state"]["request"] = query["value"]
    scope["state"]["shared"].append(query["value"])
    await answer(send, before)


async def messages(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """The messages that carry the body, and the first one after it."""
    got: list[Any] = []
    while not got or got[-1].get("more_body"):
        got.append(await receive())
    await answer(send, repr(got))
    write_note(query["key"], repr(await receive()))


async def echo(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Sends each piece of the body back as it comes."""
    await start(send)
    async for piece in pieces_of(receive):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def digest(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Reads the body; with ``gate`` only so many ``pieces`` before the gate is opened."""
    sha, length, count = hashlib.sha256(), 0, 0
    async for piece in pieces_of(receive):
        sha.update(piece)
        length += len(piece)
        count += 1
        if "gate" in query:
            progress[query["gate"]] = length
            if count == int(query["pieces"]):
                write_note(query["gate"], length)
                await gate(query["gate"]).wait()
    await answer(send, {"sha256": sha.hexdigest(), "bytes": length})


async def events_by_gate(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """An event stream of two events; the second when the gate is opened."""
    await start(send, headers=[(b"content-type", b"text/event-stream")])
    await send({"type": "http.response.body", "body": b"data: 0\n\n", "more_body": True})
    await gate(query["key"]).wait()
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await send({"type": "http.response.body"})


async def head_first(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Sends a head, and the rest when the gate is opened."""
    await start(send, 202, [(b"x-early", b"yes")])
    await gate(query["key"]).wait()
    await send({"type": "http.response.body", "body": b"late"})


async def download(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Sends ``size`` bytes of the value ``byte`` and keeps count of them."""
    left, piece = int(query["size"]), bytes([int(query.get("byte", 0))]) * int(query.get("piece", 65536))
    key = query.get("key", "download")
    progress[key] = 0
    await start(send, headers=[(b"content-length", str(left).encode())] if "length" in query else [])
    while left:
        await send({"type": "http.response.body", "body": piece[:left], "more_body": True})
        sent = min(left, len(piece))
        left -= sent
        progress[key] += sent
    await send({"type": "http.response.body"})
    write_note(key, "sent")


async def show_progress(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await answer(send, progress.get(query["key"], -1))


async def read_note(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await answer(send, await asyncio.shield(note(query["key"])))


async def go(scope: Any, receive: Any, send: Any, query: Any) -> None:
    gate(query["key"]).set()
    await answer(send, "gone")


async def until_disconnect(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Answers nothing, or with ``start`` a first piece, and notes how the client's going is told."""
    if "start" in query:
        await start(send)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
    write_note(query["key"] + "-begun", "begun")
    while (message := await receive())["type"] != "http.disconnect":
        pass
    write_note(query["key"] + "-told", repr(message))
    after = await receive()
    await send({"type": "http.response.body", "body": b"nobody"} if "start" in query else {
        "type": "http.response.start", "status": 200, "headers": []})
    write_note(query["key"], repr([message, after]))


async def until_cancelled(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Answers nothing, or with ``start`` a first piece, and notes that its task is cancelled."""
    if "start" in query:
        await start(send)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
    write_note(query["key"] + "-begun", "begun")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        write_note(query["key"], "cancelled")
        raise


async def unread(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Answers without a look at the body; with ``key`` after the gate is opened."""
    if "key" in query:
        write_note(query["key"], "begun")
        await gate(query["key"]).wait()
    await answer(send, "early", status=int(query.get("status", 200)))


async def wait_at_gate(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Answers when the gate is opened."""
    write_note(query["key"] + "-begun", "begun")
    await gate(query["key"]).wait()
    await answer(send, "through")


async def forever(scope: Any, receive: Any, send: Any, query: Any) -> None:
    write_note(query.get("key", "forever"), "begun")
    try:
        await asyncio.Event().wait()
    finally:
        print("forever has ended", file=sys.stderr, flush=True)


async def status(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """A bare status, with a body that may not belong there."""
    await start(send, int(query["status"]), [(b"x-status", b"yes")])
    await send({"type": "http.response.body", "body": query.get("body", "").encode()})


async def block(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Blocks the worker's only thread until the file that it writes is removed."""
    file = Path(query["file"])
    file.write_text(str(os.getpid()))
    end = time.monotonic() + 60
    while file.exists() and time.monotonic() < end:
        time.sleep(0.005)
    await answer(send, str(os.getpid()))


async def nap(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Answers after so many seconds; a file shows that it has begun."""
    if "file" in query:
        Path(query["file"]).touch()
    await asyncio.sleep(float(query["seconds"]))
    await answer(send, str(os.getpid()))


async def die(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Takes the whole worker away in the middle of the request."""
    if "start" in query:
        await start(send)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await gate(query["key"]).wait()
    os.kill(os.getpid(), 9)


class Teapot(Exception):
    """An error of the app's own."""


async def fail(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Raises, before or after what."""
    after = query["after"]
    if after != "nothing":
        await start(send, headers=[(b"content-length", b"10")] if after == "length" else [])
    if after in ("body", "length"):
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
    if after == "all":
        await send({"type": "http.response.body", "body": b"whole"})
    if "key" in query:
        await gate(query["key"]).wait()
    if "exit" in query:
        sys.exit(3)
    raise Teapot("short and stout")


async def leave(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Returns too early."""
    if query["after"] != "nothing":
        await start(send)
    if query["after"] == "body":
        await send({"type": "http.response.body", "body": b"first", "more_body": True})


START = {"type": "http.response.start", "status": 200, "headers": []}
NONSENSE: dict[str, list[Any]] = {
    "status-string": [{**START, "status": "200"}],
    "status-small": [{**START, "status": 99}],
    "status-large": [{**START, "status": 1000}],
    "status-missing": [{"type": "http.response.start"}],
    "header-str": [{**START, "headers": [("x-a", "b")]}],
    "header-crlf": [{**START, "headers": [(b"x-a", b"b\r\nset-cookie: c")]}],
    "header-nul": [{**START, "headers": [(b"x-a", b"\0")]}],
    "header-name": [{**START, "headers": [(b"x a", b"b")]}],
    "header-name-crlf": [{**START, "headers": [(b"x-a: b\r\nc", b"b")]}],
    "header-pseudo": [{**START, "headers": [(b":status", b"204")]}],
    "header-short": [{**START, "headers": [(b"x-a",)]}],
    "headers-large": [{**START, "headers": [(b"x-a", b"b" * (1 << 20))]}],
    "body-first": [{"type": "http.response.body", "body": b"x"}],
    "body-str": [START, {"type": "http.response.body", "body": "x"}],
    "twice": [START, START],
    "unknown": [{"type": "http.response.nonsense"}],
    "no-type": [{"status": 200}],
    "no-dict": [5],
    "long": [
        {**START, "headers": [(b"content-length", b"3")]},
        {"type": "http.response.body", "body": b"four"},
    ],
    "long-later": [
        {**START, "headers": [(b"content-length", b"5")]},
        {"type": "http.response.body", "body": b"two", "more_body": True},
        {"type": "http.response.body", "body": b"more"},
    ],
    "short": [
        {**START, "headers": [(b"content-length", b"10")]},
        {"type": "http.response.body", "body": b"short"},
    ],
    "after-end": [START, {"type": "http.response.body", "body": b"x"}, {"type": "http.response.body", "body": b"y"}],
}


async def nonsense(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Sends what may not be sent, and notes what is raised for it."""
    try:
        for message in NONSENSE[query["kind"]]:
            await send(message)
    except Exception as error:
        write_note(query["key"], [type(error).__name__, str(error)])
        raise
    write_note(query["key"], None)


async def recovers(scope: Any, receive: Any, send: Any, query: Any) -> None:
    """Sends nonsense, and then what is right."""
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b\r\nc")]})
    except Exception:
        await answer(send, "recovered")


async def app_headers(scope: Any, receive: Any, send: Any, query: Any) -> None:
    await answer(send, "x", headers=[(b"X-Mixed", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"),
                                     (b"server", b"mine"), (b"date", b"today")])


ROUTES = {
    "/": hello,
    "/app-headers": app_headers,
    "/arguments": arguments,
    "/block": block,
    "/change-state": change_state,
    "/die": die,
    "/digest": digest,
    "/download": download,
    "/echo": echo,
    "/events": events_by_gate,
    "/fail": fail,
    "/forever": forever,
    "/gate": wait_at_gate,
    "/go": go,
    "/head-first": head_first,
    "/leave": leave,
    "/messages": messages,
    "/nap": nap,
    "/nonsense": nonsense,
    "/note": read_note,
    "/pid": pid,
    "/progress": show_progress,
    "/recovers": recovers,
    "/status": status,
    "/unread": unread,
    "/until-cancelled": until_cancelled,
    "/until-disconnect": until_disconnect,
}


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["started"] = os.getpid()
            scope["state"]["shared"] = []
            await send({"type": "lifespan.startup.complete"})
        else:
            print("lifespan.shutdown was seen", file=sys.stderr, flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return


async def app(scope: Any, receive: Any, send: Any) -> Any:
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    behaviour = show_scope if scope["path"].startswith("/scope") else ROUTES.get(scope["path"])
    if behaviour is None:
        return await answer(send, "no such behaviour", status=404)
    await behaviour(scope, receive, send, query)
