"""The app of the soak: every answer carries the number of its request, in a field and in each byte of its body."""

import asyncio
import json
import os
import time
from urllib.parse import parse_qs

from bodies import body, digest

PIECE = 32_768
FILES = os.environ.get("SOAK_FILES", "")
#: Requests and WebSockets that are under way.
under_way = 0
#: Of these, questions for the state.
states = 0


class Gone(Exception):
    """The client has left."""


async def start(send, number, status=200, headers=()):
    fields = [(b"x-number", b"%d" % number), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})


async def answer(send, number, data):
    await start(send, number, headers=[(b"content-length", b"%d" % len(data))])
    await send({"type": "http.response.body", "body": data})


async def pieces_of(receive):
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        yield message["body"]
        if not message["more_body"]:
            return


async def whole(number, size, scope, receive, send, query):
    """In one message."""
    await answer(send, number, body(number, size))


async def stream(number, size, scope, receive, send, query):
    """In pieces, and with no length told."""
    data = body(number, size)
    await start(send, number)
    for at in range(0, size, PIECE):
        await send({"type": "http.response.body", "body": data[at : at + PIECE], "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body"})


async def upload(number, size, scope, receive, send, query):
    """Tells what has come."""
    data = b"".join([piece async for piece in pieces_of(receive)])
    await answer(send, number, f"{number} {len(data)} {digest(data)}".encode())


async def echo(number, size, scope, receive, send, query):
    """Sends back what comes, as it comes."""
    await start(send, number)
    async for piece in pieces_of(receive):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def file(number, size, scope, receive, send, query):
    """Names a file."""
    path = os.path.join(FILES, query["name"])
    if "http.response.pathsend" not in scope.get("extensions", {}):
        with open(path, "rb") as opened:
            return await answer(send, number, opened.read())
    await start(send, number, headers=[(b"content-length", b"%d" % os.stat(path).st_size)])
    await send({"type": "http.response.pathsend", "path": path})


async def nap(number, size, scope, receive, send, query):
    """Waits without blocking."""
    await asyncio.sleep(float(query["seconds"]))
    await answer(send, number, body(number, size))


async def block(number, size, scope, receive, send, query):
    """Blocks the worker's only thread."""
    time.sleep(float(query["seconds"]))
    await answer(send, number, body(number, size))


async def state(number, size, scope, receive, send, query):
    """Requests in flight in this worker, without those that ask for this; answered so slowly that others go to other workers."""
    global states
    states += 1
    await asyncio.sleep(0.5)
    await answer(send, number, json.dumps({"pid": os.getpid(), "under_way": under_way - states}).encode())
    states -= 1


ROUTES = {
    "/block": block,
    "/echo": echo,
    "/file": file,
    "/nap": nap,
    "/state": state,
    "/stream": stream,
    "/upload": upload,
    "/whole": whole,
}


async def socket_echo(number, receive, send, query):
    """Sends each message back."""
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


async def socket_tell(number, receive, send, query):
    """Sends messages that are made of the number and their place, and closes."""
    for place in range(int(query["count"])):
        await send({"type": "websocket.send", "bytes": body(number + place, int(query["size"]))})
        await asyncio.sleep(0)
    await send({"type": "websocket.close", "code": 1000})


SOCKETS = {"/socket-echo": socket_echo, "/socket-tell": socket_tell}


async def app(scope, receive, send):
    global under_way
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    number = int(dict(scope["headers"])[b"x-number"])
    under_way += 1
    try:
        if scope["type"] == "http":
            await ROUTES[scope["path"]](number, int(query.get("size", 0)), scope, receive, send, query)
        else:
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept", "headers": [(b"x-number", b"%d" % number)]})
            await SOCKETS[scope["path"]](number, receive, send, query)
    except (Gone, OSError):
        pass  # the client has left
    finally:
        under_way -= 1
