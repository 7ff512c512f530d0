"""Runs a WSGI app (PEP 3333) as an ASGI app, in a thread.

The server runs WSGI apps natively; this middleware mounts one beside ASGI apps.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from hcrs.middleware._asgi import Message, Receive, Scope, Send, refuse

#: The largest request body, in bytes.
MAX_BODY_SIZE = 2**16

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
SendFromThread = Callable[[Message], None]


class _WSGIMiddleware:
    """The WSGI app as an ASGI app. It is called once the request's body is complete; a body of more than
    ``max_body_size`` bytes is answered with 413."""

    def __init__(self, wsgi_app: WSGIApp, max_body_size: int = MAX_BODY_SIZE) -> None:
        self.wsgi_app = wsgi_app
        self.max_body_size = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await refuse(scope, receive, send, 403, [])
        elif scope["type"] == "http":
            path_info = _path_info(scope)
            if path_info is None:
                return await refuse(scope, receive, send, 404, [])
            body = bytearray()
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                if len(body) > self.max_body_size:
                    return await refuse(scope, receive, send, 413, [])
                if not message.get("more_body"):
                    break
            environ = _environ(scope, path_info, bytes(body))
            await self._run(lambda send_now: _Call(self.wsgi_app, send_now).run(environ), send)
        else:
            raise ValueError(f"Unknown scope type, {scope['type']}")

    async def _run(self, call: Callable[[SendFromThread], None], send: Send) -> None:
        """Runs the call in a thread, with a function that sends from the thread and waits until the message is sent."""
        raise NotImplementedError


class AsyncioWSGIMiddleware(_WSGIMiddleware):
    """The middleware for servers on asyncio. Apps run in the loop's default executor."""

    async def _run(self, call: Callable[[SendFromThread], None], send: Send) -> None:
        loop = asyncio.get_running_loop()
        gone = False

        async def send_on_loop(message: Message) -> None:
            if gone:
                raise ConnectionError("the client is gone")
            await send(message)

        def send_now(message: Message) -> None:
            asyncio.run_coroutine_threadsafe(send_on_loop(message), loop).result()

        try:
            await asyncio.to_thread(call, send_now)
        finally:
            # If this task was cancelled, the thread is still running and must not send any more.
            gone = True


class TrioWSGIMiddleware(_WSGIMiddleware):
    """The middleware for servers on trio."""

    async def _run(self, call: Callable[[SendFromThread], None], send: Send) -> None:
        import trio

        await trio.to_thread.run_sync(call, lambda message: trio.from_thread.run(send, message))


async def _lifespan(receive: Receive, send: Send) -> None:
    """Answers the lifespan messages: there is nothing to start or stop."""
    for stage in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{stage}.complete"})


class _Call:
    """One call of the app."""

    def __init__(self, app: WSGIApp, send: SendFromThread) -> None:
        self._app = app
        self._send = send
        self._head: dict[str, Any] | None = None
        self._head_sent = False

    def run(self, environ: dict[str, Any]) -> None:
        result = self._app(environ, self._start_response)
        try:
            for piece in result:
                if piece:
                    self._write(piece)
            self._send_head()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a traceback that holds this frame would be a cycle
        elif self._head is not None:
            raise RuntimeError("start_response was called twice")
        code = status.split(" ", 1)[0]
        if len(code) != 3 or not (code.isascii() and code.isdigit()):
            raise ValueError(f"a status must be three digits and a reason, not {status!r}")
        self._head = {
            "type": "http.response.start",
            "status": int(code),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        return self._write

    def _write(self, data: bytes) -> None:
        self._send_head()
        self._send({"type": "http.response.body", "body": bytes(data), "more_body": True})

    def _send_head(self) -> None:
        if self._head is None:
            raise RuntimeError("the app has not called start_response")
        if not self._head_sent:
            self._head_sent = True
            self._send(self._head)


def _path_info(scope: Scope) -> str | None:
    """Returns the path below the root, or ``None`` if the request is for a path outside of it."""
    root = str(scope.get("root_path") or "").rstrip("/")
    rest: str = scope["path"][len(root) :]
    if not scope["path"].startswith(root) or (rest and not rest.startswith("/")):
        return None
    return rest or "/"


def _environ(scope: Scope, path_info: str, body: bytes) -> dict[str, Any]:
    server = scope.get("server") or ("localhost", 80)
    version = scope["http_version"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _native(str(scope.get("root_path") or "").rstrip("/")),
        "PATH_INFO": _native(path_info),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        # RFC 3875 §4.1.16: a digit, a dot, a digit.
        "SERVER_PROTOCOL": "HTTP/2.0" if version == "2" else f"HTTP/{version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.get("client") is not None:
        environ["REMOTE_ADDR"], port = scope["client"]
        environ["REMOTE_PORT"] = str(port)
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        # `x_a` would be mistaken for `x-a`, which proxies set or remove; `proxy` for the variable HTTP_PROXY.
        if "_" in name or name == "proxy":
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    if body:
        environ.setdefault("CONTENT_LENGTH", str(len(body)))
    return environ


def _native(text: str) -> str:
    """Returns the text's UTF-8 bytes decoded as Latin-1, as PEP 3333 requires of strings."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")
