"""Objects of an app that run its code when they are dropped: that code may use the worker again."""

from __future__ import annotations

import pytest

from worker.conftest import Serve
from worker.fake_edge import ACCEPT, RESPONSE, RESPONSE_WINDOW, request_head

OBJECTS = """
    import sys

    dropped = []

    class Bytes(bytes):
        def __del__(self):
            dropped.append(self.then())

        def then(self):
            return None

    class Text(str):
        def __del__(self):
            dropped.append(None)
"""

ASGI = (
    OBJECTS
    + """
    START = "http.response.start"
    BODY = "http.response.body"

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await globals()[scope["path"][1:]](scope, receive, send)
        elif scope["type"] == "websocket":
            await websocket(scope, receive, send)

    def speaks_again(cls, content, send):
        # What is sent is wrong, so nothing comes of it but the look at the exchange's state.
        def then(self):
            try:
                send({"type": START, "status": 200})
            except Exception as error:
                return type(error).__name__
        return type("Speaks", (cls,), {"then": then})(content)

    async def hello(scope, receive, send):
        await send({"type": START, "status": 200})
        await send({"type": BODY, "body": repr(dropped).encode()})

    async def body(scope, receive, send):
        await send({"type": START, "status": 200})
        size = int(scope["query_string"])
        await send({"type": BODY, "body": speaks_again(Bytes, b"x" * size, send), "more_body": True})
        await send({"type": BODY, "body": speaks_again(Bytes, b"", send)})

    async def head(scope, receive, send):
        for trailers in (False, True):
            name, value = speaks_again(Bytes, b"x-a", send), speaks_again(Bytes, b"1", send)
            if not trailers:
                await send({"type": START, "status": 200, "headers": [[name, value]], "trailers": True})
                await send({"type": BODY})
            else:
                await send({"type": "http.response.trailers", "headers": [(name, value)]})
            del name, value

    async def websocket(scope, receive, send):
        await send({"type": "websocket.accept", "headers": [(Bytes(b"x-a"), Bytes(b"1"))],
                    "subprotocol": Text("chat")})
        await send({"type": "websocket.send", "bytes": speaks_again(Bytes, b"x" * (200 << 10), send)})
        await send({"type": "websocket.send", "text": Text("y" * (200 << 10))})
        await send({"type": "websocket.close", "reason": Text("enough")})
"""
)


@pytest.mark.parametrize("size", [0, 10, 3 * RESPONSE_WINDOW])
def test_the_end_of_a_body_may_use_the_exchange(serve_on: Serve, size: int) -> None:
    link = serve_on(ASGI).link
    assert len(link.fetch(b"/body?%d" % size).body) == size
    assert b"UnexpectedMessageError" in link.fetch(b"/hello").body


def test_a_body_that_waits_when_the_client_goes_may_use_the_exchange(serve_on: Serve) -> None:
    link = serve_on(ASGI).link
    stream = link.get(b"/body?%d" % (3 * RESPONSE_WINDOW))
    link.expect(stream, RESPONSE)
    link.reset(stream)
    assert b"UnexpectedMessageError" in link.fetch(b"/hello").body


def test_the_end_of_fields_and_trailers_may_use_the_exchange(serve_on: Serve) -> None:
    link = serve_on(ASGI).link
    link.get(b"/head")
    assert b"UnexpectedMessageError" in link.fetch(b"/hello").body


def test_the_end_of_a_websockets_messages_may_use_the_exchange(serve_on: Serve) -> None:
    link = serve_on(ASGI).link
    offer = [(b"sec-websocket-protocol", b"chat")]
    stream = link.request(request_head(headers=offer, websocket=True), end=False)
    link.expect(stream, ACCEPT)
    link.credit(stream, 1 << 20)
    link.ping()
    assert b"UnexpectedMessageError" in link.fetch(b"/hello").body


WSGI = (
    OBJECTS
    + """
    def app(environ, start_response):
        return globals()[environ["PATH_INFO"][1:]](environ, start_response)

    def hello(environ, start_response):
        start_response("200 OK", [])
        return [repr(dropped).encode()]

    def body(environ, start_response):
        def then(self):
            try:
                write(b"late")
            except Exception as error:
                return type(error).__name__

        speaks = type("Speaks", (Bytes,), {"then": then})
        write = start_response(Text("200 OK"), [(Text("x-a"), Text("1"))])
        if environ["QUERY_STRING"] == "write":
            write(speaks(b"x" * (200 << 10)))
            return []
        return (speaks(b"x" * size) for size in (10, 200 << 10))
"""
)


@pytest.mark.parametrize("how", [b"write", b"iterate"])
def test_the_end_of_a_wsgi_apps_pieces_may_use_the_response(serve: Serve, how: bytes) -> None:
    link = serve(WSGI, "--wsgi-threads", "2").link
    stream = link.get(b"/body?" + how)
    link.expect(stream, RESPONSE)
    link.reset(stream)
    assert link.fetch(b"/hello").status == 200
