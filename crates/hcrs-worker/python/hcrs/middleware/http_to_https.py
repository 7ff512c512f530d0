"""Redirects clients without TLS to the same URL with TLS."""

from __future__ import annotations

from urllib.parse import quote

from hcrs.middleware._asgi import ASGIApp, Receive, Scope, Send, is_host, refuse


class HTTPToHTTPSRedirectMiddleware:
    """Redirects ``http`` and ``ws`` by status 307 to ``https`` and ``wss`` at ``host``.

    ``None`` stands for the host of the request. That is safe only if the server accepts no requests for hosts other
    than its own: an attacker who controls a client's requests could otherwise redirect it to another host.
    """

    def __init__(self, app: ASGIApp, host: str | None) -> None:
        self.app = app
        self.host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("scheme", "http") == "http":
            await self._redirect(scope, receive, send, "https")
        elif scope["type"] == "websocket" and scope.get("scheme", "ws") == "ws":
            # Over HTTP/2 a WebSocket is a request like another, and its scheme is https (RFC 8441 section 5).
            is_h2 = scope.get("http_version", "1.1") == "2"
            await self._redirect(scope, receive, send, "https" if is_h2 else "wss")
        else:
            await self.app(scope, receive, send)

    async def _redirect(self, scope: Scope, receive: Receive, send: Send, scheme: str) -> None:
        host = self.host if self.host is not None else _named_host(scope)
        if host is None:
            return await refuse(scope, receive, send, 400, [])
        path = _path(scope)
        query = scope.get("query_string") or b""
        location = f"{scheme}://{host}".encode("latin-1") + path + (b"?" + query if query else b"")
        await refuse(scope, receive, send, 307, [(b"location", location)])


def _path(scope: Scope) -> bytes:
    """Returns the path as the client has sent it, including the root path that a mount or a proxy has removed."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raw = quote(scope["path"]).encode("ascii")
    root = str(scope.get("root_path") or "").encode("utf-8")
    if root and raw != root and not raw.startswith(root + b"/"):
        raw = root + raw
    return raw if raw.startswith(b"/") else b"/"


def _named_host(scope: Scope) -> str | None:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
    return hosts[0] if len(hosts) == 1 and is_host(hosts[0]) else None
