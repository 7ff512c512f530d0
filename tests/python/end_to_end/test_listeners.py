"""Where and how clients reach the server: TLS versions, ALPN, cleartext, unix sockets, the welcome page."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import ssl
import stat
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, find_tool, wait_until


def _page(server: Server, number: int, context: Any, *, http2: bool) -> str:
    with httpx.Client(verify=context or True, http1=not http2, http2=http2) as client:
        return client.get(server.listeners[number].url.replace("127.0.0.1", "localhost") + "/any").text


@pytest.fixture
def welcome(serve: Callable[..., Server]) -> Server:
    return serve(None, tls=True, insecure_bind=["127.0.0.1:0"])


def fact(page: str, name: str) -> str:
    """A line of the welcome page."""
    (found,) = re.findall(rf"^  {name} +(.*)$", page, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize(
    ("version", "name"), [(ssl.TLSVersion.TLSv1_2, "TLS 1.2"), (ssl.TLSVersion.TLSv1_3, "TLS 1.3")]
)
@pytest.mark.parametrize(("http2", "alpn"), [(True, "h2"), (False, "http/1.1")])
def test_tls_version_and_protocol_are_negotiated(
    welcome: Server, trust: Callable[..., ssl.SSLContext], version: Any, name: str, http2: bool, alpn: str
) -> None:
    context = trust()
    context.minimum_version = context.maximum_version = version
    page = _page(welcome, 0, context, http2=http2)
    assert fact(page, "TLS") == name
    assert fact(page, "ALPN") == alpn
    assert fact(page, "Protocol") == ("HTTP/2" if http2 else "HTTP/1.1")
    assert int(fact(page, "Connection")) > 0
    assert ("Stream" in page) == http2


def test_old_tls_versions_are_refused(welcome: Server, trust: Callable[..., ssl.SSLContext]) -> None:
    context = trust()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        H1Client(welcome.listener, tls=context).get()


def test_without_alpn_http_1_1_is_spoken(welcome: Server, trust: Callable[..., ssl.SSLContext]) -> None:
    response = H1Client(welcome.listener, tls=trust()).get()
    assert fact(response.body.decode(), "ALPN") == "none"


def test_unknown_protocol_in_alpn_is_refused(welcome: Server, trust: Callable[..., ssl.SSLContext]) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)no application protocol"):
        H1Client(welcome.listener, tls=trust("spdy/3")).get()


def test_tls_sessions_are_resumed(welcome: Server, trust: Callable[..., ssl.SSLContext]) -> None:
    context = trust("http/1.1")
    first = H1Client(welcome.listener, tls=context)
    first.get()
    assert isinstance(first.socket, ssl.SSLSocket)
    session = first.socket.session
    first.close()
    plain = socket.create_connection((welcome.listener.host, welcome.listener.port))
    with context.wrap_socket(plain, server_hostname="localhost", session=session) as again:
        again.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert again.recv(100).startswith(b"HTTP/1.1 200")
        assert again.session_reused


def test_cleartext_port_speaks_http_1_1_and_http_2_by_prior_knowledge(
    welcome: Server, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    where = welcome.listeners[1]
    assert where.scheme == "http"
    page = connect_h1(where).get().body.decode()
    assert (fact(page, "Protocol"), fact(page, "TLS")) == ("HTTP/1.1", "none")
    page = connect_h2(where).get().body.decode()
    assert (fact(page, "Protocol"), fact(page, "TLS")) == ("HTTP/2", "none")


def test_preface_of_http_2_may_arrive_byte_by_byte(welcome: Server) -> None:
    where = welcome.listeners[1]
    with socket.create_connection((where.host, where.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0":
            connection.sendall(bytes([byte]))
        frame = connection.recv(9)
        assert frame[3] == 4, "SETTINGS"


def test_cleartext_on_the_tls_port_gets_no_answer(welcome: Server) -> None:
    where = welcome.listener
    with socket.create_connection((where.host, where.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = connection.recv(1000)
        assert b"HTTP/" not in answer


def test_browser_gets_the_welcome_page_as_html(welcome: Server, trust: Callable[..., ssl.SSLContext]) -> None:
    with httpx.Client(verify=trust(), http2=True) as client:
        response = client.get(f"https://localhost:{welcome.listener.port}/", headers={"accept": "text/html,*/*"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<td>HTTP/2</td>" in response.text and "<td>TLS 1.3</td>" in response.text


def test_welcome_page_needs_no_workers(welcome: Server) -> None:
    assert welcome.worker_pids() == []


def test_unix_socket_serves_both_protocols(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    path = tmp_path / "s.sock"
    server = serve("plain.py:app", bind=f"unix:{path}", umask=0o077)
    assert server.listener.path == str(path)
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0
    assert connect_h1(server.listener).get().body == b"hello"
    scope = eval(connect_h2(server.listener).get("/scope").body)
    assert (scope["client"], scope["server"]) == (None, None)


def test_file_of_a_dead_unix_socket_is_replaced(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client]
) -> None:
    path = tmp_path / "s.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    server = serve("plain.py:app", bind=f"unix:{path}")
    assert connect_h1(server.listener).get().body == b"hello"


def test_several_listeners_serve_one_app(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve("plain.py:app", tls=True, bind=["127.0.0.1:0", "127.0.0.1:0"],
                   insecure_bind=["127.0.0.1:0", f"unix:{tmp_path}/s"])
    assert [listener.scheme for listener in server.listeners] == ["https", "https", "http", "http"]
    answers = {connect_h1(listener).get("/pid").body for listener in server.listeners}
    assert answers == {str(server.worker_pids()[0]).encode()}
    assert {connect_h2(listener).get("/pid").body for listener in server.listeners} == answers


def test_inherited_descriptor_is_served(
    serve: Callable[..., Server], launch: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(listener.fileno(), True)
    server = launch("plain.py:app", bind=f"fd://{listener.fileno()}", pass_fds=[listener.fileno()])
    listener_port = listener.getsockname()[1]
    listener.close()
    server.wait_until_running()
    assert server.listener.port == listener_port
    assert connect_h1(server.listener).get().body == b"hello"
    assert server.stop() == 0


def test_of_two_servers_that_start_at_once_one_gets_the_port(launch: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = [launch("plain.py:app", bind=f"127.0.0.1:{port}", workers=2, hcrs={"io_threads": 2}) for _ in range(2)]
    loser = wait_until(lambda: next((server for server in both if not server.is_running), None), "one of them to end")
    assert loser.wait_for_exit() == 1
    assert f"127.0.0.1:{port}" in loser.log and "ddress already in use" in loser.log
    winner = next(server for server in both if server is not loser)
    winner.wait_until_running()
    assert H1Client(winner.listener).get().status == 200
    assert winner.stop() == 0


def test_any_address_of_ipv6_serves_ipv4_too(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("settings.py:app", bind="[::]:0")
    for host in ("127.0.0.1", "[::1]"):
        assert f'"client": "{host.strip("[]")}"'.encode() in connect_h1(server.listener._replace(host=host)).get().body


def test_address_in_use_ends_the_start(launch: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = launch("plain.py:app", bind=f"127.0.0.1:{taken.getsockname()[1]}")
        assert server.wait_for_exit() == 1
    assert "cannot listen on 127.0.0.1" in server.log
    server.wait_for_workers_end()


def test_httpx_speaks_both_protocols(plain: Server, trust: Callable[..., ssl.SSLContext]) -> None:
    for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
        with httpx.Client(verify=trust(), http1=not http2, http2=http2) as client:
            url = plain.listener.url.replace("127.0.0.1", "localhost")
            for _ in range(5):
                response = client.post(url + "/echo", content=b"x" * 100_000)
                assert (response.http_version, response.content) == (version, b"x" * 100_000)


def test_curl_speaks_every_protocol(plain: Server, certificate: dict[str, str]) -> None:
    curl = find_tool("curl", "curl")
    if curl is None:
        pytest.skip("curl is missing: apt-get install curl")
    secure, plain_text = plain.listeners
    for arguments, version in (
        (["--http2", f"https://localhost:{secure.port}/"], "2"),
        (["--http1.1", f"https://localhost:{secure.port}/"], "1.1"),
        (["--http2-prior-knowledge", plain_text.url], "2"),
        ([plain_text.url], "1.1"),
    ):
        run = subprocess.run(
            [curl, "-sS", "--max-time", "20", "--cacert", certificate["certfile"], "-w", " %{http_version}", *arguments],
            capture_output=True, text=True, check=False,
        )
        assert (run.stdout, run.stderr) == (f"hello {version}", ""), arguments


def test_h2_client_that_breaks_the_protocol_loses_only_its_connection(
    plain: Server, connect_h2: Callable[..., H2Client]
) -> None:
    good, bad = connect_h2(plain.listeners[1]), connect_h2(plain.listeners[1])
    assert isinstance(bad, H2Client)
    bad.socket.sendall(b"\0\0\0\xff\0\xff\xff\xff\xff" + b"\0\0\4\3\0\0\0\0\0" + bytes(4))
    bad.wait_for_close()
    assert good.get().body == b"hello"


def test_a_machine_without_descriptors_is_complained_of_once_in_a_while(
    serve: Callable[..., Server], connect_h1: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", hcrs={"io_threads": 1})
    client = connect_h1(server.listener)
    assert client.get().status == 200
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as waiting:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (1, limits[1]))
        waiting.enter_context(socket.create_connection((server.listener.host, server.listener.port)))
        server.wait_for_log("Cannot accept connections on .*: Too many open files")
        # It goes on to look ten times a second, and who is connected is served.
        began = time.monotonic()
        while time.monotonic() < began + 1:
            assert client.get().status == 200
            time.sleep(0.05)
        assert server.log.count("Cannot accept connections") == 1
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        assert connect_h1(server.listener).get().status == 200
