"""Apps that do wrong: they are told, the edge is told, and nothing else is touched."""

from __future__ import annotations

import pytest

from worker.conftest import Serve
from worker.fake_edge import (
    ACCEPT,
    APP_FAILED,
    BEGUN,
    DATA,
    DONE,
    FREE,
    HEAD_MAX,
    RESPONSE,
    TEXT,
    TRAILERS,
    WITHDRAWN,
    request_head,
    response_head,
)

APP = """
    import asyncio, sys

    START = "http.response.start"
    BODY = "http.response.body"

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"] == "/ok":
            await send({"type": START, "status": 200, "headers": iter([[b" x-a ", b" 1\\t"], (bytearray(b"x-b"), b"2")])})
            await send({"type": BODY, "body": b"ok"})
        elif scope["path"] == "/try":
            code = scope["query_string"].decode().replace("%20", " ")
            told = None
            try:
                await eval(code, {"send": send, "START": START, "BODY": BODY})
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
            await send({"type": START, "status": 200})
            await send({"type": BODY, "body": str(told).encode()})
        else:
            await globals()[scope["path"][1:]](scope, receive, send)

    async def raises(scope, receive, send):
        raise LookupError("before the start")

    async def raises_later(scope, receive, send):
        await asyncio.sleep(0)
        raise LookupError("a turn later")

    async def raises_after_start(scope, receive, send):
        await send({"type": START, "status": 200})
        raise LookupError("after the start")

    async def raises_in_body(scope, receive, send):
        await send({"type": START, "status": 200})
        await send({"type": BODY, "body": b"some", "more_body": True})
        await asyncio.sleep(0)
        raise LookupError("in the body")

    async def raises_after_end(scope, receive, send):
        await send({"type": START, "status": 200})
        await send({"type": BODY, "body": b"whole"})
        raise LookupError("after the end")

    async def returns(scope, receive, send):
        pass

    async def returns_halfway(scope, receive, send):
        await send({"type": START, "status": 200})

    async def exits(scope, receive, send):
        sys.exit(3)

    async def exits_later(scope, receive, send):
        await asyncio.sleep(0)
        sys.exit(3)

    async def interrupts(scope, receive, send):
        raise KeyboardInterrupt

    async def cancels(scope, receive, send):
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    async def twice(scope, receive, send):
        await send({"type": START, "status": 200})
        await send({"type": BODY, "body": b"whole"})
        await send({"type": BODY, "body": b"too much"})
"""


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (b"/raises", "LookupError: before the start"),
        (b"/raises_later", "LookupError: a turn later"),
        (b"/raises_after_start", "LookupError: after the start"),
        (b"/returns", "the app has returned without completing its response"),
        (b"/returns_halfway", "the app has returned without completing its response"),
        (b"/exits", "SystemExit: 3"),
        (b"/exits_later", "SystemExit: 3"),
        (b"/interrupts", "KeyboardInterrupt"),
        (b"/cancels", "CancelledError"),
    ],
)
def test_a_failed_app_resets_its_stream_and_harms_no_other(serve_on: Serve, path: bytes, logged: str) -> None:
    running = serve_on(APP)
    stream = running.link.get(path)
    running.link.expect(stream, APP_FAILED)
    assert running.link.fetch(b"/ok").body == b"ok"
    assert running.drain() == 0
    assert "[ERROR] Error in ASGI Framework" in running.stderr
    assert logged in running.stderr


def test_a_failure_in_the_body_comes_after_what_was_sent(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/raises_in_body")
    running.link.expect(stream, RESPONSE)
    assert running.link.expect(stream, DATA).payload == b"some"
    running.link.expect(stream, APP_FAILED)


def test_a_failure_after_the_response_is_only_logged(serve: Serve) -> None:
    running = serve(APP)
    for path in (b"/raises_after_end", b"/twice"):
        assert running.link.fetch(path).body == b"whole"
    assert running.link.fetch(b"/ok").body == b"ok"
    assert running.drain() == 0
    assert "LookupError: after the end" in running.stderr
    assert "Unexpected message type, http.response.body given the state CLOSED" in running.stderr


def test_an_app_that_cannot_even_be_called_resets_its_stream(serve: Serve) -> None:
    running = serve(
        """
        import inspect

        async def app(scope):
            pass

        async def other(scope, receive, send):
            pass

        app.__signature__ = inspect.signature(other)  # the app says that it can be called
        """
    )
    running.link.expect(running.link.get(), APP_FAILED)
    assert running.drain() == 0
    assert "TypeError" in running.stderr


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("send(None)", "TypeError: an ASGI message must be a dict, not NoneType"),
        ("send({})", "KeyError: \"the ASGI message has no 'type'\""),
        ("send({'type':1})", "TypeError: 'type' must be a str, not int"),
        (
            "send({'type':'http.nonsense'})",
            "UnexpectedMessageError: Unexpected message type, http.nonsense given the state REQUEST",
        ),
        (
            "send({'type':BODY})",
            "UnexpectedMessageError: Unexpected message type, http.response.body given the state REQUEST",
        ),
        ("send({'type':START})", "KeyError: \"'http.response.start' has no 'status'\""),
        ("send({'type':START,'status':'200'})", "TypeError: 'status' must be an int, not str"),
        ("send({'type':START,'status':0})", "ValueError: 'status' must be between 200 and 999, not 0"),
        ("send({'type':START,'status':100})", "ValueError: 'status' must be between 200 and 999, not 100"),
        (
            "send({'type':START,'status':99999})",
            "ValueError: 'status' must be between 200 and 999, not 99999",
        ),
        (
            "send({'type':START,'status':-2**70})",
            "ValueError: 'status' must be between 200 and 999, not -118",
        ),
        (
            "send({'type':START,'status':200,'headers':5})",
            "TypeError: 'headers' must be an iterable of (name, value)",
        ),
        (
            "send({'type':START,'status':200,'headers':[5]})",
            "TypeError: 'headers' must be an iterable of (name, value)",
        ),
        (
            "send({'type':START,'status':200,'headers':[(b'a',)]})",
            "ValueError: each of 'headers' must hold a name and a value",
        ),
        (
            "send({'type':START,'status':200,'headers':[('a',b'')]})",
            "TypeError: a header's name must be bytes, not str",
        ),
        (
            "send({'type':START,'status':200,'headers':[(b'a','b')]})",
            "TypeError: a header's value must be bytes, not str",
        ),
        (
            "send({'type':START,'status':200,'headers':[(b'a%20b',b'')]})",
            'ValueError: header name b"a b" is not a token',
        ),
        (
            "send({'type':START,'status':200,'headers':[(b':status',b'')]})",
            'ValueError: header name b":status" is not',
        ),
        (
            "send({'type':START,'status':200,'headers':[(b'',b'')]})",
            'ValueError: header name b"" is not a token',
        ),
        (
            "send({'type':START,'status':200,'headers':[(b'a',b'b\\r\\nc:d')]})",
            'ValueError: the value of header b"a" holds a line break',
        ),
        (
            "send({'type':START,'status':200,'headers':((b'a',b'\\0c'),)})",
            'ValueError: the value of header b"a" holds',
        ),
        (
            "send({'type':START,'status':200,'headers':[(b'content-length',b'1'),(b'content-length',b'2')]})",
            'ValueError: content-length b"2" is not a number',
        ),
        (
            "send({'type':START,'status':200,'headers':[(b'a',b'x'*2**21)]})",
            "ValueError: the response's headers are larger",
        ),
        (
            "send({'type':START,'status':200,'headers':[(b'a',b'')]*65536})",
            "ValueError: a response has at most 65535 headers",
        ),
        (
            "send({'type':START,'status':200,'headers':((b'a',b'') for _ in range(65536))})",
            "ValueError: a response has at most 65535 headers",
        ),
    ],
)
def test_nonsense_is_refused_in_words_and_the_response_still_possible(
    serve: Serve, code: str, told: str
) -> None:
    running = serve(APP)
    assert running.link.fetch(b"/try?" + code.encode()).body.decode().startswith(told)


def test_the_longest_head_is_sent_and_a_longer_one_is_the_apps_failure(serve: Serve) -> None:
    running = serve(
        """
        async def app(scope, receive, send):
            if scope["type"] == "http":
                length = int(scope["query_string"])
                await send({"type": "http.response.start", "status": 200, "headers": [(b"x-long", b"x" * length)]})
                await send({"type": "http.response.body", "body": b"sent"})
        """
    )
    head = 4 + 6 + len(b"x-long")  # status and number of fields, then the lengths of one, and its name
    longest = running.link.fetch(b"/?%d" % (HEAD_MAX - head))
    assert len(longest[b"x-long"]) == HEAD_MAX - head and longest.body == b"sent"
    running.link.expect(running.link.get(b"/?%d" % (HEAD_MAX - head + 1)), APP_FAILED)
    assert running.link.fetch(b"/?1").body == b"sent"
    assert running.drain() == 0
    assert f"ValueError: the response's headers are larger than {HEAD_MAX} bytes" in running.stderr


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("'text'", "TypeError: 'body' must be bytes, not str"),
        ("5", "TypeError: 'body' must be bytes, not int"),
    ],
)
def test_a_body_that_is_not_bytes_is_refused(serve: Serve, body: str, told: str) -> None:
    running = serve(
        f"""
        async def app(scope, receive, send):
            if scope["type"] == "http":
                await send({{"type": "http.response.start", "status": 200}})
                await send({{"type": "http.response.body", "body": {body}}})
        """
    )
    running.link.expect(running.link.get(), APP_FAILED)
    running.drain()
    assert told in running.stderr


@pytest.mark.parametrize(("length", "told"), [(3, "longer"), (9, "shorter")])
def test_a_body_that_breaks_its_announced_length_is_refused(serve: Serve, length: int, told: str) -> None:
    running = serve(
        f"""
        async def app(scope, receive, send):
            if scope["type"] == "http":
                headers = [(b"content-length", b"{length}")]
                await send({{"type": "http.response.start", "status": 200, "headers": headers}})
                await send({{"type": "http.response.body", "body": b"hello"}})
        """
    )
    running.link.expect(running.link.get(), APP_FAILED)
    assert running.link.response(running.link.request(request_head(b"HEAD"))).body == b"hello"
    running.drain()
    assert f"the response's body is {told} than its content-length" in running.stderr


def test_header_iterables_are_stripped_and_taken_in_any_form(serve: Serve) -> None:
    assert serve(APP).link.fetch(b"/ok").headers == [(b"x-a", b"1"), (b"x-b", b"2")]


MANY = """
    HEADERS = [(b"a", b"")] * 65535
    TRAILERS = "http.response.trailers"

    async def app(scope, receive, send):
        if scope["type"] == "http":
            if scope["path"] == "/trailers":
                await send({"type": "http.response.start", "status": 200, "trailers": True})
                await send({"type": "http.response.body", "body": b""})
                await send({"type": TRAILERS, "headers": HEADERS, "more_trailers": True})
                try:
                    await send({"type": TRAILERS, "headers": [(b"b", b"")]})
                finally:
                    await send({"type": TRAILERS, "headers": []})
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await send({"type": "http.response.body", "body": b"all of them"})
        elif scope["type"] == "websocket":
            try:
                await send({"type": "websocket.accept", "headers": HEADERS, "subprotocol": "chat"})
            except ValueError as error:
                refused = str(error)
            await send({"type": "websocket.accept", "headers": HEADERS[1:], "subprotocol": "chat"})
            await send({"type": "websocket.send", "text": refused})
            await send({"type": "websocket.close"})
"""


def test_as_many_headers_as_the_link_can_count_are_sent_and_not_one_more(serve: Serve) -> None:
    running = serve(MANY)
    response = running.link.fetch()
    assert (len(response.headers), response.body) == (65535, b"all of them")
    offer = [(b"sec-websocket-protocol", b"chat")]
    stream = running.link.request(request_head(headers=offer, websocket=True), end=False)
    accepted = response_head(running.link.expect(stream, ACCEPT).payload)
    assert (accepted.status, len(accepted.headers), accepted[b"sec-websocket-protocol"]) == (101, 65535, b"chat")
    refused = running.link.expect(stream, TEXT)
    assert refused.payload == b"a response has at most 65535 headers, including a WebSocket's subprotocol"


def test_as_many_trailers_as_the_link_can_count_are_sent_and_not_one_more(serve: Serve) -> None:
    running = serve(MANY)
    stream = running.link.get(b"/trailers")
    running.link.expect(stream, RESPONSE)
    assert len(response_head(running.link.expect(stream, TRAILERS).payload).headers) == 65535
    assert running.drain() == 0
    assert "ValueError: a response has at most 65535 headers" in running.stderr


def test_a_withdrawn_request_is_never_begun(serve: Serve) -> None:
    running = serve(APP)
    link = running.link
    stream = link.request(request_head(b"POST", b"/raises", body=True), end=False, slot=5, state=WITHDRAWN)
    link.data(stream, b"its body")
    link.data(stream, b"", end=True)
    link.reset(stream)
    assert link.fetch(b"/ok").body == b"ok"
    assert link.quiet() and link.word(5) == FREE, "the edge may offer the slot again"
    running.drain()
    assert running.stderr == ""


def test_a_begun_request_that_says_nothing_wakes_the_edge(serve: Serve) -> None:
    running = serve(
        """
        import asyncio
        async def app(scope, receive, send):
            if scope["type"] == "http":
                await asyncio.sleep(60)
        """
    )
    stream = running.link.get()
    assert running.link.read().kind == BEGUN
    assert running.link.is_begun(stream % 64)
    running.link.reset(stream)
    assert running.link.quiet(), "the task runs on, so there is no Done"


def test_nonsense_on_the_link_ends_the_worker(serve: Serve) -> None:
    running = serve(APP)
    running.link.send(DONE, 1)
    assert running.process.wait(20) != 0
    running = serve(APP)
    running.link.request(b"no head")
    assert running.process.wait(20) != 0
    assert "malformed head block" in running.stderr
