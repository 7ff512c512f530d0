"""Servers with routes, and clients that ask them over any protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client, Lost
from end_to_end.h3_client import H3Client
from end_to_end.server import APPS, Server, to_toml

PLAIN = str(APPS / "plain.py:app")


class Response(NamedTuple):
    """A response over any protocol."""

    status: int
    fields: dict[str, str]
    body: bytes


Ask = Callable[..., Response]


def routes_file(folder: Path, routes: Sequence[Mapping[str, Any]], **keys: Any) -> Path:
    """A configuration with these routes and an app."""
    tables = "".join("[[hcrs.routes]]\n" + to_toml(route) for route in routes)
    file = folder / "hcrs.toml"
    file.write_text(to_toml({"bind": "127.0.0.1:0", "application_path": PLAIN, **keys}) + tables)
    return file


def with_routes(start: Callable[..., Server], folder: Path, routes: Sequence[Mapping[str, Any]], **keys: Any) -> Server:
    """A server with these routes, an app, and TLS if it has a certificate."""
    return start(None, config_file=routes_file(folder, routes, **keys))


def asking(client: H1Client | H2Client | H3Client) -> Ask:
    """Asks over one connection."""

    def over_h1(target: str, method: str = "GET", **fields: str) -> Response:
        assert isinstance(client, H1Client)
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        client.request(method, target, named)
        answer = client.response(to_head=method == "HEAD")
        return Response(answer.status, {name.lower(): value for name, value in answer.headers}, answer.body)

    def multiplexed(target: str, method: str = "GET", **fields: str) -> Response:
        assert isinstance(client, (H2Client, H3Client))
        named = [(name.replace("_", "-"), value) for name, value in fields.items()]
        answer = client.response(client.request(method, target, named))
        if answer.status is None:
            raise Lost(f"a reset with {answer.reset} in place of a response")
        pairs = {name.decode(): value.decode() for name, value in answer.headers}
        return Response(answer.status, pairs, answer.body)

    return over_h1 if isinstance(client, H1Client) else multiplexed
