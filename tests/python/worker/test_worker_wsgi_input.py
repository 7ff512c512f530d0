"""``wsgi.input``: how WSGI apps read the bodies of requests, and which bodies are refused."""

from __future__ import annotations

from ast import literal_eval

import pytest

from worker.conftest import Serve
from worker.fake_edge import (
    AWAITS_BODY,
    RESPONSE,
    request_head,
    response_head,
)
from worker.wsgi_app import APP, post


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


def test_a_refused_body_is_answered_with_413_whatever_the_app_makes_of_it(serve: Serve) -> None:
    running = serve(APP, "--wsgi-max-body-size", "1000", "--wsgi-threads", "1")
    refused = running.link.response(post(running, b"/swallows?500%20Oh", b"x" * 1001, declared=False))
    assert (refused.status, refused.body) == (413, b"Content Too Large\n")
    own = running.link.response(post(running, b"/swallows?413%20Mine", b"x" * 1001, declared=False))
    assert (own.status, own.body) == (413, b"BodyTooLargeError")
    assert literal_eval(running.link.fetch(b"/report").body.decode()) == ["closed swallows"] * 2


def test_a_client_that_expects_100_continue_gets_it_when_the_app_reads(serve: Serve) -> None:
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
