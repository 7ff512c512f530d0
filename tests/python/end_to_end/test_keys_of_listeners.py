"""The effects of the keys of listeners and of proxies in front: rows of the table of keys (key_rows.py)."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import GROUP, OWNER, shows
from end_to_end.server import APPS, Server, wait_until


def scope_of(response: Any) -> Any:
    assert response.status == 200, response
    return eval(response.body)


@shows(
    "plain.py:app",
    bind=["127.0.0.1:0", "unix:<folder>/socket"],
    insecure_bind=["127.0.0.1:0"],
    quic_bind=["127.0.0.1:0"],
    certfile="<pki>/localhost.pem",
    keyfile="<pki>/localhost.pem",
    umask=0o027,
    user=OWNER,
    group=GROUP,
    io_threads=2,
)
def test_listeners_are_where_and_as_they_are_wanted(
    server: Server, tmp_path: Path, connect_h1: Callable[..., H1Client], connect_h3: Callable[..., H3Client]
) -> None:
    assert scope_of(connect_h3(server.quic, cafile=None).get("/scope"))["http_version"] == "3"
    assert [(where.scheme, where.path is not None) for where in server.listeners] == [
        ("https", False),
        ("https", True),
        ("http", False),
    ]
    assert scope_of(connect_h1(server.listeners[2]).get("/scope"))["scheme"] == "http"
    status = os.stat(tmp_path / "socket")
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o750, OWNER, GROUP)
    names = [path.read_text() for path in Path(f"/proc/{server.pid}/task").glob("*/comm")]
    assert sorted(name for name in names if name.startswith("edge-")) == ["edge-0\n", "edge-1\n"]


#: Of ``struct tcp_info``: on a socket that listens tcpi_sacked is the length of its queue.
SACKED_AT = 8 + 4 * 5


@shows(backlog=7)
@pytest.mark.parametrize("given", [["--backlog=7"], []])
def test_backlog_is_the_length_of_the_queue(serve: Callable[..., Server], given: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        serve(
            "plain.py:app",
            bind=f"fd://{listener.fileno()}",
            pass_fds=[listener.fileno()],
            flags=given,
            **({} if given else {"backlog": 7}),
        )
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert struct.unpack_from("I", info, SACKED_AT) == (7,)


@shows("plain.py:app", max_connections=2, io_threads=1)
def test_connections_beyond_the_most_are_closed(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    held = [connect_h1(server.listener) for _ in range(2)]
    assert [client.get().status for client in held] == [200, 200]
    connect_h1(server.listener).assert_cut()
    held[0].close()
    wait_until(lambda: connect_h1(server.listener).get().status == 200 if opens(server) else None, "room for one more")


def opens(server: Server) -> bool:
    """Whether a connection is kept."""
    with socket.create_connection((server.listener.host, server.listener.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        try:
            return connection.recv(100).startswith(b"HTTP/1.1 200")
        except ConnectionResetError:
            return False


@shows("settings.py:app", forwarded_allow_ips=["192.0.2.0/24", "127.0.0.1"], forwarded_prefix=True)
def test_trusted_proxies_speak_for_clients(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    fields = "x-forwarded-for: 198.51.100.7, 192.0.2.1\r\nx-forwarded-prefix: /shop\r\n"
    told = connect_h1(server.listener).get("/", headers=fields)
    assert b'"client": "198.51.100.7"' in told.body and b'"root_path": "/shop"' in told.body


@shows(
    "plain.py:app",
    bind="127.0.0.1:0",
    insecure_bind="127.0.0.1:0",
    certfile="<pki>/localhost.pem",
    keyfile="<pki>/localhost.pem",
    redirect_http=True,
    server_names=["127.0.0.1"],
)
def test_cleartext_is_redirected_to_https(
    server: Server, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> None:
    https, http = server.listeners
    plain = connect_h1(http)

    def redirected(target: str, fields: str = "") -> tuple[int, str | None]:
        response = plain.get(target, headers=fields)
        return response.status, response.header("location")

    assert redirected("/a%20b?x=1") == (308, f"https://127.0.0.1:{https.port}/a%20b?x=1")
    plain.request("POST", "/", headers="expect: 100-continue\r\ncontent-length: 4\r\n")
    assert plain.response().status == 308
    assert connect_h1(http).get("/.well-known/acme-challenge/token").status == 404, "the app's own answer"
    stranger = connect_h1(http)
    stranger.send(b"GET / HTTP/1.1\r\nhost: elsewhere.test\r\n\r\n")
    assert stranger.response().status == 404, "hosts that are not named are not redirected"
    response = connect_h2(http).get("/h2")
    location = f"https://127.0.0.1:{https.port}/h2".encode()
    assert (response.status, response.header(b"location")) == (308, location)


@shows("settings.py:app", stripped_prefix="/shop/")
def test_what_a_proxy_takes_off_the_path_is_put_back(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    assert b'"root_path": "/shop"' in connect_h1(server.listener).get("/").body


@shows("settings.py:app", forwarded_allow_ips="*", proxy_headers="modern", trusted_hops=2)
def test_forwarded_is_read_by_the_number_of_hops(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    fields = "x-forwarded-for: 198.51.100.1\r\nforwarded: for=198.51.100.2, for=198.51.100.3, for=198.51.100.4\r\n"
    assert b'"client": "198.51.100.3"' in connect_h1(server.listener).get("/", headers=fields).body


@shows("settings.py:app", drop_untrusted_forwarded=True)
def test_fields_of_strangers_are_dropped(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    told = connect_h1(server.listener).get("/", headers="x-forwarded-for: 198.51.100.1\r\nforwarded: for=a\r\nx-a: b\r\n")
    assert b'"headers": ["host", "x-a"]' in told.body


@shows("settings.py:app", proxy_protocol=True, proxy_protocol_timeout=0.3, forwarded_allow_ips="127.0.0.1")
def test_a_proxy_header_has_to_come_within_proxy_protocol_timeout(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listener)
    client.send("PROXY TCP4 198.51.100.7 192.0.2.1 1000 80\r\n")
    assert b'"client": "198.51.100.7"' in client.get().body
    silent, began = connect_h1(server.listener), time.monotonic()
    silent.assert_cut()
    assert 0.25 < time.monotonic() - began < 4


@shows(None, application_path=str(APPS / "plain.py") + ":app", bind="unix:<folder>/s")
def test_the_app_is_the_one_that_the_path_names(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    assert connect_h1(server.listener).get().body == b"hello"
