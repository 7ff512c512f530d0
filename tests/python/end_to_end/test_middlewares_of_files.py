"""Middlewares that know a response by its messages of a body get the files of FileResponse as such messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from end_to_end.key_rows import shows
from end_to_end.server import APPS, Server

SOURCE = (APPS / "middlewares_of_files.py").read_bytes()


def get(server: Server, path: str, http2: bool) -> httpx.Response:
    """The response to a client that takes gzip."""
    with httpx.Client(http1=not http2, http2=http2, base_url=server.listener.url) as client:
        return client.get(path, headers={"accept-encoding": "gzip"})


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_files_reach_middlewares_as_bodies(serve: Callable[..., Server], http2: bool) -> None:
    server = serve("middlewares_of_files.py:app")
    for path, body in (("/shout", SOURCE.upper()), ("/late", SOURCE), ("/gzip", SOURCE)):
        response = get(server, path, http2)
        assert (response.status_code, response.content) == (200, body), path
        assert (response.headers.get("content-encoding") == "gzip") == (path == "/gzip")
    # What comes last came compressed.
    assert int(response.headers["content-length"]) < len(SOURCE)


@shows("middlewares_of_files.py:app", pathsend=True)
def test_files_pass_middlewares_by_where_that_is_asked_for(server: Server) -> None:
    # The last one knows the message, and lets the file pass as it is.
    for path, status in (("/shout", 500), ("/late", 500), ("/gzip", 200)):
        response = get(server, path, True)
        assert (response.status_code, response.headers.get("content-encoding")) == (status, None)


def test_ranges_and_heads_are_as_ever(serve: Callable[..., Server]) -> None:
    server: Any = serve("middlewares_of_files.py:app")
    with httpx.Client(http1=False, http2=True, base_url=server.listener.url) as client:
        part = client.get("/late", headers={"range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, SOURCE[5:10])
        head = client.head("/late")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(SOURCE)))
