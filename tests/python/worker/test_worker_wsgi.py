"""WSGI apps, by PEP 3333."""

from __future__ import annotations

import gzip
import time
from ast import literal_eval
from pathlib import Path

import pytest

from worker.conftest import Serve
from worker.fake_edge import (
    APP_FAILED,
    AWAITS_BODY,
    BEGUN,
    DATA,
    DONE,
    FILE,
    HEAD_MAX,
    RESPONSE,
    RESPONSE_WINDOW,
    Worker,
    part,
    request_head,
    response_head,
)

APP = """
    import gzip, io, os, sys, tempfile, threading, time
    from wsgiref.validate import validator

    HEADERS = [("Content-Type", "text/plain")]
    seen = []
    closed = threading.Event()
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

    def file(environ, start_response):
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](open("data", "rb"), 4096)

    class Own(io.FileIO):
        def read(self, size=-1):
            return super().read(size).upper()

    class Proxy:
        # As the File of Django is.
        def __init__(self, file):
            self.file = file
        read = property(lambda self: self.file.read)
        def close(self):
            self.file.close()
            closed.set()

    def temporary():
        opened = tempfile.NamedTemporaryFile()
        opened.write(open("data", "rb").read())
        opened.seek(0)
        return opened

    def pipe():
        near, far = os.pipe()
        os.write(far, b"0123456789")
        os.close(far)
        return os.fdopen(near, "rb")

    KINDS = {
        "buffered": lambda: open("data", "rb"),
        "raw": lambda: open("data", "rb", buffering=0),
        "random": lambda: open("data", "r+b"),
        "temporary": temporary,
        "proxy": lambda: Proxy(open("data", "rb")),
        "own": lambda: Own("data"),
        "gzip": lambda: gzip.open("data.gz"),
        "memory": lambda: io.BytesIO(open("data", "rb").read()),
        "pipe": pipe,
        "text": lambda: open("data"),
    }

    class Dripping:
        def __init__(self, pieces):
            self.pieces = list(pieces)
        def read(self, size):
            return self.pieces.pop(0) if self.pieces else b""

    @raw
    def dripping(environ, start_response):
        wrapper = environ["wsgi.file_wrapper"](Dripping([b"a", b"b", b"c"]))
        seen.append(hasattr(wrapper, "close"))
        start_response("200 OK", HEADERS)
        return wrapper

    @raw
    def wrapped_again(environ, start_response):
        start_response("200 OK", HEADERS)
        return iter(environ["wsgi.file_wrapper"](open("data", "rb")))

    class Noticed:
        def __init__(self, name):
            self.file, self.name = open("data", "rb"), name
        def read(self, size):
            seen.append(self.name + " read")
            return self.file.read(size)
        def close(self):
            self.file.close()
            seen.append(self.name + " closed")

    @raw
    def noticed(environ, start_response):
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](Noticed("file"))

    @raw
    def files(environ, start_response):
        # A file of the kind that is asked for, of which some bytes were read.
        kind, _, length = environ["QUERY_STRING"].partition(",")
        start_response("200 OK", [*HEADERS, ("Content-Length", length)] if length else HEADERS)
        opened = KINDS[kind]()
        opened.read(5)
        return environ["wsgi.file_wrapper"](opened)

    @raw
    def proxy_closed(environ, start_response):
        start_response("200 OK", HEADERS)
        return [repr(closed.wait(10)).encode()]

    @raw
    def large_head(environ, start_response):
        length, _, way = environ["QUERY_STRING"].partition(",")
        write = start_response("200 OK", [("X-Large", "x" * int(length))])
        if way:
            try:
                write(b"written ")
            except ValueError:
                if way == "replace":
                    start_response("503 Replaced", HEADERS)
        return [b"returned"]

    @raw
    def bodiless(environ, start_response):
        status, _, length = environ["QUERY_STRING"].partition(",")
        headers = [("Content-Length", length)] if length else []
        write = start_response(status + " Whatever", headers)
        if length == "3":
            write(b"abc")
            write(b"d")
        def produce():
            for n in range(1000):
                seen.append(n)
                yield b"piece"
        return Closing(produce(), "bodiless")

    @raw
    def head_of_one(environ, start_response):
        start_response("200 OK", HEADERS)
        return [b"hello"]

    @raw
    def too_short(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return [b"ab"]

    @raw
    def fails_in_close(environ, start_response):
        start_response("200 OK", HEADERS)
        class Failing(Closing):
            def close(self):
                super().close()
                raise LookupError("in close")
        return Failing([b"x"], "failing")

    @raw
    def fails_in_the_iterable(environ, start_response):
        start_response("200 OK", HEADERS)
        def produce():
            yield b""
            raise LookupError("while iterating")
        return Closing(produce(), "iterable")

    @raw
    def starts_late(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b""
        try:
            raise LookupError("replaced while iterating")
        except LookupError:
            start_response("503 Later", headers=HEADERS, exc_info=sys.exc_info())
        yield b"replaced"

    @raw
    def swallows(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except Exception as error:
            start_response(environ["QUERY_STRING"].replace("%20", " "), HEADERS)
            return Closing([type(error).__name__.encode()], "swallows")

    def says(environ, start_response):
        environ["wsgi.errors"].write("one line\\n")
        environ["wsgi.errors"].writelines(["two ", "words\\n"])
        environ["wsgi.errors"].flush()
        start_response("200 OK", HEADERS)
        return [b"said"]

    @raw
    def reads(environ, start_response):
        stream, out = environ["wsgi.input"], []
        for call in environ["QUERY_STRING"].split(";"):
            name, *arguments = call.split(":")
            arguments = [None if a == "None" else int(a) for a in arguments]
            out.append(list(stream) if name == "iter" else getattr(stream, name)(*arguments))
        start_response("200 OK", HEADERS)
        return [repr(out).encode()]

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
            (b"cookie", b"c=d"),
            (b"content_length", b"17"),
            (b"content-type_", b"forged"),
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
            "SERVER_PROTOCOL": "HTTP/2.0",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "54106",
            "CONTENT_TYPE": "text/x",
            "HTTP_HOST": "example.org",
            "HTTP_X_TWICE": "1,2",
            "HTTP_X_LATIN": "\xe9",
            "HTTP_COOKIE": "a=b; c=d",
            "RAW_URI": "/mounted/environment?a=%20b",
            "REQUEST_URI": "/mounted/environment?a=%20b",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
    with_arguments = serve(APP, "--wsgi-threads", "1", "--workers", "2", app="wsgi:main:app")
    head = request_head(target=b"/environment", client=b"", version=10, tls=False)
    environ = literal_eval(with_arguments.link.response(with_arguments.link.request(head)).body.decode())
    expected = {
        "REMOTE_ADDR": "",
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
    }
    assert {name: environ[name] for name in expected} == expected
    assert "REMOTE_PORT" not in environ
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
        (b"/gives_text", "iterable must yield bytes, not str"),
    ],
)
def test_a_failed_app_resets_its_stream_and_harms_no_other(serve: Serve, path: bytes, logged: str) -> None:
    running = serve(APP)
    for _ in range(8):  # more than there are threads
        running.link.expect(running.link.get(path), APP_FAILED)
    assert running.link.fetch(b"/hello").body == b"hello"
    assert running.drain() == 0
    assert "[ERROR] Error in WSGI Framework" in running.stderr and logged in running.stderr


def test_a_failure_after_the_head_comes_after_what_was_sent(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/too_late")
    running.link.expect(stream, RESPONSE)
    assert running.link.expect(stream, DATA).payload == b"sent"
    running.link.expect(stream, APP_FAILED)
    stream = running.link.get(b"/too_long")
    running.link.expect(stream, RESPONSE)
    assert running.link.expect(stream, DATA).payload == b"ab"
    running.link.expect(stream, APP_FAILED)
    running.drain()
    assert "LookupError: too late" in running.stderr
    assert "the response's body is longer than its content-length" in running.stderr


def test_the_longest_head_is_sent_and_a_longer_one_is_the_apps_failure(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    longest = HEAD_MAX - 4 - 6 - len(b"x-large")  # beside status and number of fields, the lengths of one, and its name
    sent = running.link.fetch(b"/large_head?%d,write" % longest)
    assert (len(sent[b"x-large"]), sent.body) == (longest, b"written returned")
    for way in (b"%d" % longest, b"%d,ignore" % (longest + 1), b"%d,ignore" % HEAD_MAX):
        running.link.expect(running.link.get(b"/large_head?" + way), APP_FAILED)
    replaced = running.link.fetch(b"/large_head?%d,replace" % (longest + 1))
    assert (replaced.status, replaced.body) == (503, b"returned"), "an app that catches the error may answer"
    assert running.link.fetch(b"/hello").body == b"hello"
    assert running.drain() == 0
    assert f"ValueError: the response's headers are larger than {HEAD_MAX} bytes" in running.stderr


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
        ("'200%20OK',[('Content-Length','-1')]", 'ValueError: content-length b"-1" is not a number'),
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
    running.link.reset(stream)
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
    received = running.link.used_up_window(stream)
    assert running.link.quiet()
    assert len(literal_eval(running.link.fetch(b"/report").body.decode())) == RESPONSE_WINDOW // 50_000 + 1
    running.link.credit(stream, 2 * 64 * 50_000)
    assert len(received + running.link.rest(stream)) == 64 * 50_000


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


@pytest.mark.parametrize(
    ("calls", "read"),
    [
        (b"read", [b"one\ntwo\nthree"]),
        (b"read:None", [b"one\ntwo\nthree"]),
        (b"read:-1;read", [b"one\ntwo\nthree", b""]),
        (b"read:0;read:5;read:100;read:5", [b"", b"one\nt", b"wo\nthree", b""]),
        (b"readline;readline:None;readline:-1;readline", [b"one\n", b"two\n", b"three", b""]),
        (b"readline:0;readline:2;readline:2;readline:50", [b"", b"on", b"e\n", b"two\n"]),
        (b"readlines", [[b"one\n", b"two\n", b"three"]]),
        (b"readlines:None;readlines", [[b"one\n", b"two\n", b"three"], []]),
        (b"readlines:0", [[b"one\n", b"two\n", b"three"]]),
        (b"readlines:5;iter", [[b"one\n", b"two\n"], [b"three"]]),
        (b"iter;iter;read", [[b"one\n", b"two\n", b"three"], [], b""]),
    ],
)
def test_input_takes_every_form_of_argument(serve: Serve, calls: bytes, read: list[object]) -> None:
    running = serve(APP)
    body = b"one\ntwo\nthree"
    for declared in (True, False):
        answer = running.link.response(post(running, b"/reads?" + calls, body, declared=declared))
        assert literal_eval(answer.body.decode()) == read
    assert literal_eval(running.link.fetch(b"/reads?read;readline;readlines;iter").body.decode()) == [b"", b"", [], []]


@pytest.mark.parametrize("files", [True, False], ids=["as descriptor", "as bytes"])
@pytest.mark.parametrize("path", [b"/file", b"/wrapped_again", b"/noticed"])
def test_a_file_is_sent_whole(serve: Serve, tmp_path: Path, path: bytes, files: bool) -> None:
    data = bytes(range(256)) * 3000
    (tmp_path / "data").write_bytes(data)
    running = serve(APP)
    assert running.link.fetch(path, files=files).body == data
    assert running.drain() == 0
    assert running.stderr == ""


def test_a_file_is_closed_also_when_the_client_goes(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(1 << 20))
    running = serve(APP, "--wsgi-threads", "1")
    stream = running.link.get(b"/noticed")
    running.link.expect(stream, RESPONSE)
    running.link.reset(stream)
    while running.link.expect(stream, DATA, DONE).kind != DONE:
        pass
    seen = literal_eval(running.link.fetch(b"/report").body.decode())
    assert seen[-1] == "file closed" and len(seen) < 8


TEXT = b"0123456789" * 20_000


@pytest.fixture
def texts(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(TEXT)
    (tmp_path / "data.gz").write_bytes(gzip.compress(TEXT))


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize("kind", ["buffered", "raw", "random", "temporary", "proxy"])
@pytest.mark.parametrize("length", [None, 100, len(TEXT) - 5])
def test_a_plain_file_passes_to_the_edge_from_where_it_stands(serve: Serve, kind: str, length: int | None) -> None:
    link = serve(APP).link
    stream = link.get(f"/files?{kind}{f',{length}' if length else ''}".encode())
    head = response_head(link.expect(stream, RESPONSE).payload)
    told = len(TEXT) - 5 if length is None else length
    assert head[b"content-length"] == str(told).encode()
    frame = link.expect(stream, FILE)
    assert frame.is_end and part(frame) == (5, told)
    assert link.file(frame) == TEXT[5 : 5 + told]


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize(
    ("kind", "body"),
    [("own", TEXT[5:]), ("gzip", TEXT[5:]), ("memory", TEXT[5:]), ("pipe", b"56789")],
)
def test_what_is_no_plain_file_is_read(serve: Serve, kind: str, body: bytes) -> None:
    link = serve(APP).link
    stream = link.get(f"/files?{kind}".encode())
    link.expect(stream, RESPONSE)
    received = b""
    while not (frame := link.expect(stream, DATA)).is_end:
        received += frame.payload
        link.credit(stream, frame.cost)
    assert received + frame.payload == body


@pytest.mark.usefixtures("texts")
def test_a_file_of_text_is_the_apps_failure(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/files?text")
    running.link.expect(stream, APP_FAILED)
    assert running.drain() == 0
    assert "must yield bytes, not str" in running.stderr


@pytest.mark.usefixtures("texts")
def test_a_file_that_is_shorter_than_the_announced_length_fails_before_anything_is_sent(serve: Serve) -> None:
    link = serve(APP).link
    stream = link.get(f"/files?buffered,{len(TEXT)}".encode())
    link.expect(stream, APP_FAILED)


@pytest.mark.usefixtures("texts")
def test_the_head_of_a_file_names_none(serve: Serve) -> None:
    link = serve(APP).link
    stream = link.request(request_head(b"HEAD", b"/files?buffered,5"))
    assert link.expect(stream, RESPONSE).is_end


@pytest.mark.usefixtures("texts")
def test_a_file_is_closed_once_it_has_passed_to_the_edge(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    link = running.link
    stream = link.get(b"/files?proxy")
    link.expect(stream, RESPONSE)
    frame = link.expect(stream, FILE)
    assert link.fetch(b"/proxy_closed").body == b"True"
    descriptors = Path(f"/proc/{running.process.pid}/fd")
    assert not [entry for entry in descriptors.iterdir() if entry.is_symlink() and entry.readlink().name == "data"]
    assert link.file(frame) == TEXT[5:]


def test_a_wrapper_has_a_close_only_if_the_file_has_one(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    assert running.link.fetch(b"/dripping").body == b"abc"
    assert literal_eval(running.link.fetch(b"/report").body.decode()) == [False]


@pytest.mark.parametrize(
    ("method", "query", "status", "headers"),
    [
        (b"HEAD", b"200", 200, []),
        (b"HEAD", b"200,3", 200, [(b"content-length", b"3")]),
        (b"HEAD", b"200,5000", 200, [(b"content-length", b"5000")]),
        (b"GET", b"204", 204, []),
        (b"GET", b"304", 304, []),
        (b"GET", b"304,5000", 304, [(b"content-length", b"5000")]),
    ],
)
def test_a_response_without_body_is_its_head_whatever_the_app_gives(
    serve: Serve, method: bytes, query: bytes, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    stream = running.link.request(request_head(method, b"/bodiless?" + query))
    frame = running.link.expect(stream, RESPONSE)
    assert frame.is_end
    found = response_head(frame.payload)
    assert (found.status, found.headers) == (status, headers)
    seen = literal_eval(running.link.fetch(b"/report").body.decode())
    assert seen[-1] == "closed bodiless" and len(seen) <= 2, "the iterable is left once the head is known"
    assert running.drain() == 0
    assert running.stderr == ""


def test_head_tells_the_length_of_the_only_piece(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.request(request_head(b"HEAD", b"/head_of_one"))
    frame = running.link.expect(stream, RESPONSE)
    assert frame.is_end and response_head(frame.payload)[b"content-length"] == b"5"


def test_a_body_shorter_than_it_was_announced_is_a_failure(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/too_short")
    while (frame := running.link.expect(stream, RESPONSE, DATA, APP_FAILED)).kind != APP_FAILED:
        assert not frame.is_end
    running.drain()
    assert "the response's body is shorter than its content-length" in running.stderr


def test_close_is_called_after_every_failure(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    running.link.expect(running.link.get(b"/fails_in_the_iterable"), APP_FAILED)
    assert running.link.fetch(b"/fails_in_close").body == b"x"
    seen = literal_eval(running.link.fetch(b"/report").body.decode())
    assert seen == ["closed iterable", "closed failing"]
    running.drain()
    assert "LookupError: while iterating" in running.stderr and "LookupError: in close" in running.stderr


def test_the_head_can_be_replaced_until_the_first_byte(serve: Serve) -> None:
    response = serve(APP).link.fetch(b"/starts_late")
    assert (response.status, response.body) == (503, b"replaced")


def test_a_refused_body_is_answered_with_413_whatever_the_app_makes_of_it(serve: Serve) -> None:
    running = serve(APP, "--wsgi-max-body-size", "1000", "--wsgi-threads", "1")
    refused = running.link.response(post(running, b"/swallows?500%20Oh", b"x" * 1001, declared=False))
    assert (refused.status, refused.body) == (413, b"Content Too Large\n")
    own = running.link.response(post(running, b"/swallows?413%20Mine", b"x" * 1001, declared=False))
    assert (own.status, own.body) == (413, b"BodyTooLargeError")
    assert literal_eval(running.link.fetch(b"/report").body.decode()) == ["closed swallows"] * 2


def test_errors_go_to_the_error_log(serve: Serve) -> None:
    running = serve(APP)
    assert running.link.fetch(b"/says").body == b"said"
    assert running.drain() == 0
    assert running.stderr == "one line\ntwo words\n"


def test_a_client_that_waits_for_100_is_told_to_go_on(serve: Serve) -> None:
    running = serve(APP, "--wsgi-max-body-size", "1000")
    headers = [(b"content-length", b"4"), (b"expect", b"100-continue")]
    head = request_head(b"POST", b"/echo", headers, body=True)
    stream = running.link.request(head, end=False, expects=True)
    running.link.expect(stream, AWAITS_BODY)
    running.link.data(stream, b"body", end=True)
    assert running.link.response(stream).body == b"body"
    headers = [(b"content-length", b"1001"), (b"expect", b"100-continue")]
    head = request_head(b"POST", b"/echo", headers, body=True)
    stream = running.link.request(head, end=False, expects=True)
    assert response_head(running.link.expect(stream, RESPONSE).payload).status == 413


def test_drain_lets_requests_end_and_leaves_those_that_do_not(serve: Serve) -> None:
    running = serve(
        """
        import time

        def app(environ, start_response):
            time.sleep(1.5 if environ["PATH_INFO"] == "/naps" else 60)
            start_response("200 OK", [])
            return [b"slept"]
        """
    )
    nap, _ = running.link.get(b"/naps"), running.link.get(b"/sleeps")
    assert running.link.read().kind == BEGUN
    assert running.drain(2) == 0
    assert running.link.response(nap).body == b"slept"
    assert "Abandoning requests that did not end in time: 1 (GET /sleeps)" in running.stderr
    assert not running.link.finished().is_end


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
