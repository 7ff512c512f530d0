"""Apps behind each middleware."""

import sys
from collections.abc import Iterator
from typing import Any

from hcrs.middleware import (
    AsyncioWSGIMiddleware,
    DispatcherMiddleware,
    HTTPToHTTPSRedirectMiddleware,
    ProxyFixMiddleware,
)


async def show(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the scope; knows no lifespan."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": repr(scope).encode()})


def lifespan_of(name: Any, fail: Any = None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] != "lifespan":
            return await show(scope, receive, send)
        for stage in ("startup", "shutdown"):
            message = await receive()
            assert message["type"] == f"lifespan.{stage}"
            print(f"{name} {stage}", file=sys.stderr, flush=True)
            scope["state"][name] = stage
            outcome = "failed" if fail == stage else "complete"
            await send({"type": f"lifespan.{stage}.{outcome}", "message": "as it was told to"})

    return app


def wsgi(environ: Any, start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/environ":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr({key: value for key, value in environ.items() if isinstance(value, (str, bool, tuple))}).encode()]
    if path == "/empty":
        start_response("204 No Content", [])
        return []
    if path == "/echo":
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]
    if path == "/write":
        write = start_response("200 OK", [])
        write(b"written ")
        return [b"", b"and ", b"returned"]
    if path == "/replaced":
        start_response("200 OK", [])
        try:
            raise ValueError("before anything was sent")
        except ValueError:
            start_response("503 Later", [], sys.exc_info())
        return [b"replaced"]
    if path == "/silent":
        return [b"no head"]
    if path == "/closed":
        return Closing(start_response)
    start_response("404 Not Found", [])
    return [b"nothing here"]


class Closing:
    """Fails in the middle, and says when it is closed."""

    def __init__(self, start_response: Any) -> None:
        start_response("200 OK", [])

    def __iter__(self) -> Iterator[Any]:
        yield b"first"
        raise RuntimeError("in the middle")

    def close(self) -> None:
        print("closed", file=sys.stderr, flush=True)


proxy_fix = ProxyFixMiddleware(show)
proxy_fix_2 = ProxyFixMiddleware(show, trusted_hops=2)
proxy_fix_0 = ProxyFixMiddleware(show, trusted_hops=0)
proxy_fix_modern = ProxyFixMiddleware(show, mode="modern")
redirect = HTTPToHTTPSRedirectMiddleware(show, "example.test")
redirect_to_named = HTTPToHTTPSRedirectMiddleware(show, None)
mounted_wsgi = AsyncioWSGIMiddleware(wsgi, max_body_size=100)
dispatcher = DispatcherMiddleware(
    {
        "/foo": lifespan_of("foo"),
        "/wsgi/": mounted_wsgi,
        "/nested": DispatcherMiddleware({"/inner": lifespan_of("inner")}),
        "/redirect": redirect,
        "/foobar": lifespan_of("foobar"),
        "/plain": show,
    }
)
failing = DispatcherMiddleware({"/a": lifespan_of("a"), "/b": lifespan_of("b", fail="startup")})
failing_end = DispatcherMiddleware({"/a": lifespan_of("a"), "/b": lifespan_of("b", fail="shutdown")})
