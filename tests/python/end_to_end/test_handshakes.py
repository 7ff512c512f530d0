"""TLS handshakes that are begun and not finished do not delay others, and have deadlines."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import DEADLINE, Server

#: More than a server that gives away places for handshakes might have.
MANY = 300

#: Longer than any test: what is not asked for does not end what is.
NEVER = 3600


def client_hello(context: ssl.SSLContext) -> bytes:
    """The first message of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.fixture
def open_raw() -> Iterator[Any]:
    """Opens TCP connections on which nothing is said but these bytes."""
    opened: list[socket.socket] = []

    def connect(server: Server, first: bytes = b"") -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", server.listener.port), timeout=DEADLINE))
        opened[-1].sendall(first)
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def is_open(connection: socket.socket) -> bool:
    """Whether the server has not closed the connection."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True


@pytest.mark.parametrize("max_handshakes", [1, 16])
def test_connections_that_go_no_further_hold_up_no_handshake(
    serve: Callable[..., Server],
    trust: Callable[..., ssl.SSLContext],
    open_raw: Any,
    connect_h1: Callable[..., H1Client],
    max_handshakes: int,
) -> None:
    server = serve(
        "plain.py:app",
        tls=True,
        backlog=2 * MANY,
        ssl_handshake_timeout=NEVER,
        hcrs={"max_handshakes": max_handshakes, "head_timeout": NEVER},
    )
    hello = client_hello(trust("http/1.1"))
    silent = [open_raw(server) for _ in range(MANY)]
    halfway = [open_raw(server, hello[:20]) for _ in range(10)]
    answered = [open_raw(server, hello) for _ in range(MANY)]
    for connection in answered:
        assert connection.recv(65_536), "closed instead of answered"
    assert connect_h1(server.listener).get("/").status == 200
    assert all(map(is_open, silent + halfway + answered))


@pytest.mark.parametrize("first", [0, 20])
def test_a_client_hello_has_the_deadline_of_a_head(
    serve: Callable[..., Server], trust: Callable[..., ssl.SSLContext], open_raw: Any, first: int
) -> None:
    server = serve("plain.py:app", tls=True, ssl_handshake_timeout=NEVER, hcrs={"head_timeout": 0.5})
    assert open_raw(server, client_hello(trust("http/1.1"))[:first]).recv(1) == b""


def test_the_whole_handshake_has_a_deadline(
    serve: Callable[..., Server], trust: Callable[..., ssl.SSLContext], open_raw: Any
) -> None:
    server = serve("plain.py:app", tls=True, ssl_handshake_timeout=0.5, hcrs={"head_timeout": NEVER})
    connection = open_raw(server, client_hello(trust("http/1.1")))
    while connection.recv(65_536):
        pass
