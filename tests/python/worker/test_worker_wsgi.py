"""WSGI apps, by PEP 3333."""

from __future__ import annotations

import struct
import time
from ast import literal_eval

import pytest

from worker.conftest import Serve
from worker.fake_edge import (
    BEGUN,
    CREDIT,
    DATA,
    DONE,
    RESET,
    RESPONSE,
    RESPONSE_WINDOW,
    Worker,
    request_head,
)

APP = """
    import sys, threading, time
    from wsgiref.validate import validator

    HEADERS = [("Content-Type", "text/plain")]
    seen = []
    several = threading.Barrier(4)

    def app(environ, start_response):
        view = globals()[environ["PATH_INFO"][1:]]
        return (view if getattr(view, "raw", False) else validator(view))(environ, start_response)

    def raw(view):
        view.raw = True
        return view

    def hello(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b"hello"]

    @raw
    def plain(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b"plain"]

    @raw
    def environment(environ, start_response):
        start_response("200 OK", HEADERS)
        simple = {key: value for key, value in environ.items() if isinstance(value, (str, bool, tuple))}
        return [repr(simple).encode()]

    def pieces(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b"one "
        yield b""
        yield b"two"

    @raw
    def nothing(environ, start_response):
        start_response("204 No Content", [])
        return []

    def empty(environ, start_response):
        start_response("302 Found", [("Location", "/x"), ("Content-Type", "text/plain")])
        return iter([])

    def echo(environ, start_response):
        body = environ["wsgi.input"].read(-1)
        start_response("200 OK", HEADERS)
        return [body]

    @raw
    def lines(environ, start_response):
        stream = environ["wsgi.input"]
        out = [stream.readline(), stream.readline(2), stream.read(3), stream.readlines(4), list(stream), stream.read(),
               stream.readline(), stream.readlines()]
        start_response("200 OK", HEADERS)
        return [repr(out).encode()]

    def writes(environ, start_response):
        write = start_response("200 OK", HEADERS)
        write(b"written ")
        write(b"first ")
        return [b"then returned"]

    class Closing:
        def __init__(self, pieces, name):
            self.pieces, self.name = iter(pieces), name
        def __iter__(self):
            return self.pieces
        def close(self):
            seen.append("closed " + self.name)

    @raw
    def closes(environ, start_response):
        start_response("200 OK", HEADERS)
        return Closing([b"x"], "closes")

    @raw
    def big(environ, start_response):
        start_response("200 OK", HEADERS)
        def produce():
            for n in range(64):
                seen.append(n)
                yield b"x" * 50_000
        return Closing(produce(), "big")

    @raw
    def replaces(environ, start_response):
        start_response("200 OK", HEADERS)
        try:
            raise LookupError("replaced")
        except LookupError:
            start_response("500 Oh", HEADERS, sys.exc_info())
        return [b"sorry"]

    @raw
    def too_late(environ, start_response):
        start_response("200 OK", HEADERS)("sent".encode())
        try:
            raise LookupError("too late")
        except LookupError:
            start_response("500 Oh", HEADERS, sys.exc_info())

    @raw
    def lengths(environ, start_response):
        start_response("200 OK", [("content-length", "4")])
        return iter([b"ab", b"cd", b""])

    @raw
    def too_long(environ, start_response):
        start_response("200 OK", [("content-length", "3")])
        return iter([b"ab", b"cd"])

    @raw
    def latin(environ, start_response):
        start_response("200 Gut\\xe9", [("X-Caf\\xe9"[:5], "\\xe9\\xff")])
        return [b""]

    @raw
    def attempts(environ, start_response):
        status, headers = eval(environ["QUERY_STRING"].replace("%20", " "))
        try:
            start_response(status, headers)
        except Exception as error:
            start_response("200 OK", HEADERS)
            return [f"{type(error).__name__}: {error}".encode()]
        return [b"no error"]

    @raw
    def raises(environ, start_response):
        raise LookupError("in the app")

    @raw
    def raises_exit(environ, start_response):
        sys.exit(3)

    @raw
    def never_starts(environ, start_response):
        return [b"body"]

    @raw
    def gives_text(environ, start_response):
        start_response("200 OK", HEADERS)
        return ["text"]

    @raw
    def together(environ, start_response):
        several.wait(10)
        start_response("200 OK", HEADERS)
        return [threading.current_thread().name.encode()]

    @raw
    def sleeps(environ, start_response):
        time.sleep(0.5)
        start_response("200 OK", HEADERS)
        return [b"slept"]

    @raw
    def report(environ, start_response):
        start_response("200 OK", HEADERS)
        return [repr(seen).encode()]
"""


def post(running: Worker, path: bytes, body: bytes, *, declared: bool = True) -> int:
    headers = [(b"content-length", b"%d" % len(body))] if declared else []
    stream = running.link.request(request_head(b"POST", path, headers, body=True), end=False)
    running.link.upload(stream, body)
    return stream


def test_environ_is_what_pep_3333_wants(serve: Serve) -> None:
    running = serve(APP, "--root-path", "/mounted", app="wsgi:main:app")
    head = request_head(
        b"get",
        b"/mounted/environment?a=%20b",
        [
            (b"host", b"example.org"),
            (b"x-twice", b"1"),
            (b"x-twice", b"2"),
            (b"x_twice", b"forged"),
            (b"proxy", b"http://evil"),
            (b"content-type", b"text/x"),
            (b"x-latin", b"\xe9"),
            (b"cookie", b"a=b"),
        ],
    )
    for _ in range(2):
        environ = literal_eval(running.link.response(running.link.request(head)).body.decode())
        assert environ == {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "/mounted",
            "PATH_INFO": "/environment",
            "QUERY_STRING": "a=%20b",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8443",
            "SERVER_PROTOCOL": "HTTP/2",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "54106",
            "CONTENT_TYPE": "text/x",
            "HTTP_HOST": "example.org",
            "HTTP_X_TWICE": "1,2",
            "HTTP_X_LATIN": "\xe9",
            "HTTP_COOKIE": "a=b",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
    assert running.link.fetch(b"/mountedx/environment").status == 404
    assert running.link.fetch(b"/environment").status == 404


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        (b"/hello", 200, b"hello"),
        (b"/pieces", 200, b"one two"),
        (b"/nothing", 204, b""),
        (b"/empty", 302, b""),
        (b"/writes", 200, b"written first then returned"),
        (b"/replaces", 500, b"sorry"),
        (b"/lengths", 200, b"abcd"),
        (b"/latin", 200, b""),
    ],
)
def test_responses_of_every_form_arrive(serve: Serve, path: bytes, status: int, body: bytes) -> None:
    running = serve(APP)
    response = running.link.fetch(path)
    assert (response.status, response.body) == (status, body)
    assert running.drain() == 0
    assert running.stderr == ""


def test_one_piece_gets_its_content_length_and_more_do_not(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/plain")
    frames = [running.link.expect(stream, RESPONSE), running.link.expect(stream, DATA)]
    assert b"content-length" in frames[0].payload and frames[1].is_end
    assert b"content-length" not in dict(running.link.fetch(b"/pieces").headers)
    assert running.link.fetch(b"/latin").headers == [(b"x-caf", b"\xe9\xff")]


def test_bodies_are_streamed_to_the_app_with_credit(serve: Serve) -> None:
    running = serve(APP)
    body = bytes(range(256)) * 4000
    for declared in (True, False):
        assert running.link.response(post(running, b"/echo", body, declared=declared)).body == body
    assert running.link.fetch(b"/echo").body == b""


def test_input_is_read_by_size_and_by_line(serve: Serve) -> None:
    running = serve(APP)
    body = b"first line\nsecond\nthird\nfourth\nfifth\nlast"
    assert literal_eval(running.link.response(post(running, b"/lines", body)).body.decode()) == [
        b"first line\n",
        b"se",
        b"con",
        [b"d\n", b"third\n"],
        [b"fourth\n", b"fifth\n", b"last"],
        b"",
        b"",
        [],
    ]


def test_a_body_beyond_the_limit_is_answered_with_413(serve: Serve) -> None:
    running = serve(APP, "--wsgi-max-body-size", "1000")
    assert running.link.response(post(running, b"/echo", b"x" * 1000)).status == 200
    assert running.link.response(post(running, b"/echo", b"x" * 1001)).status == 413
    assert running.link.response(post(running, b"/echo", b"x" * 1001, declared=False)).status == 413
    assert running.drain() == 0
    assert running.stderr == ""


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (b"/raises", "LookupError: in the app"),
        (b"/raises_exit", "SystemExit: 3"),
        (b"/never_starts", "before it called start_response"),
        (b"/gives_text", "iterable must give bytes, not str"),
    ],
)
def test_a_failed_app_resets_its_stream_and_harms_no_other(serve: Serve, path: bytes, logged: str) -> None:
    running = serve(APP)
    for _ in range(8):  # more than there are threads
        running.link.expect(running.link.get(path), RESET)
    assert running.link.fetch(b"/hello").body == b"hello"
    assert running.drain() == 0
    assert "[ERROR] Error in WSGI Framework" in running.stderr and logged in running.stderr


def test_a_failure_after_the_head_comes_after_what_was_sent(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/too_late")
    running.link.expect(stream, RESPONSE)
    assert running.link.expect(stream, DATA).payload == b"sent"
    running.link.expect(stream, RESET)
    stream = running.link.get(b"/too_long")
    running.link.expect(stream, RESPONSE)
    assert running.link.expect(stream, DATA).payload == b"ab"
    running.link.expect(stream, RESET)
    running.drain()
    assert "LookupError: too late" in running.stderr
    assert "the response's body is longer than its content-length" in running.stderr


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("200,[]", "TypeError: the status must be a str, not int"),
        ("'OK',[]", "ValueError: the status must be like '200 OK'"),
        ("'100%20Continue',[]", "ValueError: the status must be like '200 OK'"),
        ("'200%20OK',()", "TypeError: the headers must be a list, not tuple"),
        ("'200%20OK',['ab']", "TypeError: each of the headers must be a tuple of two str"),
        ("'200%20OK',[('a',1)]", "TypeError: each of the headers must be a tuple of two str"),
        ("'200%20OK',[('a','b\\r\\nc')]", 'ValueError: the value of header b"a" holds a line break'),
        ("'200%20OK',[('a%20b','c')]", 'ValueError: header name b"a b" is not a token'),
        ("'200%20OK',[('a','\\u20ac')]", "ValueError: '€' has a character beyond Latin-1"),
        ("'200%20OK',[('Connection','close')]", "AssertionError: 'connection' is a hop-by-hop header"),
        ("'200%20OK',[('Content-Length','-1')]", 'ValueError: content-length b"-1" is not the one number'),
        ("'200%20OK',[]", "no error"),
    ],
)
def test_nonsense_is_refused_in_words(serve: Serve, call: str, told: str) -> None:
    assert serve(APP).link.fetch(b"/attempts?" + call.encode()).body.decode().startswith(told)


def test_close_is_called_at_the_end_and_when_the_client_has_gone(serve: Serve) -> None:
    running = serve(APP)
    assert running.link.fetch(b"/closes").body == b"x"
    stream = running.link.get(b"/big")
    running.link.expect(stream, RESPONSE)
    running.link.send(RESET, stream)
    while running.link.expect(stream, DATA, DONE).kind != DONE:
        pass
    seen = []
    for _ in range(200):  # a response is with the client before its close is called
        seen = literal_eval(running.link.fetch(b"/report").body.decode())
        if {"closed closes", "closed big"} <= set(seen):
            break
    assert {"closed closes", "closed big"} <= set(seen) and len(seen) < 60
    running.drain()
    assert running.stderr == ""


def test_an_iterable_is_not_asked_for_more_than_the_client_takes(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/big")
    running.link.expect(stream, RESPONSE)
    received = 0
    while received < RESPONSE_WINDOW:
        received += len(running.link.expect(stream, DATA).payload)
    assert running.link.quiet()
    assert len(literal_eval(running.link.fetch(b"/report").body.decode())) == RESPONSE_WINDOW // 50_000 + 1
    running.link.send(CREDIT, stream, struct.pack("<I", 64 * 50_000))
    while not (frame := running.link.expect(stream, DATA)).is_end:
        received += len(frame.payload)
    assert received + len(frame.payload) == 64 * 50_000


def test_requests_that_wait_run_at_the_same_time(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "4")
    streams = [running.link.get(b"/together") for _ in range(4)]
    names = {running.link.response(stream).body for stream in streams}
    assert names == {b"hcrs-wsgi-%d" % n for n in range(1, 5)}


def test_requests_are_begun_only_when_a_thread_takes_them(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    first, second = running.link.get(b"/sleeps"), running.link.get(b"/raises")
    assert running.link.read().kind == BEGUN
    assert running.link.is_begun(first) and not running.link.is_begun(second)
    running.link.withdraw(second)
    assert running.link.response(first).body == b"slept"
    assert running.link.fetch(b"/hello").body == b"hello"
    assert running.link.quiet()


def test_several_links_share_one_pool(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "2", links=3)
    for _ in range(20):
        streams = [(link, link.get(b"/hello")) for link in running.links for _ in range(10)]
        assert {link.response(stream).body for link, stream in streams} == {b"hello"}
    assert running.drain() == 0


def test_drain_lets_requests_end_and_leaves_those_that_do_not(serve: Serve) -> None:
    running = serve(APP, "--graceful-timeout", "0.1")
    running.link.get(b"/sleeps")
    running.link.read()
    assert running.drain() == 0
    assert "Leaving requests behind" in running.stderr


def test_when_the_edge_is_gone_the_worker_ends(serve: Serve) -> None:
    running = serve(APP)
    running.link.get(b"/big")
    running.link.read()
    began = time.monotonic()
    assert running.hang_up() == 0
    assert time.monotonic() - began < 5


def test_flask_serves_uploads_streams_and_errors(serve: Serve) -> None:
    running = serve(
        """
        from flask import Flask, request, stream_with_context

        app = Flask(__name__)

        @app.get("/")
        def hello():
            return "hello"

        @app.post("/upload")
        def upload():
            return {"length": len(request.get_data()), "form": request.args}

        @app.get("/stream")
        def stream():
            @stream_with_context
            def produce():
                for n in range(100):
                    yield f"{n:05}" * 1000
            return produce()

        @app.get("/error")
        def error():
            raise LookupError("in flask")
        """
    )
    assert running.link.fetch(b"/").body == b"hello"
    body = b"z" * 300_000
    for declared in (True, False):
        uploaded = running.link.response(post(running, b"/upload?a=b", body, declared=declared)).body
        assert uploaded == b'{"form":{"a":"b"},"length":300000}\n'
    assert running.link.fetch(b"/stream").body == b"".join(b"%05d" % n * 1000 for n in range(100))
    assert running.link.fetch(b"/error").status == 500
    assert running.link.fetch(b"/nowhere").status == 404
