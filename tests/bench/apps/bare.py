"""The ASGI app with no framework: what is left in a measurement is the server.

Paths: `/` 12 bytes of text; `/down` 4 MiB in 64 KiB messages, as a file response sends them;
`/whole` the same in one message; `/up` reads the whole body and says how long it was;
`/fast` 200 at once; `/block` and `/wait` 202 after 100 ms, holding the event loop or not.
"""

import asyncio
import time

PIECE = b"\xa5" * 65536
PIECES = 64
WHOLE = PIECE * PIECES
SLOW_S = 0.1

TEXT = [(b"content-type", b"text/plain"), (b"content-length", b"12")]
BINARY = [
    (b"content-type", b"application/octet-stream"),
    (b"content-length", str(len(WHOLE)).encode()),
]

HELLO_START = {"type": "http.response.start", "status": 200, "headers": TEXT}
SLOW_START = {"type": "http.response.start", "status": 202, "headers": TEXT}
BINARY_START = {"type": "http.response.start", "status": 200, "headers": BINARY}
HELLO_BODY = {"type": "http.response.body", "body": b"Hello, world"}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    path = scope["path"]
    if path == "/" or path == "/fast":
        await send(HELLO_START)
        await send(HELLO_BODY)
    else:
        await ROUTES[path](receive, send)


async def down(receive, send):
    await send(BINARY_START)
    for piece in range(1, PIECES + 1):
        await send({"type": "http.response.body", "body": PIECE, "more_body": piece < PIECES})


async def whole(receive, send):
    await send(BINARY_START)
    await send({"type": "http.response.body", "body": WHOLE})


async def up(receive, send):
    length = 0
    more = True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%12d" % length
    # A short body is a failure that the load generator can see.
    status = 200 if length == len(WHOLE) else 500
    await send({"type": "http.response.start", "status": status, "headers": TEXT})
    await send({"type": "http.response.body", "body": body})


async def block(receive, send):
    time.sleep(SLOW_S)
    await send(SLOW_START)
    await send(HELLO_BODY)


async def wait(receive, send):
    await asyncio.sleep(SLOW_S)
    await send(SLOW_START)
    await send(HELLO_BODY)


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


ROUTES = {"/down": down, "/whole": whole, "/up": up, "/block": block, "/wait": wait}
