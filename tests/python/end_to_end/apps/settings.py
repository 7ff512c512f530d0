"""Apps that tell what their worker has been told, and that take their time."""

import asyncio
import json
import os
import threading
import time
from typing import Any

lifespans = 0


async def answer(send: Any, body: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def app(scope: Any, receive: Any, send: Any) -> None:
    global lifespans
    if scope["type"] == "lifespan":
        lifespans += 1
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"].endswith("/nap"):
        await asyncio.sleep(float(scope["query_string"]))
    try:
        loop = asyncio.get_running_loop()
        kind, debug = type(loop).__module__, loop.get_debug()
    except RuntimeError:
        kind, debug = "trio", None
    client = scope["client"]
    await answer(
        send,
        {
            "client": client and client[0],
            "debug": debug,
            "headers": [name.decode() for name, _ in scope["headers"]],
            "lifespans": lifespans,
            "loop": kind,
            "path": scope["path"],
            "pid": os.getpid(),
            "root_path": scope["root_path"],
            "scheme": scope["scheme"],
            "wrapped": os.environ.get("WRAPPED"),
        },
    )


_lock = threading.Lock()
_now = _most = 0


def threads(environ: Any, start_response: Any) -> Any:
    """Answers with how many requests have been in it at a time, or with the length of the body."""
    global _now, _most
    if environ["PATH_INFO"] == "/length":
        body = str(len(environ["wsgi.input"].read()))
    else:
        with _lock:
            _now += 1
            _most = max(_most, _now)
        time.sleep(0.3)
        with _lock:
            _now -= 1
        body = str(_most)
    start_response("200 OK", [("content-type", "text/plain")])
    return [body.encode()]
