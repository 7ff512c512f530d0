"""WSGI apps, by PEP 3333."""

from __future__ import annotations

import time
from ast import literal_eval

import pytest

from worker.conftest import Serve
from worker.fake_edge import (
    APP_FAILED,
    BEGUN,
    DATA,
    DONE,
    HEAD_MAX,
    RESPONSE,
    RESPONSE_WINDOW,
    request_head,
    response_head,
)
from worker.wsgi_app import APP, post


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


def test_errors_go_to_the_error_log(serve: Serve) -> None:
    running = serve(APP)
    assert running.link.fetch(b"/says").body == b"said"
    assert running.drain() == 0
    assert running.stderr == "one line\ntwo words\n"


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
