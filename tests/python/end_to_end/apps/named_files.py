"""An app that leaves files to the server, as ASGI and as WSGI. The query says which fields its response has, and what
comes after its head."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

#: What is done after the response, and so is cut off if the server ends the request too early.
done: list[str] = []


def asked(query: bytes) -> tuple[list[tuple[bytes, bytes]], dict[str, str]]:
    """The fields, and the rest of the query."""
    pairs = parse_qsl(query.decode(), keep_blank_values=True, encoding="latin-1")
    fields = [(name.encode(), value.encode("latin-1")) for name, value in pairs if "-" in name]
    return fields, {name: value for name, value in pairs if "-" not in name}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    fields, rest = asked(scope["query_string"])
    if scope["type"] == "websocket":
        await receive()
        head = {"type": "websocket.http.response.start", "status": 403, "headers": fields}
        await send(head)
        await send({"type": "websocket.http.response.body", "body": b"denied"})
        return
    if scope["path"] == "/done":
        body = ",".join(done).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": int(rest.get("status", 200)), "headers": fields})
    if "fail" in rest:
        raise RuntimeError("after the head")
    if "die" in rest:
        os._exit(1)
    if "path" in rest:
        await send({"type": "http.response.pathsend", "path": rest["path"]})
        return
    for _ in range(int(rest.get("pieces", 0))):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"of the app"})
    done.append(rest.get("name", ""))


def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    fields, rest = asked(environ["QUERY_STRING"].encode())
    if environ["PATH_INFO"] == "/done":
        start_response("200 OK", [])
        return [",".join(done).encode()]
    status = f"{rest.get('status', 200)} Some"
    start_response(status, [(name.decode(), value.decode("latin-1")) for name, value in fields])

    def pieces() -> Iterator[bytes]:
        if "fail" in rest:
            raise RuntimeError("after the head")
        for _ in range(int(rest.get("pieces", 0))):
            yield b"x" * 65536
        yield b"of the app"
        done.append(rest.get("name", ""))

    return pieces()
