"""Requests that follow the rules, over every protocol, with TLS and without."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from parity.comparison import Case
from parity.conversation import Request, ask_h1, ask_h2

PLAIN = "plain.py:app"

NONSENSE = (
    "status-string",
    "status-small",
    "status-large",
    "status-missing",
    "header-str",
    "header-crlf",
    "header-nul",
    "header-name",
    "header-name-crlf",
    "header-pseudo",
    "header-short",
    "body-first",
    "body-str",
    "twice",
    "unknown",
    "no-type",
    "no-dict",
    "long",
    "long-later",
    "short",
    "after-end",
)

REQUESTS: dict[str, Request] = {
    "hello": Request(),
    "head": Request("HEAD"),
    "head-of-a-stream": Request("HEAD", "/echo"),
    "missing": Request(target="/nowhere"),
    # The target, and what the app is told of it.
    "scope": Request(target="/scope"),
    "scope-query": Request(target="/scope?a=1&a=2&b=%20+x;/?:@"),
    "scope-empty-query": Request(target="/scope?"),
    "scope-percent": Request(target="/scope/%C3%A9%2F%20%41/%2e%2e"),
    "scope-not-utf-8": Request(target="/scope/%FF%zz"),
    "scope-marks": Request(target="/scope/a;b=c,d:@!$'()*+~-._"),
    "scope-unwise": Request(target='/scope/{}|^[]\\"'),
    "scope-angle": Request(target="/scope/<>`"),
    "scope-slashes": Request(target="/scope//x/../y/./"),
    "scope-long": Request(target="/scope/" + "x" * 6000),
    # Methods.
    "scope-options": Request("OPTIONS", "/scope"),
    "scope-put": Request("PUT", "/scope", body=b"x"),
    "scope-delete": Request("DELETE", "/scope"),
    "scope-patch": Request("PATCH", "/scope", body=b"x"),
    "scope-trace": Request("TRACE", "/scope"),
    "scope-propfind": Request("PROPFIND", "/scope"),
    "scope-brew": Request("BREW", "/scope"),
    "scope-lower-case-method": Request("get", "/scope"),
    "scope-odd-case-method": Request("pAtCh", "/scope"),
    # Fields.
    "scope-fields": Request(
        target="/scope", headers=(("X-B", "1"), ("a", "2"), ("x-b", "3"), ("empty", ""), ("a", "2"))
    ),
    "scope-cookies": Request(target="/scope", headers=(("cookie", "a=1; b=2"), ("cookie", "c=3"))),
    "scope-spaces": Request(target="/scope", headers=(("x-a", "b \t c"),)),
    "scope-latin-1": Request(target="/scope", headers=(("x-a", "\u00e9"),)),
    "scope-big-field": Request(target="/scope", headers=(("x-a", "b" * 8000),)),
    "scope-many-fields": Request(target="/scope", headers=tuple((f"x-{number}", "1") for number in range(90))),
    "scope-underscore": Request(target="/scope", headers=(("x_a", "1"), ("x-a", "2"))),
    "scope-forwarded": Request(
        target="/scope",
        headers=(("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("forwarded", "for=1.2.3.4;host=a")),
    ),
    "scope-te": Request(target="/scope", headers=(("te", "trailers"),)),
    "scope-range": Request(target="/scope", headers=(("range", "bytes=0-1"), ("accept-encoding", "gzip"))),
    # Bodies of requests.
    "echo": Request("POST", "/echo", body=b"abc"),
    "echo-nothing": Request("POST", "/echo", body=b""),
    "echo-without-a-body": Request("POST", "/echo"),
    "echo-of-get": Request("GET", "/echo", body=b"abc"),
    "echo-chunked": Request("POST", "/echo", body=b"abcdefgh" * 100, chunked=300),
    "echo-empty-chunked": Request("POST", "/echo", body=b"", chunked=1),
    "digest": Request("POST", "/digest", body=bytes(range(256)) * 4000),
    "digest-chunked": Request("POST", "/digest", body=bytes(range(256)) * 1000, chunked=1000),
    "messages": Request("POST", "/messages?key=m", body=b"abc"),
    "messages-none": Request("POST", "/messages?key=n"),
    "unread": Request("POST", "/unread", body=b"abc"),
    # Responses.
    "status-201": Request(target="/status?status=201&body=made"),
    "status-204": Request(target="/status?status=204"),
    "status-204-with-a-body": Request(target="/status?status=204&body=x"),
    "status-205": Request(target="/status?status=205"),
    "status-302": Request(target="/status?status=302"),
    "status-304": Request(target="/status?status=304"),
    "status-304-with-a-body": Request(target="/status?status=304&body=x"),
    "status-418": Request(target="/status?status=418&body=tea"),
    "status-599": Request(target="/status?status=599&body=x"),
    "status-to-head": Request("HEAD", "/status?status=200&body=x"),
    "fields-of-the-app": Request(target="/app-headers"),
    "download": Request(target="/download?size=300000&piece=1000"),
    "download-length": Request(target="/download?size=300000&length"),
    "download-nothing": Request(target="/download?size=0"),
    "download-in-one": Request(target="/download?size=1000000&piece=1000000"),
}

#: What apps do wrong. TLS makes no difference to it.
ERRORS: dict[str, Request] = {
    "fail-nothing": Request(target="/fail?after=nothing"),
    "fail-start": Request(target="/fail?after=start"),
    "fail-all": Request(target="/fail?after=all"),
    "leave-nothing": Request(target="/leave?after=nothing"),
    "leave-start": Request(target="/leave?after=start"),
    "recovers": Request(target="/recovers"),
    **{f"nonsense-{kind}": Request(target=f"/nonsense?kind={kind}&key={kind}") for kind in NONSENSE},
    "post-fail": Request("POST", "/fail?after=nothing", body=b"x" * 1000),
}

CASES = {
    f"plain/{protocol}/{name}": Case(
        PLAIN, functools.partial(ask, request=request), tls=protocol in ("h1s", "h2"), quic=protocol == "h3"
    )
    for protocol, ask in (("h1", ask_h1), ("h1s", ask_h1), ("h2", ask_h2), ("h2c", ask_h2), ("h3", ask_h2))
    for name, request in (REQUESTS | (ERRORS if protocol in ("h1", "h2c", "h3") else {})).items()
}


@pytest.mark.parametrize("name", CASES)
def test_both_answer_the_same(name: Any, pairs: Any) -> None:
    pairs.check(name, CASES[name])
