"""Requests through an edge to an upstream, as the tests of upstreams send them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.server import Server, to_toml


def write(file: Path, *urls: str, keys: dict[str, Any], **route: Any) -> None:
    """Writes a configuration with one route."""
    table = "[[hcrs.routes]]\n" + to_toml({"upstream": list(urls), **route})
    file.write_text(to_toml({"bind": "127.0.0.1:0", "loglevel": "info", "hcrs": {"io_threads": 1}, **keys}) + table)


class Client:
    """A client over any protocol."""

    def __init__(self, connection: H1Client | H2Client | H3Client) -> None:
        self.connection = connection

    def ask(
        self, path: str = "/", method: str = "GET", headers: tuple[tuple[str, str], ...] = (), body: bytes | None = None
    ) -> Answer:
        """A whole exchange."""
        if isinstance(self.connection, H1Client):
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
            self.connection.request(method, path, fields, body or b"")
            hints = []
            while (h1 := self.connection.response(to_head=method == "HEAD")).status < 200:
                hints.append([(name.lower(), value) for name, value in h1.headers])
            pairs = [(name.lower(), value) for name, value in h1.headers]
            return Answer(h1.status, pairs, h1.body, h1.trailers, hints)
        h2 = self.connection.response(self.connection.request(method, path, headers, body))
        assert h2.status is not None and h2.reset is None, h2
        text = [(name.decode(), value.decode()) for name, value in h2.headers if not name.startswith(b":")]
        trailers = [(name.decode(), value.decode()) for name, value in h2.trailers or []]
        hints = [[(name.decode(), value.decode()) for name, value in hint] for hint in h2.informational]
        return Answer(h2.status, text, h2.body, trailers, hints)


class Answer:
    """A response over any protocol."""

    def __init__(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        trailers: list[tuple[str, str]],
        hints: list[list[tuple[str, str]]],
    ) -> None:
        self.status, self.headers, self.body, self.trailers, self.hints = status, headers, body, trailers, hints

    def header(self, name: str) -> str | None:
        """The one value of a field, if it has one."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None


def status_of(server: Server, path: str = "/", **request: Any) -> int:
    """The status of a request over a connection of its own."""
    return httpx.request(request.pop("method", "GET"), server.listeners[1].url + path, timeout=30, **request).status_code
