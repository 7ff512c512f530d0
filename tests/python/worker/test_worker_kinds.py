"""Kinds of apps: what each is taken for, how it is called, and what cannot be an app."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from worker.conftest import Serve
from worker.fake_edge import APP_FAILED, FAILED

KINDS = """
    import functools, inspect

    async def answer(send, value):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr(value).encode()})

    async def function(scope, receive, send):
        if scope["type"] == "http":
            await answer(send, scope["asgi"]["version"])

    class Instance:
        async def __call__(self, scope, receive, send):
            await function(scope, receive, send)

        async def method(self, scope, receive, send):
            await function(scope, receive, send)

        @staticmethod
        async def static(scope, receive, send):
            await function(scope, receive, send)

    class Awaitable:
        def __init__(self, scope, receive, send):
            self.arguments = scope, receive, send

        def __await__(self):
            return function(*self.arguments).__await__()

    class Double:
        def __init__(self, scope):
            self.scope = scope

        async def __call__(self, receive, send):
            await function(self.scope, receive, send)

    def double(scope):
        return functools.partial(function, scope)

    class DoubleInstance:
        def __call__(self, scope):
            return functools.partial(function, scope)

    def synchronous(scope, receive, send):
        return function(scope, receive, send)

    no_name = lambda scope, receive, send: function(scope, receive, send)

    class Synchronous:
        def __call__(self, scope, receive, send):
            return Awaitable(scope, receive, send)

    def decorated(app):
        @functools.wraps(app)
        def wrapper(*args, **kwargs):
            return app(*args, **kwargs)
        return wrapper

    def disguised(app):
        return lambda *args: app(*args)

    async def with_more(settings, scope, receive, send):
        await function(scope, receive, send)

    def make(name="x"):
        return function

    def wsgi(environ, start_response):
        start_response("200 OK", [])
        return [b"'wsgi'"]

    class WsgiInstance:
        def __call__(self, environ, start_response):
            return wsgi(environ, start_response)

    class WsgiClass:
        def __init__(self, environ, start_response):
            start_response("200 OK", [])

        def __iter__(self):
            yield b"'wsgi'"

    async def two(environ, start_response): ...
    async def nothing(): ...
    def four(a, b, c, d): ...
"""

GOOD = [
    ("function", "3.0"),
    ("Instance()", "3.0"),
    ("Instance().method", "3.0"),
    ("Instance.static", "3.0"),
    ("Awaitable", "3.0"),
    ("functools.partial(function)", "3.0"),
    ("functools.partial(Instance())", "3.0"),
    ("functools.partial(with_more, {})", "3.0"),
    ("functools.partial(functools.partial(with_more), {})", "3.0"),
    ("make()", "3.0"),
    ("make('prod')", "3.0"),
    ("synchronous", "3.0"),
    ("Synchronous()", "3.0"),
    ("no_name", "3.0"),
    ("decorated(function)", "3.0"),
    ("Double", "2.0"),
    ("double", "2.0"),
    ("DoubleInstance()", "2.0"),
    ("functools.partial(Double)", "2.0"),
    ("wsgi", "wsgi"),
    ("WsgiInstance()", "wsgi"),
    ("WsgiClass", "wsgi"),
    ("functools.partial(wsgi)", "wsgi"),
    ("decorated(wsgi)", "wsgi"),
    ("disguised(wsgi)", "wsgi"),
    ("WsgiInstance().__call__", "wsgi"),
]


@pytest.mark.parametrize(("expression", "version"), GOOD)
def test_an_app_of_each_kind_is_seen_for_what_it_is_and_served(serve: Serve, expression: str, version: str) -> None:
    running = serve(KINDS, app=f"main:{expression}")
    assert running.link.fetch().body.decode() == repr(version)
    assert running.drain() == 0
    assert "detected as" not in running.stderr


@pytest.mark.parametrize(
    "expression", ["disguised(function)", "synchronous", "Awaitable", "decorated(Instance())", "disguised(Awaitable)"]
)
def test_an_app_in_disguise_is_served_where_its_path_says_what_it_speaks(serve: Serve, expression: str) -> None:
    running = serve(KINDS, app=f"asgi:main:{expression}")
    assert running.link.fetch().body == b"'3.0'"
    assert running.drain() == 0 and running.stderr == ""


@pytest.mark.parametrize("worker_class", ["uvloop", "trio"])
@pytest.mark.parametrize("expression", ["Awaitable", "Double", "synchronous"])
def test_kinds_that_are_wrapped_run_on_every_loop(serve: Serve, expression: str, worker_class: str) -> None:
    running = serve(KINDS, "--worker-class", worker_class, app=f"main:{expression}")
    assert running.link.fetch().body in (b"'3.0'", b"'2.0'")
    assert running.drain() == 0


def test_an_app_that_was_taken_for_something_else_says_how_to_name_it(serve: Serve) -> None:
    running = serve(KINDS, app="main:disguised(function)")
    for _ in range(2):
        stream = running.link.get()
        running.link.expect(stream, APP_FAILED)
    assert running.drain() == 0
    assert running.stderr.count("Error in WSGI Framework") == 2
    hints = re.findall("The app was detected as WSGI .* 'asgi:MODULE:APP'", running.stderr)
    assert len(hints) == 1


def test_an_app_that_returns_nothing_that_can_be_awaited_fails_in_words(serve: Serve) -> None:
    running = serve(KINDS + "    def plain(scope, receive, send):\n        return None\n", app="main:plain")
    running.link.expect(running.link.get(), APP_FAILED)
    assert running.drain() == 0
    assert "TypeError: The app has returned NoneType; an ASGI app must return an awaitable" in running.stderr


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("make", "it takes no arguments: it is a factory and has to be called, as in 'module:make()'"),
        ("Instance", "it takes no arguments: it is a class and has to be called, as in 'module:Instance()'"),
        ("nothing", "it is asynchronous but does not take (scope, receive, send)"),
        ("two", "it is asynchronous but does not take (scope, receive, send)"),
        ("four", "it takes neither (scope, receive, send), as ASGI requires, nor (environ, start_response)"),
        ("'app'", "it is of type str, which is neither ASGI nor WSGI"),
        ("None", "it is of type NoneType, which is neither ASGI nor WSGI"),
    ],
)
def test_what_cannot_be_an_app_stops_the_start(serve: Serve, expression: str, said: str) -> None:
    running = serve(KINDS, app=f"main:{expression}", ready=False)
    frame = running.link.read()
    assert frame.kind == FAILED
    last = frame.payload.decode().splitlines()[-1]
    assert last.startswith(f"Cannot load application from 'main:{expression}': {said}"), last
    assert running.process.wait(20) == 1


def test_frameworks_are_seen_for_what_they_are(tmp_path: Path) -> None:
    program = """
import django, django.conf, flask, quart, fastapi, starlette.applications, starlette.endpoints, litestar
from wsgiref.validate import validator
django.conf.settings.configure()
django.setup()
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from hcrs.app_interface import detect
from hcrs.middleware import DispatcherMiddleware, ProxyFixMiddleware, AsyncioWSGIMiddleware

class Endpoint(starlette.endpoints.HTTPEndpoint): pass

asgi = [
    fastapi.FastAPI(), starlette.applications.Starlette(), quart.Quart("a"), litestar.Litestar([]), Endpoint,
    get_asgi_application(), DispatcherMiddleware({}), ProxyFixMiddleware(quart.Quart("a")),
    AsyncioWSGIMiddleware(flask.Flask("a")),
]
wsgi = [
    flask.Flask("a"), flask.Flask("a").wsgi_app, get_wsgi_application(), validator(flask.Flask("a")),
    get_wsgi_application().__call__,
]
print([detect(app).interface for app in asgi], [detect(app).interface for app in wsgi])
"""
    seen = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == f"{['asgi'] * 9} {['wsgi'] * 5}"
