"""What proxies report about clients is believed from trusted peers only."""

from __future__ import annotations

import ast
import contextlib
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h2.connection
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until

LOCAL = {"forwarded_allow_ips": "127.0.0.1"}

Fields = list[tuple[str, str]]


@pytest.fixture
def ask(protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the scope of a request with these fields, over every protocol."""

    def get(server: Server, fields: Fields) -> Any:
        where = server.listener_for(protocol)
        if protocol.startswith("h1"):
            client = connect_h1(where)
            body = client.get("/scope", "".join(f"{name}: {value}\r\n" for name, value in fields)).body
        else:
            client = connect_multiplexed(where)
            body = client.response(client.request("GET", "/scope", fields)).body
        scope = ast.literal_eval(body.decode())
        scope["own_address"] = client.socket.getsockname()
        return scope

    return get


@pytest.fixture
def behind(serve: Callable[..., Server]) -> Callable[..., Server]:
    """Starts a server with both listeners, and these keys of its own."""

    def start(app: str = "plain.py:app", **own: Any) -> Any:
        return serve(app, tls=True, insecure_bind="127.0.0.1:0", accesslog="-", hcrs=own)

    return start


def header(scope: dict[str, Any], name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


SPOOFED = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.test"),
    ("x-forwarded-port", "1"),
    ("forwarded", "for=6.6.6.6;proto=https;host=evil.test"),
]


@pytest.mark.parametrize(
    "own", [{}, {"forwarded_allow_ips": "10.0.0.0/8"}, {"forwarded_allow_ips": "::1, unix", "proxy_headers": "modern"}]
)
def test_strangers_are_not_believed(
    behind: Callable[..., Server], ask: Callable[..., Any], protocol: str, own: Any
) -> None:
    server = behind(**own)
    scope = ask(server, SPOOFED)
    where = server.listener_for(protocol)
    assert scope["client"] == scope["own_address"]
    assert scope["scheme"] == where.scheme
    assert scope["server"] == (where.host, where.port)
    assert header(scope, b"host") == [where.authority.encode()]
    assert header(scope, b"x-forwarded-for") == [b"6.6.6.6"], "the app may still look at it"


def test_fields_of_strangers_can_be_kept_from_the_app(behind: Callable[..., Server], ask: Callable[..., Any]) -> None:
    scope = ask(behind(forwarded_allow_ips="10.0.0.1", drop_untrusted_forwarded=True), [*SPOOFED, ("x-other", "1")])
    assert not [name for name, _ in scope["headers"] if b"forwarded" in name]
    assert header(scope, b"x-other") == [b"1"]
    assert scope["client"] == scope["own_address"]


def test_trusted_proxy_names_the_client(
    behind: Callable[..., Server], ask: Callable[..., Any], protocol: str
) -> None:
    server = behind(forwarded_allow_ips=["127.0.0.0/8", "10.0.0.0/8"])
    scope = ask(
        server,
        [
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1:4711"),
            ("x-forwarded-for", "10.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.test"),
        ],
    )
    assert scope["client"] == ("192.0.2.1", 4711)
    assert scope["scheme"] == "https"
    assert scope["server"] == ("example.test", 443)
    assert header(scope, b"host") == [b"example.test"]
    assert header(scope, b"x-forwarded-for") == [b"6.6.6.6, 192.0.2.1:4711", b"10.1.1.1"]
    line = wait_until(lambda: server.output, "a line of the access log")
    assert f"] {scope['own_address'][0]}:{scope['own_address'][1]} - - [" in line, "the log keeps the peer"


def test_trusted_proxy_takes_https_back(behind: Callable[..., Server], ask: Callable[..., Any]) -> None:
    scope = ask(behind(**LOCAL), [("x-forwarded-proto", "http"), ("x-forwarded-port", "8080")])
    assert (scope["scheme"], scope["server"][1]) == ("http", 8080)


def test_forwarded_is_read_where_it_is_asked_for_and_nothing_else(
    behind: Callable[..., Server], ask: Callable[..., Any]
) -> None:
    server = behind(**LOCAL, proxy_headers="modern")
    spoofed = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "evil.test")]
    scope = ask(server, [*spoofed, ("forwarded", 'for="[2001:db8::1]:80";proto=https;host="a.test:8443"')])
    assert scope["client"] == ("2001:db8::1", 80)
    assert (scope["scheme"], scope["server"]) == ("https", ("a.test", 8443))
    assert header(scope, b"host") == [b"a.test:8443"]
    scope = ask(server, spoofed)
    assert scope["client"] == scope["own_address"]


def test_old_fields_are_not_mixed_with_the_new(behind: Callable[..., Server], ask: Callable[..., Any]) -> None:
    scope = ask(behind(**LOCAL), [("forwarded", "for=6.6.6.6;proto=https;host=evil.test")])
    assert scope["client"] == scope["own_address"]
    assert b"evil.test" not in header(scope, b"host")


def test_hops_are_counted_where_addresses_are_not_known(behind: Callable[..., Server], ask: Callable[..., Any]) -> None:
    server = behind(forwarded_allow_ips="*", trusted_hops=2)
    assert ask(server, [("x-forwarded-for", "6.6.6.6, 192.0.2.1, 198.51.100.1")])["client"] == ("192.0.2.1", 0)
    scope = ask(server, [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")])
    assert scope["client"] == scope["own_address"], "it has come another way"


def test_trusted_proxies_may_be_named_in_the_environment(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("plain.py:app", env={"FORWARDED_ALLOW_IPS": "127.0.0.1"})
    body = connect_h1(server.listener).get("/scope", "x-forwarded-for: 192.0.2.1\r\n").body
    assert ast.literal_eval(body.decode())["client"] == ("192.0.2.1", 0)


def test_unix_socket_can_be_trusted(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = serve("plain.py:app", bind=[f"unix:{tmp_path}/a", "127.0.0.1:0"], hcrs={"forwarded_allow_ips": "unix"})
    fields = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: a.test\r\n"
    scope = ast.literal_eval(connect_h1(server.listeners[0]).get("/scope", fields).body.decode())
    assert (scope["client"], scope["scheme"], scope["server"]) == (("192.0.2.1", 0), "https", ("a.test", 443))
    scope = ast.literal_eval(connect_h1(server.listeners[1]).get("/scope", fields).body.decode())
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")


def test_wsgi_apps_see_it_too(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("wsgi.py:app", hcrs=LOCAL)
    fields = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: a.test\r\n"
    environ = connect_h1(server.listener).get("/environ", fields).body.decode()
    for item in ("'REMOTE_ADDR': '192.0.2.1'", "'wsgi.url_scheme': 'https'", "'HTTP_HOST': 'a.test'",
                 "'SERVER_NAME': 'a.test'", "'SERVER_PORT': '443'"):
        assert item in environ


def test_prefix_that_the_proxy_has_taken_off_is_put_back(
    serve: Callable[..., Server],
    behind: Callable[..., Server],
    ask: Callable[..., Any],
    connect_h1: Callable[..., H1Client],
) -> None:
    field = ("x-forwarded-prefix", "/api/v%201")
    scope = ask(behind("middleware.py:show", **LOCAL, forwarded_prefix=True), [field])
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api/v 1", "/api/v 1/scope", b"/scope")
    scope = ask(behind("middleware.py:show", **LOCAL), [field])
    assert (scope["root_path"], scope["path"]) == ("", "/scope"), "it is believed only where that is wanted"
    scope = ask(behind("middleware.py:show", forwarded_allow_ips="10.0.0.1", forwarded_prefix=True), [field])
    assert (scope["root_path"], scope["path"]) == ("", "/scope"), "a stranger is not believed"
    server = serve("wsgi.py:app", hcrs={**LOCAL, "forwarded_prefix": True})
    environ = connect_h1(server.listener).get("/environ", "x-forwarded-prefix: /api/\r\n").body.decode()
    assert "'SCRIPT_NAME': '/api'" in environ and "'PATH_INFO': '/environ'" in environ


def test_a_prefix_that_every_proxy_takes_off_is_put_back(
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    connect_h2: Callable[..., H2Client],
) -> None:
    server = serve("middleware.py:show", root_path="/root", hcrs={**LOCAL, "forwarded_prefix": True, "stripped_prefix": "/api/"})
    seen = []
    for body in (
        connect_h1(server.listener).get("/a%20b").body,
        connect_h2(server.listener).get("/a%20b").body,
        connect_h1(server.listener).get("/a%20b", "x-forwarded-prefix: /other\r\n").body,
        connect_h1(server.listener).get("/a%20b", "x-forwarded-prefix: /%2e%2e\r\n").body,
    ):
        scope = eval(body)
        assert scope["raw_path"] == b"/a%20b"
        seen.append((scope["root_path"], scope["path"]))
    own = ("/api/root", "/api/a b")
    assert seen == [own, own, ("/other/root", "/other/a b"), own]
    server = serve("wsgi.py:app", hcrs={"stripped_prefix": "/api"})
    environ = connect_h1(server.listener).get("/environ").body.decode()
    assert "'SCRIPT_NAME': '/api'" in environ and "'PATH_INFO': '/environ'" in environ


# ---- the PROXY protocol ----

V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n"
V1_UNKNOWN = b"PROXY UNKNOWN\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, addresses: bytes, tlvs: bytes = b"") -> bytes:
    rest = addresses + tlvs
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(rest)) + rest


V2_ADDRESSES = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack("!HH", 4711, 443)
TLVS = b"\x04\0\x28" + bytes(40) + b"\xea\0\x06\x01vpce-"
V2 = v2(1, 0x11, V2_ADDRESSES, TLVS)
V2_IPV6 = v2(1, 0x21, bytes(15) + b"\x07" + bytes(15) + b"\x08" + struct.pack("!HH", 4711, 443))
V2_LOCAL = v2(0, 0, b"")
V2_UNIX = v2(1, 0x31, bytes(216))
V2_SSL = v2(1, 0x11, V2_ADDRESSES, b"\x20\0\x05\x01\0\0\0\0")


class H2Peer:
    """The least of an HTTP/2 client."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.protocol = h2.connection.H2Connection()
        self.protocol.initiate_connection()

    def scope(self) -> Any:
        head = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/scope")]
        self.protocol.send_headers(1, head, end_stream=True)
        self.socket.sendall(self.protocol.data_to_send())
        body = b""
        while piece := self.socket.recv(1 << 16):
            for event in self.protocol.receive_data(piece):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return ast.literal_eval(body.decode())
        raise AssertionError("closed")


@pytest.fixture(scope="module")
def proxied(share: Callable[..., Server]) -> Server:
    """Both listeners expect the PROXY protocol from this machine, and fields of a proxy at 192.0.2.1 are believed."""
    own = {"forwarded_allow_ips": ["127.0.0.1", "192.0.2.1"], "proxy_protocol": True, "proxy_protocol_timeout": 1}
    return share("plain.py:app", tls=True, keep_alive_timeout=30, accesslog="-", loglevel="debug", hcrs=own)


@pytest.fixture(params=["h1", "h1-tls", "h2", "h2c"])
def protocol_over_tcp(request: pytest.FixtureRequest) -> str:
    """The ways to speak HTTP behind a header of the PROXY protocol."""
    return str(request.param)


@pytest.fixture
def through(proxied: Server, protocol_over_tcp: str, trust: Callable[..., ssl.SSLContext]) -> Iterator[Callable[..., Any]]:
    """Connects as a proxy does, and returns the scope of a request: the header first, then TLS, then HTTP."""
    opened = []

    def get(header: bytes, fields: str = "", by_byte: bool = False) -> Any:
        where = proxied.listener_for(protocol_over_tcp)
        connection = socket.create_connection((where.host, where.port), timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.append(connection)
        own = connection.getsockname()
        for piece in [header[at : at + 1] for at in range(len(header))] if by_byte else [header]:
            connection.sendall(piece)
        if where.scheme == "https":
            alpn = "http/1.1" if protocol_over_tcp.startswith("h1") else "h2"
            opened[-1] = connection = trust(alpn).wrap_socket(connection, server_hostname="localhost")
        if protocol_over_tcp.startswith("h2"):
            scope = H2Peer(connection).scope()
        else:
            client = H1Client.__new__(H1Client)
            client.where, client.socket, client._input = where, connection, bytearray()
            scope = ast.literal_eval(client.get("/scope", fields).body.decode())
        scope["own_address"], scope["where"] = own, where
        return scope

    yield get
    for connection in opened:
        connection.close()


@pytest.mark.parametrize("by_byte", [False, True])
@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_header_names_client_and_server(
    proxied: Server, through: Callable[..., Any], header: Any, by_byte: bool
) -> None:
    scope = through(header, by_byte=by_byte)
    assert (scope["client"], scope["server"]) == (("192.0.2.1", 4711), ("192.0.2.2", 443))
    assert scope["scheme"] == scope["where"].scheme
    wait_until(lambda: '192.0.2.1:4711 - - [' in proxied.output, "the client's address in the access log")


def test_ipv6_client_is_named(through: Callable[..., Any]) -> None:
    scope = through(V2_IPV6)
    assert (scope["client"], scope["server"]) == (("::7", 4711), ("::8", 443))


@pytest.mark.parametrize("header", [V1_UNKNOWN, V2_LOCAL], ids=["v1", "v2"])
def test_health_check_of_the_proxy_is_answered(through: Callable[..., Any], header: Any) -> None:
    scope = through(header)
    assert scope["client"] == scope["own_address"]
    assert scope["server"] == (scope["where"].host, scope["where"].port)


def test_client_on_a_unix_socket_has_no_address(through: Callable[..., Any]) -> None:
    scope = through(V2_UNIX)
    assert (scope["client"], scope["server"]) == (None, None)


def test_client_that_spoke_tls_with_the_proxy_used_https(through: Callable[..., Any]) -> None:
    assert through(V2_SSL)["scheme"] == "https"


def test_fields_count_by_the_client_that_the_header_names(proxied: Server, connect_h1: Callable[..., H1Client]) -> None:
    where = proxied.listeners[1]
    for header, client in [(V1, "198.51.100.7"), (V1.replace(b"192.0.2.1", b"192.0.2.9"), "192.0.2.9")]:
        proxy = connect_h1(where)
        proxy.send(header)
        scope = ast.literal_eval(proxy.get("/scope", "x-forwarded-for: 198.51.100.7\r\n").body.decode())
        assert scope["client"][0] == client


#: What a client writes that would pass for another one, of another host.
CLAIM = "x-forwarded-for: 127.0.0.1\r\nx-forwarded-host: admin.internal\r\nx-forwarded-proto: https\r\n"


def test_a_wildcard_trusts_every_peer_but_no_client_that_the_header_names(
    behind: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = behind(forwarded_allow_ips="*", proxy_protocol=True)
    for named, client in [(V1, "192.0.2.1"), (V2, "192.0.2.1"), (V1_UNKNOWN, "127.0.0.1")]:
        proxy = connect_h1(server.listeners[1])
        proxy.send(named)
        scope = ast.literal_eval(proxy.get("/scope", CLAIM).body.decode())
        assert (scope["client"][0], scope["scheme"]) == (client, "http")
        assert header(scope, b"host") != [b"admin.internal"]


V2_UNSPECIFIED = v2(1, 0, b"")


@pytest.mark.parametrize("header", [V1_UNKNOWN, V2_UNSPECIFIED, V2_UNIX], ids=["v1", "v2", "unix"])
def test_fields_are_not_believed_where_the_header_names_no_client(
    proxied: Server, connect_h1: Callable[..., H1Client], header: Any
) -> None:
    proxy = connect_h1(proxied.listeners[1])
    proxy.send(header)
    scope = ast.literal_eval(proxy.get("/scope", "x-forwarded-for: 6.6.6.6\r\n").body.decode())
    assert scope["client"] == (None if header == V2_UNIX else proxy.socket.getsockname())


def test_fields_of_the_proxy_itself_are_believed(proxied: Server, connect_h1: Callable[..., H1Client]) -> None:
    proxy = connect_h1(proxied.listeners[1])
    proxy.send(V2_LOCAL)
    scope = ast.literal_eval(proxy.get("/scope", "x-forwarded-for: 6.6.6.6\r\n").body.decode())
    assert scope["client"][0] == "6.6.6.6"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\0",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 4711\r\nGET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE + b"\x31\x11\0\x0c" + V2_ADDRESSES,
        v2(1, 0x11, V2_ADDRESSES, b"\x03\0\x04\0\0\0\0"),
    ],
    ids=["h1", "h2", "tls", "v1-short", "v1-long", "v2-long", "v3", "checksum"],
)
def test_connection_without_a_right_header_is_closed_and_nothing_is_answered(
    proxied: Server, connect_h1: Callable[..., H1Client], data: Any
) -> None:
    before = len(re.findall(r"Connection refused: .*PROXY.* conn=\d+", proxied.log))
    for where in proxied.listeners:
        client = socket.create_connection((where.host, where.port), timeout=20)
        client.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
        client.close()
    proxied.wait_for_log(r"Connection refused: .*PROXY.* conn=\d+", before + 2)


def test_header_that_drips_is_closed_at_the_deadline(proxied: Server) -> None:
    where = proxied.listeners[1]
    with socket.create_connection((where.host, where.port), timeout=20) as client:
        begun = time.monotonic()
        client.settimeout(0.2)
        for byte in b"PROXY UNKNOWN " + b"x" * 90:
            try:
                client.sendall(bytes([byte]))
                assert client.recv(1) == b""
                break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        assert 0.9 < time.monotonic() - begun < 10
    proxied.wait_for_log("not complete in time")


def test_strangers_may_not_speak_the_proxy_protocol(serve: Callable[..., Server]) -> None:
    server = serve(
        "plain.py:app", loglevel="debug", hcrs={"forwarded_allow_ips": "10.0.0.1", "proxy_protocol": True}
    )
    with socket.create_connection((server.listener.host, server.listener.port), timeout=20) as client:
        assert client.recv(100) == b"", "closed without waiting for a byte"
    server.wait_for_log(r"the peer 127\.0\.0\.1 is not trusted to speak the PROXY protocol")


def test_listener_that_does_not_expect_the_header_takes_it_for_nonsense(
    behind: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = behind(forwarded_allow_ips="127.0.0.1")
    client = connect_h1(server.listeners[1])
    client.send(V1 + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.response().status == 400


def test_proxy_protocol_can_be_a_matter_of_one_listener(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = serve(
        "plain.py:app",
        bind=[f"unix:{tmp_path}/a", "127.0.0.1:0"],
        hcrs={"forwarded_allow_ips": "unix", "proxy_protocol": f"unix:{tmp_path}/a"},
    )
    proxy = connect_h1(server.listeners[0])
    proxy.send(V2)
    assert ast.literal_eval(proxy.get("/scope").body.decode())["client"] == ("192.0.2.1", 4711)
    assert connect_h1(server.listeners[1]).get("/").status == 200


def test_pipelined_bytes_behind_the_header_are_not_lost(proxied: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(proxied.listeners[1])
    client.send(V2 + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 3)
    assert [client.response().status for _ in range(3)] == [200] * 3
