"""WebSockets that do what the path says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

notes: dict[str, asyncio.Future[Any]] = {}
progress: dict[str, int] = {}


def note(key: str) -> asyncio.Future[Any]:
    return notes.setdefault(key, asyncio.get_running_loop().create_future())


def describe(value: Any) -> Any:
    """A scope as JSON can hold it, with types that are not JSON's spelled out."""
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, tuple):
        return {"tuple": [describe(item) for item in value]}
    if isinstance(value, list):
        return [describe(item) for item in value]
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    return value


async def echo(scope: Any, receive: Any, send: Any, key: Any) -> None:
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        assert set(message) == {"type", "bytes", "text"}
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})
    if key:
        note(key).set_result(message)


async def show_scope(scope: Any, receive: Any, send: Any, key: Any) -> None:
    await send({"type": "websocket.accept", "headers": [(b"x-seen", b"yes")]})
    shown = {name: describe(value) for name, value in scope.items()}
    await send({"type": "websocket.send", "text": json.dumps(shown)})
    await send({"type": "websocket.close"})
    assert (await receive())["type"] == "websocket.disconnect"


async def choose(scope: Any, receive: Any, send: Any, key: Any) -> None:
    await send({"type": "websocket.accept", "subprotocol": scope["query_string"].decode().partition("&")[0]})
    await send({"type": "websocket.close", "code": 4000, "reason": "chosen"})


async def refuse(scope: Any, receive: Any, send: Any, key: Any) -> None:
    await send({"type": "websocket.close", "code": 4003})
    note(key).set_result(await receive())


async def deny(scope: Any, receive: Any, send: Any, key: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"x-why", b"because")]
    await send({"type": "websocket.http.response.start", "status": 418, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"tea"})


async def deny_slowly(scope: Any, receive: Any, send: Any, key: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
    await asyncio.sleep(2.5)
    await send({"type": "websocket.http.response.body", "body": b"tea"})


async def fail_before(scope: Any, receive: Any, send: Any, key: Any) -> None:
    raise RuntimeError("before accept")


async def fail_after(scope: Any, receive: Any, send: Any, key: Any) -> None:
    await send({"type": "websocket.accept"})
    raise RuntimeError("after accept")


async def leave(scope: Any, receive: Any, send: Any, key: Any) -> None:
    await send({"type": "websocket.accept"})


async def nonsense(scope: Any, receive: Any, send: Any, key: Any) -> None:
    """Each wrong message raises in the app, and leaves the WebSocket as it was."""
    seen = []

    async def wrong(message: Any) -> None:
        try:
            await send(message)
        except Exception as error:  # which one is what the test looks at
            seen.append(type(error).__name__)

    await wrong({"type": "websocket.send", "text": "too early"})
    await wrong({"type": "http.response.start", "status": 200})
    await wrong({"type": "websocket.accept", "subprotocol": "never-offered"})
    await wrong({"type": "websocket.accept", "headers": [(b"sec-websocket-protocol", b"x")]})
    await wrong({"type": "websocket.accept", "headers": [(b"x", b"a\r\nb: c")]})
    await send({"type": "websocket.accept"})
    await wrong({"type": "websocket.accept"})
    await wrong({"type": "websocket.send"})
    await wrong({"type": "websocket.send", "text": b"bytes"})
    await wrong({"type": "websocket.send", "bytes": "text"})
    await wrong({"type": "websocket.close", "code": 1005})
    await wrong({"type": "websocket.close", "code": 99999})
    await send({"type": "websocket.send", "text": json.dumps(seen)})
    await send({"type": "websocket.close"})
    await wrong({"type": "websocket.send", "text": "too late"})
    note(key).set_result(seen[-1])


async def flood(scope: Any, receive: Any, send: Any, key: Any) -> None:
    """Sends for as long as somebody reads."""
    await send({"type": "websocket.accept"})
    piece = bytes(100_000)
    progress[key] = 0
    for _ in range(10_000):
        await send({"type": "websocket.send", "bytes": piece})
        progress[key] += len(piece)


async def slow(scope: Any, receive: Any, send: Any, key: Any) -> None:
    """Takes a message whenever it is told to, and tells what it took."""
    await send({"type": "websocket.accept"})
    await note(key)
    progress[key] = 0
    while (message := await receive())["type"] == "websocket.receive":
        progress[key] += len(message["bytes"])


ROUTES = {
    "/echo": echo,
    "/scope": show_scope,
    "/choose": choose,
    "/refuse": refuse,
    "/deny": deny,
    "/deny-slowly": deny_slowly,
    "/fail-before": fail_before,
    "/fail-after": fail_after,
    "/leave": leave,
    "/nonsense": nonsense,
    "/flood": flood,
    "/slow": slow,
}


async def over_http(scope: Any, receive: Any, send: Any) -> None:
    """Notes, gates and progress, for the test that looks on."""
    path, key = scope["path"], scope["query_string"].decode()
    if path == "/note":
        text = json.dumps(await asyncio.shield(note(key)))
    elif path == "/go":
        note(key).set_result(None)
        text = "gone"
    elif path == "/progress":
        text = str(progress.get(key, -1))
    else:
        text = "hello"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def app(scope: Any, receive: Any, send: Any) -> Any:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    if scope["type"] == "http":
        return await over_http(scope, receive, send)
    assert await receive() == {"type": "websocket.connect"}
    await ROUTES[scope["path"]](scope, receive, send, scope["query_string"].decode())
