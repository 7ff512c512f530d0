"""HTTP/1.1 as bytes: old versions, odd targets, several requests at once, and what breaks the rules."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from parity.comparison import Case
from parity.conversation import Answer, Speaker, say_h1

GET = b"GET /scope HTTP/1.1\r\nhost: {host}\r\n"
POST = b"POST /echo HTTP/1.1\r\nhost: {host}\r\n"

RAW: dict[str, tuple[bytes, dict[str, Any]]] = {
    # Versions and the connection.
    "scope-1.0": (b"GET /scope HTTP/1.0\r\n\r\n", {}),
    "scope-1.0-keep-alive": (b"GET /scope HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", {}),
    "echo-1.0": (b"POST /echo HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc", {}),
    "head-1.0": (b"HEAD / HTTP/1.0\r\n\r\n", {"head": True}),
    "download-1.0": (b"GET /download?size=100000&piece=1000 HTTP/1.0\r\n\r\n", {}),
    "scope-close": (GET + b"connection: close\r\n\r\n", {}),
    "scope-keep-alive": (GET + b"connection: keep-alive\r\n\r\n", {}),
    "download-close": (b"GET /download?size=100000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", {}),
    "scope-3.7": (b"GET /scope HTTP/3.7\r\nhost: {host}\r\n\r\n", {}),
    "scope-2.0": (b"GET /scope HTTP/2.0\r\nhost: {host}\r\n\r\n", {}),
    "lower-case-version": (b"GET /scope http/1.1\r\nhost: {host}\r\n\r\n", {}),
    "no-version": (b"GET /scope\r\n\r\n", {}),
    # Several at once.
    "pipelined": (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 3, {"responses": 3}),
    "pipelined-bodies": (
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n",
        {"responses": 2},
    ),
    "pipelined-after-close": (
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        {"responses": 2},
    ),
    "pipelined-then-broken": (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n\0\r\n\r\n", {"responses": 2}),
    # Expectations and upgrades.
    "expect-continue": (POST + b"content-length: 3\r\nexpect: 100-continue\r\n\r\nabc", {}),
    "expect-continue-unread": (
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\nabc",
        {},
    ),
    "expect-something": (POST + b"content-length: 3\r\nexpect: tea\r\n\r\nabc", {}),
    "upgrade-h2c": (
        GET + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        {},
    ),
    "upgrade-unknown": (GET + b"connection: upgrade\r\nupgrade: tea\r\n\r\n", {}),
    # Targets.
    "scope-absolute": (b"GET http://{host}/scope/x?y HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "scope-absolute-other-host": (b"GET http://other.test/scope HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "options-asterisk": (b"OPTIONS * HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "get-asterisk": (b"GET * HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "connect": (b"CONNECT other.test:80 HTTP/1.1\r\nhost: other.test:80\r\n\r\n", {}),
    "target-without-slash": (b"GET scope HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "target-not-ascii": ("GET /scope/é HTTP/1.1\r\nhost: {host}\r\n\r\n".encode(), {}),
    "target-with-fragment": (b"GET /scope#a HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "target-with-space": (b"GET /scope a HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "target-with-nul": (b"GET /scope\0 HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    # The head.
    "leading-blank-line": (b"\r\nGET /scope HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "bare-line-feeds": (b"GET /scope HTTP/1.1\nhost: {host}\n\n", {}),
    "no-host": (b"GET /scope HTTP/1.1\r\n\r\n", {}),
    "two-hosts": (GET + b"host: {host}\r\n\r\n", {}),
    "empty-host": (b"GET /scope HTTP/1.1\r\nhost:\r\n\r\n", {}),
    "odd-host": (b"GET /scope HTTP/1.1\r\nhost: a b/c\r\n\r\n", {}),
    "field-without-colon": (GET + b"x-a\r\n\r\n", {}),
    "field-space-before-colon": (GET + b"x-a : b\r\n\r\n", {}),
    "field-without-name": (GET + b": b\r\n\r\n", {}),
    "field-folded": (GET + b"x-a: b\r\n c\r\n\r\n", {}),
    "field-nul": (GET + b"x-a: b\0c\r\n\r\n", {}),
    "field-bare-cr": (GET + b"x-a: b\rc\r\n\r\n", {}),
    "field-odd-name": (GET + b"x(a: b\r\n\r\n", {}),
    "scope-space-around-value": (GET + b"x-a: \t b \t\r\n\r\n", {}),
    "method-odd": (b"G(T /scope HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {}),
    "long-line": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nhost: {host}\r\n\r\n", {}),
    "long-head": (GET + b"x-a: " + b"b" * 200_000, {}),
    "many-fields": (GET + b"".join(b"x-%d: 1\r\n" % number for number in range(500)) + b"\r\n", {}),
    # Lengths.
    "length-not-a-number": (POST + b"content-length: three\r\n\r\nabc", {}),
    "length-negative": (POST + b"content-length: -3\r\n\r\nabc", {}),
    "length-plus": (POST + b"content-length: +3\r\n\r\nabc", {}),
    "length-twice": (POST + b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc", {}),
    "length-list": (POST + b"content-length: 3, 3\r\n\r\nabc", {}),
    "lengths-differ": (POST + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd", {}),
    "length-with-zeros": (POST + b"content-length: 003\r\n\r\nabc", {}),
    "length-huge": (POST + b"content-length: 99999999999999999999999\r\n\r\n", {}),
    "length-and-chunked": (
        POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        {},
    ),
    "coding-unknown": (POST + b"transfer-encoding: gzip\r\n\r\n", {}),
    "coding-twice": (POST + b"transfer-encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", {}),
    "coding-in-1.0": (b"POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", {}),
    "echo-chunk-extension": (POST + b"transfer-encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", {}),
    "echo-request-trailers": (POST + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-a: b\r\n\r\n", {}),
    "chunk-size-odd": (POST + b"transfer-encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n", {}),
    "chunk-size-wrong": (POST + b"transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", {}),
    "chunk-extension-empty": (POST + b"transfer-encoding: chunked\r\n\r\n3;;\r\nabc\r\n0\r\n\r\n", {}),
    "chunk-extension-of-words": (POST + b"transfer-encoding: chunked\r\n\r\n3;a b\r\nabc\r\n0\r\n\r\n", {}),
    "chunk-unended-line": (POST + b"transfer-encoding: chunked\r\n\r\n3\nabc\n0\n\n", {}),
    # What stops too early.
    "half-closed-before": (GET, {"half_close": True}),
    "half-closed-after": (GET + b"\r\n", {"half_close": True}),
    "half-closed-in-body": (
        b"POST /digest HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
        {"half_close": True},
    ),
    # Early answers.
    "unread-chunked": (b"POST /unread HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", {}),
    "fail-later": (b"GET /fail?after=body HTTP/1.1\r\nhost: a\r\n\r\n", {}),
    "fail-with-length": (b"GET /fail?after=length HTTP/1.1\r\nhost: a\r\n\r\n", {}),
    "leave-later": (b"GET /leave?after=body HTTP/1.1\r\nhost: a\r\n\r\n", {}),
}

CASES = {
    f"raw/h1/{name}": Case("plain.py:app", functools.partial(say_h1, raw=raw, **options))
    for name, (raw, options) in RAW.items()
}
CASES |= {
    f"extensions/h1/{name}": Case("extensions.py:app", functools.partial(say_h1, raw=raw))
    for name, raw in (
        ("trailers", b"GET /trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n"),
        ("trailers-unwanted", b"GET /trailers HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("hints", b"GET /hints?count=2 HTTP/1.1\r\nhost: a\r\n\r\n"),
    )
}


def continued(speaker: Speaker, target: bytes) -> Answer:
    """Sends a body only when it is asked for."""
    client = speaker.h1()
    client.send(b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n" % target)
    interim = client.head()
    if interim.status == 100:
        client.send(b"abc")
        final = client.response()
    else:
        final = interim
    return {"interim": interim.status, "status": final.status}


CASES |= {
    "raw/h1/continue": Case("plain.py:app", functools.partial(continued, target=b"/echo")),
    "raw/h1/continue-unread": Case("plain.py:app", functools.partial(continued, target=b"/unread")),
}


@pytest.mark.parametrize("name", CASES)
def test_both_answer_the_same(name: Any, pairs: Any) -> None:
    pairs.check(name, CASES[name])
