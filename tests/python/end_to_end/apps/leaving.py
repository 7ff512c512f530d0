"""Apps whose client has left, on asyncio and on trio, for neither is named here."""

from __future__ import annotations

from typing import Any

#: What was seen, by the key of the request.
notes: dict[str, list[str]] = {}

START: Any = {"type": "http.response.start", "status": 200, "headers": []}


async def note(receive: Any, send: Any, key: str) -> None:
    await answer(send, "\n".join(notes.get(key, [])).encode())


async def answer(send: Any, body: bytes) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": body})


async def spin_on_receive(receive: Any, send: Any, key: str) -> None:
    """Never looks at what it is told."""
    while True:
        seen = notes.setdefault(key, [])
        seen.append((await receive())["type"])
        del seen[100:]


async def spin_on_send(receive: Any, send: Any, key: str) -> None:
    """Never asks whether anybody reads."""
    await send(START)
    for count in range(10**9):
        await send({"type": "http.response.body", "body": b"1,2,3\n" * 1000, "more_body": True})
        notes[key] = [str(count)]


async def spin_after_the_response(receive: Any, send: Any, key: str) -> None:
    """Takes no error for an answer."""
    await answer(send, b"whole")
    while True:
        try:
            await send({"type": "http.response.body", "body": b"more"})
        except Exception as error:
            notes[key] = [type(error).__name__]


async def returns_when_told(receive: Any, send: Any, key: str) -> None:
    await send({**START, "headers": [(b"x-begun", b"yes")]})
    await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    notes[key] = ["told"]


async def returns_before_the_response(receive: Any, send: Any, key: str) -> None:
    notes[key] = ["begun"]
    while (await receive())["type"] != "http.disconnect":
        pass
    notes[key].append("told")


async def raises_when_told(receive: Any, send: Any, key: str) -> None:
    await returns_when_told(receive, send, key)
    raise LookupError("a mistake of the app")


async def complete_by_length(receive: Any, send: Any, key: str) -> None:
    """All that was announced was sent, and nobody says that it is the end."""
    await send({**START, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"whole", "more_body": True})


async def short_of_its_length(receive: Any, send: Any, key: str) -> None:
    await send({**START, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def head_only(receive: Any, send: Any, key: str) -> None:
    """No more than the head, of the status that the key names."""
    fields = [] if key in ("204", "304") else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": int(key), "headers": fields})


async def head_for_head(receive: Any, send: Any, key: str) -> None:
    await send({**START, "headers": [(b"content-length", b"1000")]})


# ---- WebSockets ----


async def blind_echo(receive: Any, send: Any, key: str) -> None:
    """Never looks at a message's type."""
    seen = notes.setdefault(key, [])
    await receive()
    await send({"type": "websocket.accept"})
    try:
        while True:
            message = await receive()
            seen.append(message["type"])
            await send({"type": "websocket.send", "text": message.get("text") or ""})
    except OSError as error:
        seen.append(f"{type(error).__name__} {isinstance(error, OSError)}")
        raise


async def only_sends(receive: Any, send: Any, key: str) -> None:
    await send({"type": "websocket.accept"})
    try:
        while True:
            await send({"type": "websocket.send", "bytes": b"z" * 65536})
    except OSError as error:
        notes[key] = [type(error).__name__]
        raise


async def hears_twice(receive: Any, send: Any, key: str) -> None:
    """Asks again after the end."""
    seen = notes.setdefault(key, [])
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        seen.append(message["type"])
        if message["type"] == "websocket.disconnect":
            seen.append(str(message["code"]))


async def answers_late(receive: Any, send: Any, key: str) -> None:
    """Answers each message twice, and keeps quiet until it is told to begin."""
    seen = notes.setdefault(key, [])
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        seen.append(message["text"])
        await send({"type": "websocket.send", "text": "1"})
        await send({"type": "websocket.send", "text": "2"})
    seen.append(f"{message['code']} {message['reason']}")


async def closes_what_is_closed(receive: Any, send: Any, key: str) -> None:
    seen = notes.setdefault(key, [])
    await receive()
    await send({"type": "websocket.accept"})
    seen.append((await receive())["type"])
    await send({"type": "websocket.close"})
    seen.append("closed")


async def closes_behind_what_is_unsent(receive: Any, send: Any, key: str) -> None:
    """Closes although its last message still waits for the client's window."""
    seen = notes.setdefault(key, [])
    await send({"type": "websocket.accept"})
    try:
        while True:
            await send({"type": "websocket.send", "bytes": b"z" * 65536})
            seen.append("sent")
    except OSError:
        seen.append("gone")
    await send({"type": "websocket.close"})
    seen.append("closed")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] in ("http", "websocket"):
        await globals()[scope["path"][1:].replace("-", "_")](receive, send, scope["query_string"].decode())


def version_2(scope: Any) -> Any:
    """The same as an app of ASGI 2."""

    async def instance(receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return instance


def wsgi(environ: Any, start_response: Any) -> Any:
    """An export by way of ``write``, for as long as it is let."""
    write = start_response("200 OK", [])
    while True:
        write(b"1,2,3\n" * 1000)
