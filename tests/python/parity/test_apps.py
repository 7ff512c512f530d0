"""The frameworks that people use, and WSGI, on both servers."""

from __future__ import annotations

import ast
import functools
import json
from typing import Any

import pytest

from parity.comparison import Case
from parity.conversation import Answer, Request, Speaker, ask_h1, ask_h2

FORM = (
    b'--b\r\ncontent-disposition: form-data; name="field"\r\n\r\nvalue\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    + b"x" * 100_000
    + b"\r\n--b--\r\n"
)
MULTIPART = (("content-type", "multipart/form-data; boundary=b"),)
JSON = (("content-type", "application/json"),)
AGENT = (("user-agent", "tests"), ("x-one", "1"), ("cookie", "a=1; b=2"))


def post(target: str, body: bytes, *headers: tuple[str, str], chunked: int = 0) -> Request:
    return Request("POST", target, headers, body, chunked)


APPS: dict[str, tuple[str, dict[str, Request]]] = {
    "fastapi": (
        "frameworks.py:fastapi",
        {
            "state": Request(target="/state"),
            "json": post("/items/7", json.dumps({"name": "tea", "price": 2.5}).encode(), *JSON),
            "invalid": post("/items/seven", b"{}", *JSON),
            "file": post("/file", FORM, *MULTIPART),
            "missing": Request(target="/missing"),
            "nowhere": Request(target="/nowhere"),
            "method": Request("DELETE", "/state"),
            "stream": Request(target="/stream"),
            "raises": Request(target="/raises"),
            "openapi": Request(target="/openapi.json"),
            "docs": Request(target="/docs"),
            "redirect": Request(target="/state/"),
        },
    ),
    "starlette": (
        "frameworks.py:starlette_with_middleware",
        {
            "large": Request(target="/large"),
            "gzip": Request(target="/large", headers=(("accept-encoding", "gzip"),)),
            "who": Request(target="/who?name=ada"),
            "connected": Request(target="/is-disconnected"),
            "head": Request("HEAD", "/large"),
            "nowhere": Request(target="/nowhere"),
        },
    ),
    "quart": (
        "quart_site.py:app",
        {
            "facts": Request(target="/facts?q=%C3%A9"),
            "echo": post("/echo", b"x" * 100_000),
            "form": post("/form", FORM, *MULTIPART),
            "stream": Request(target="/stream"),
            "raises": Request(target="/raises"),
            "nowhere": Request(target="/nowhere"),
            "options": Request("OPTIONS", "/echo"),
        },
    ),
    "litestar": (
        "litestar_site.py:app",
        {
            "facts": Request(target="/facts?q=x"),
            "json": post("/items/7", json.dumps({"name": "tea", "price": 2.5}).encode(), *JSON),
            "echo": post("/echo", b"x" * 100_000),
            "sync": Request(target="/sync"),
            "stream": Request(target="/stream"),
            "missing": Request(target="/missing"),
            "nowhere": Request(target="/nowhere"),
        },
    ),
    "django-asgi": (
        "django_site.py:asgi",
        {
            "facts": Request(target="/facts?q=x", headers=AGENT),
            "upload": post("/upload", FORM, *MULTIPART),
            "echo": post("/echo", b"x" * 100_000),
            "echo-chunked": post("/echo", b"x" * 10_000, chunked=999),
            "stream": Request(target="/stream-async"),
            "large": Request(target="/large"),
            "nothing": Request(target="/nothing"),
            "raises": Request(target="/raises"),
            "nowhere": Request(target="/nowhere"),
            "file": Request(target="/file"),
        },
    ),
    "django-wsgi": (
        "django_site.py:wsgi",
        {
            "facts": Request(target="/facts?q=x", headers=AGENT),
            "upload": post("/upload", FORM, *MULTIPART),
            "echo": post("/echo", b"x" * 100_000),
            "stream": Request(target="/stream"),
            "large": Request(target="/large"),
            "nothing": Request(target="/nothing"),
            "raises": Request(target="/raises"),
            "nowhere": Request(target="/nowhere"),
        },
    ),
    "flask": (
        "frameworks.py:flask",
        {
            "echo": post("/echo", b"x" * 100_000),
            "form": post("/form", FORM, *MULTIPART),
            "stream": Request(target="/stream"),
            "nothing": Request(target="/nothing"),
            "redirect": Request(target="/redirect"),
            "raises": Request(target="/raises"),
            "nowhere": Request(target="/nowhere"),
            "options": Request("OPTIONS", "/echo"),
        },
    ),
    "wsgi": (
        "wsgi.py:plain",
        {
            "environ": Request(target="/environ?a=%20b", headers=AGENT),
            "environ-fields": Request(
                target="/environ", headers=(("x-a", "1"), ("x-a", "2"), ("content-type", "a/b"))
            ),
            "environ-post": post("/environ", b"abc"),
            "echo": post("/echo", b"x" * 10_000),
            "lines": post("/lines", b"a\nb\nc"),
            "pieces": Request(target="/pieces?key=k"),
            "write": Request(target="/write"),
            "empty": Request(target="/empty"),
            "replace": Request(target="/replace"),
            "raise": Request(target="/raise"),
            "head": Request("HEAD", "/pieces?key=h"),
            "path": Request(target="/environ%C3%A9"),
            "nowhere": Request(target="/nowhere"),
        },
    ),
}


def environ_apart(says: functools.partial[Answer], speaker: Speaker) -> Answer:
    """Takes an environ apart that the app shows."""
    answer = says(speaker)
    body = answer.get("body", b"")
    if body.startswith(b"{'"):
        environ = ast.literal_eval(body.decode().replace(": <port>", ": ('a number',)"))
        del answer["body"]
        answer |= {f"environ.{name}": value for name, value in environ.items()} | {"framing": []}
    return answer


CASES = {
    f"{kind}/{protocol}/{name}": Case(
        app, functools.partial(environ_apart, functools.partial(ask, request=request)), tls=protocol == "h2"
    )
    for kind, (app, requests) in APPS.items()
    for protocol, ask in (("h1", ask_h1), ("h2", ask_h2))
    for name, request in requests.items()
}


@pytest.mark.parametrize("name", CASES)
def test_both_answer_the_same(name: Any, pairs: Any) -> None:
    pairs.check(name, CASES[name])
