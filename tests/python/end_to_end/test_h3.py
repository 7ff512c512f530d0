"""HTTP/3: what it has of its own. What it has in common with other protocols is tested with them, as their parameter ``h3``."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import curl_cffi
import pytest
import qh3.h3.connection
from aioquic.h3.connection import ErrorCode
from aioquic.tls import Epoch
from qh3.asyncio.client import connect
from qh3.asyncio.protocol import QuicConnectionProtocol
from qh3.h3.events import DataReceived, HeadersReceived
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.events import QuicEvent

from end_to_end.certificates import PASSWORD, Pki
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client, Lost
from end_to_end.h3_client import H3Client, first_datagrams
from end_to_end.server import Server, is_alive, wait_until

Serve = Callable[..., Server]
Connect = Callable[..., H3Client]

QUIC: dict[str, Any] = {"quic_bind": "127.0.0.1:0"}
#: The error of QUIC that refuses a connection (RFC 9000 section 20.1).
CONNECTION_REFUSED = 0x2
#: Alerts of TLS stand behind this number (RFC 9001 section 4.8).
CRYPTO_ERROR = 0x100


@pytest.fixture(scope="module")
def quic(share: Serve) -> Server:
    """One worker and two edge threads."""
    return share("plain.py:app", tls=True, hcrs={"io_threads": 2}, keep_alive_timeout=30, **QUIC)


@pytest.fixture
def client(quic: Server, connect_h3: Connect) -> H3Client:
    return connect_h3(quic.quic)


# ---- requests ----


def test_a_request_is_answered_and_its_scope_has_the_version(client: H3Client) -> None:
    response = client.get()
    assert (response.status, response.body) == (200, b"hello")
    assert (response.header(b"server") or b"").startswith(b"hcrs")
    assert (response.header(b"date") or b"").endswith(b" GMT")
    scope = client.get("/scope?a=b").body.decode()
    for part in ("'http_version': '3'", "'scheme': 'https'", f"'client': ('127.0.0.1', {client.port})",
                 f"'server': ('127.0.0.1', {client.where.port})", "'query_string': b'a=b'", "'tls_version': 772"):
        assert part in scope, scope


def test_many_streams_are_answered_beside_each_other(client: H3Client, key: str) -> None:
    waiting = client.request("GET", f"/gate?key={key}")
    streams = [client.request() for _ in range(90)]
    for stream in streams:
        response = client.response(stream)
        assert (response.status, response.body) == (200, b"hello")
    assert not client.streams[waiting].is_over
    client.get(f"/go?key={key}")
    assert client.response(waiting).body == b"through"


def test_more_streams_than_are_open_at_a_time_follow_each_other(client: H3Client) -> None:
    streams = [client.request("GET", f"/status?status={200 + number % 5}") for number in range(500)]
    for number, stream in enumerate(streams):
        assert client.response(stream).status == 200 + number % 5


def test_a_body_that_the_app_does_not_read_is_held_back_and_stops_no_other(client: H3Client, key: str) -> None:
    held = client.request("POST", f"/digest?gate={key}&pieces=1", end=False)
    size = 2 << 20
    left = {held: size}
    sent = client.send_what_fits(left)
    assert 100_000 < sent < 600_000, "the stream's window, and what the worker holds"
    body = bytes(300_000)
    assert client.response(client.request("POST", "/echo", body=body)).body == body
    assert client.get(f"/progress?key={key}").body != str(size).encode()
    client.get(f"/go?key={key}")
    client.send(held, bytes(left[held]), end=True)
    expected = {"sha256": hashlib.sha256(bytes(size)).hexdigest(), "bytes": size}
    assert json.loads(client.response(held).body) == expected


def test_early_response_comes_before_the_body_and_the_connection_goes_on(client: H3Client) -> None:
    stream = client.request("POST", "/unread?status=413", end=False)
    response = client.response(stream)
    assert (response.status, response.body, response.ended) == (413, b"early", True)
    assert client.get().body == b"hello"


def test_connect_without_a_path_harms_only_its_stream(client: H3Client) -> None:
    # Hypercorn's worker ends with KeyError.
    refused = client.response(client.request("CONNECT", None))
    assert refused.status == 405 or refused.reset == ErrorCode.H3_MESSAGE_ERROR, refused
    assert client.get().body == b"hello"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("", []),
        ("?x", []),
        ("/", [("connection", "close")]),
        ("/", [("x", "a\r\nb: c")]),
        ("/\x7f", []),
        ("/", [("host", "other")]),
    ],
)
def test_a_malformed_request_harms_only_its_stream(client: H3Client, path: str, headers: Any) -> None:
    waiting = client.request("GET", "/nap?seconds=0.1")
    response = client.response(client.request("GET", path, headers))
    assert response.reset == ErrorCode.H3_MESSAGE_ERROR or response.status == 400, response
    assert client.response(waiting).status == 200
    assert client.get().body == b"hello"


def test_more_resets_than_an_honest_client_needs_end_the_connection(quic: Server, connect_h3: Connect) -> None:
    client = connect_h3(quic.quic)
    with contextlib.suppress(Lost):
        for _ in range(3000):
            client.reset(client.request("GET", "/nap?seconds=1"))
            client.pump(0.0001)
            if client.closed:
                break
    assert client.wait_for_close().error_code == ErrorCode.H3_EXCESSIVE_LOAD
    assert connect_h3(quic.quic).get().body == b"hello", "and no other"


def test_access_log_metrics_and_status_know_the_protocol(serve: Serve, connect_h3: Connect, tmp_path: Path) -> None:
    server = serve(
        "plain.py:app", tls=True, accesslog="-", access_log_format="%(h)s %(H)s %(r)s %(s)s", **QUIC,
        hcrs={"admin_bind": f"unix:{tmp_path / 'admin'}"},
    )
    client = connect_h3(server.quic)
    assert client.get("/scope").status == 200
    line = f"127.0.0.1:{client.port} 3 GET /scope 3 200"
    wait_until(lambda: line in server.output or line in server.log, line)
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(tmp_path / "admin"))
        admin.sendall(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        metrics = b"".join(iter(lambda: admin.recv(1 << 16), b"")).decode()
    assert 'hcrs_connections_open{protocol="h3"} 1' in metrics, metrics
    assert 'hcrs_requests_total{protocol="h3",status="2xx"} 1' in metrics, metrics
    received = re.search(r"^hcrs_received_bytes_total (\d+)", metrics, re.MULTILINE)
    assert received is not None and int(received[1]) > 1200, metrics


# ---- announcements ----


def test_other_protocols_announce_it_unless_they_announce_something_else(
    quic: Server, serve: Serve, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> None:
    announced = f'h3=":{quic.quic.port}"; ma=86400'
    assert connect_h1(quic.listener).get().header("alt-svc") == announced
    assert connect_h2(quic.listener).get().header(b"alt-svc") == announced.encode()
    own = serve("plain.py:app", tls=True, alt_svc_headers=['h3=":443"'], **QUIC)
    assert connect_h2(own.listener).get().header(b"alt-svc") == b'h3=":443"'
    without = serve("plain.py:app", tls=True)
    assert connect_h2(without.listener).get().header(b"alt-svc") is None


# ---- several workers and threads ----


def test_streams_of_one_connection_are_spread_over_workers(serve: Serve, connect_h3: Connect) -> None:
    # A worker that the machine lets wait for a moment keeps what it was sent.
    server = serve("plain.py:app", tls=True, workers=3, hcrs={"stall_timeout": 20}, **QUIC)
    client = connect_h3(server.quic)
    streams = [client.request("GET", "/nap?seconds=0.1") for _ in range(30)]
    assert {int(client.response(stream).body) for stream in streams} == set(server.worker_pids())


def test_connections_are_spread_over_threads(serve: Serve, connect_h3: Connect) -> None:
    server = serve("plain.py:app", tls=True, workers=1, hcrs={"io_threads": 4}, loglevel="DEBUG", **QUIC)
    for _ in range(24):
        assert connect_h3(server.quic).get().status == 200
    # Each thread counts its connections by itself.
    highest = max(int(match[1]) for match in server.wait_for_log(r"conn=(\d+)"))
    assert highest < 20


def test_workers_are_replaced_while_requests_are_under_way(serve: Serve, connect_h3: Connect, key: str) -> None:
    server = serve("plain.py:app", tls=True, workers=2, hcrs={"io_threads": 2}, **QUIC)
    client = connect_h3(server.quic)
    before = {client.get("/pid").body for _ in range(12)}
    waiting = [client.request("GET", "/nap?seconds=0.6") for _ in range(20)]
    server.signal(signal.SIGHUP)

    def served_by_others() -> bool:
        response = client.get("/pid")
        assert response.status == 200
        return response.body not in before

    wait_until(served_by_others, "a request in a new worker")
    assert all(client.response(stream).status == 200 for stream in waiting)
    assert client.goaways == [] and not client.closed


@pytest.mark.parametrize("how", ["move", "migrate"])
def test_a_client_that_moves_keeps_its_connection_whatever_thread_its_datagrams_reach(
    serve: Serve, connect_h3: Connect, key: str, how: str
) -> None:
    server = serve("plain.py:app", tls=True, hcrs={"io_threads": 3}, **QUIC)
    client = connect_h3(server.quic)
    waiting = client.request("GET", f"/gate?key={key}")
    client.get(f"/note?key={key}-begun")
    ports = {client.port}
    # The kernel spreads ports over the threads' sockets.
    for number in range(8):
        client.move() if how == "move" or number >= 4 else client.migrate()
        ports.add(client.port)
        # A request has the address before until the client has proven that it is at this one.
        wait_until(lambda: f"'client': ('127.0.0.1', {client.port})" in client.get("/scope").body.decode(), "the move")
    assert len(ports) == 9
    body = os.urandom(500_000)
    assert client.response(client.request("POST", "/echo", body=body)).body == body
    client.get(f"/go?key={key}")
    assert client.response(waiting).body == b"through"


def test_a_client_changes_the_keys_of_its_connection(client: H3Client) -> None:
    keys = client.quic._cryptos[Epoch.ONE_RTT]
    body = os.urandom(300_000)
    for phase in (1, 0, 1):
        client.quic.request_key_update()
        # What the server sends in the phase before cannot be read any more.
        assert client.response(client.request("POST", "/echo", body=body)).body == body
        assert keys.key_phase == phase


# ---- the end ----


def test_requests_under_way_finish_and_goaway_says_the_rest(
    serve: Serve, connect_h3: Connect, tmp_path: Path
) -> None:
    server = serve("plain.py:app", tls=True, graceful_timeout=20, **QUIC)
    client, idle, where = connect_h3(server.quic), connect_h3(server.quic), server.quic
    assert idle.get().status == 200
    waiting = client.request("GET", f"/nap?seconds=1.5&file={tmp_path / 'begun'}")
    wait_until((tmp_path / "begun").exists, "the request to begin")
    server.signal(signal.SIGTERM)
    client.wait_for_goaway()
    with pytest.raises(Lost):
        connect_h3(where)
    assert client.response(waiting).status == 200
    for each, last in ((client, waiting), (idle, 0)):
        assert each.wait_for_close().error_code == ErrorCode.H3_NO_ERROR
        assert each.goaways[0].last_stream_id > each.goaways[-1].last_stream_id == last + 4, "in two steps"
    assert server.wait_for_exit() == 0


def test_graceful_timeout_cuts_off_what_is_left(launch: Serve, connect_h3: Connect, key: str) -> None:
    server = launch("plain.py:app", tls=True, graceful_timeout=0.5, **QUIC).wait_until_running()
    client = connect_h3(server.quic)
    stream = client.request("GET", f"/forever?key={key}")
    client.get(f"/note?key={key}")
    server.signal(signal.SIGTERM)
    response = client.response(stream)
    assert response.status == 503 or response.reset is not None, response
    client.wait_for_close()
    assert server.wait_for_exit() == 3
    server.assert_nothing_left()


def test_idle_connection_ends_with_goaway(serve: Serve, connect_h3: Connect) -> None:
    server = serve("plain.py:app", tls=True, keep_alive_timeout=0.3, **QUIC)
    client = connect_h3(server.quic)
    assert client.get().status == 200
    client.wait_for_goaway()
    assert client.wait_for_close().error_code == ErrorCode.H3_NO_ERROR
    busy = connect_h3(server.quic)
    assert busy.get("/nap?seconds=1.5").status == 200, "one with a request under way is not idle"


def test_connection_ends_with_goaway_after_its_last_request(serve: Serve, connect_h3: Connect, key: str) -> None:
    server = serve("plain.py:app", tls=True, keep_alive_max_requests=3, **QUIC)
    client = connect_h3(server.quic)
    streams = [client.request("GET", f"/gate?key={key}"), client.request(), client.request("GET", f"/go?key={key}")]
    for stream in streams:
        assert client.response(stream).status == 200, "nothing under way is lost"
    client.wait_for_goaway()
    assert client.wait_for_close().error_code == ErrorCode.H3_NO_ERROR


def test_a_client_that_vanishes_is_noticed(serve: Serve, connect_h3: Connect, key: str) -> None:
    server = serve("plain.py:app", tls=True, keep_alive_timeout=60, **QUIC)
    gone = connect_h3(server.quic, idle_timeout=1.0)
    gone.request("GET", f"/until-disconnect?key={key}")
    other = connect_h3(server.quic)
    other.get(f"/note?key={key}-begun")
    gone.vanish()
    assert b"http.disconnect" in other.get(f"/note?key={key}", deadline=30).body


def test_connections_over_the_limit_are_refused(serve: Serve, connect_h3: Connect) -> None:
    server = serve("plain.py:app", tls=True, hcrs={"io_threads": 1, "max_connections": 2}, **QUIC)
    clients = [connect_h3(server.quic) for _ in range(2)]
    with pytest.raises(Lost) as refused:
        connect_h3(server.quic)
    assert f"error_code={CONNECTION_REFUSED}" in str(refused.value)
    assert all(client.get().status == 200 for client in clients)
    clients[0].close()

    def has_room() -> bool:
        with contextlib.suppress(Lost):
            return connect_h3(server.quic).get().status == 200
        return False

    wait_until(has_room, "the place of the connection that was closed")


# ---- sockets of others ----


def test_a_successor_serves_new_connections_and_passes_on_what_is_of_old_ones(
    launch: Serve, connect_h3: Connect, tmp_path: Path
) -> None:
    server = launch("plain.py:app", tls=True, graceful_timeout=20, **QUIC, hcrs={"io_threads": 2}).wait_until_running()
    where = server.quic
    old = [connect_h3(where) for _ in range(4)]
    waiting = [client.request("GET", f"/nap?seconds=4&file={tmp_path / str(at)}") for at, client in enumerate(old)]
    wait_until(lambda: all((tmp_path / str(at)).exists() for at in range(4)), "the requests to begin")
    before = {client.get("/pid").body for client in old}
    server.signal(signal.SIGUSR2)
    successor = int(server.wait_for_log(r"Shutting down: process (\d+) has succeeded this server")[0][1])
    try:
        # Until its threads know of the successor, this server may take a connection, which it drains.
        wait_until(lambda: connect_h3(where).get("/pid").body not in before, "a connection of the successor")
        body = os.urandom(200_000)
        for _ in range(8):
            client = connect_h3(where)
            assert client.response(client.request("POST", "/echo", body=body)).body == body
            assert client.get("/pid").body not in before
        for client, stream in zip(old, waiting, strict=True):
            client.wait_for_goaway()
            assert client.response(stream).body in before, "the process that has begun it"
            assert client.wait_for_close().error_code == ErrorCode.H3_NO_ERROR
        assert server.wait_for_exit() == 0
        assert connect_h3(where).get().body == b"hello"
    finally:
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not is_alive(successor), "the successor to end")


def test_threads_share_a_socket_that_a_service_manager_passes(serve: Serve, connect_h3: Connect) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as passed:
        passed.bind(("127.0.0.1", 0))
        number = passed.fileno()
        server = serve(
            "plain.py:app", tls=True, quic_bind=f"fd://{number}", pass_fds=[number], hcrs={"io_threads": 3},
            loglevel="DEBUG",
        )
        assert server.quic.port == passed.getsockname()[1]
        body = os.urandom(200_000)
        for number in range(12):
            client = connect_h3(server.quic, large_hello=number % 2 == 0)
            assert client.response(client.request("POST", "/echo", body=body)).body == body
            client.migrate()
            assert client.get().body == b"hello"
    # Each thread counts its connections by itself.
    highest = max(int(match[1]) for match in server.wait_for_log(r"conn=(\d+)"))
    assert highest < 12


def test_many_handshakes_have_to_prove_their_addresses(serve: Serve, connect_h3: Connect) -> None:
    server = serve("plain.py:app", tls=True, **QUIC, hcrs={"io_threads": 1})
    assert connect_h3(server.quic).retries == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        for datagram in first_datagrams(600):
            flood.sendto(datagram, (server.quic.host, server.quic.port))
        client = connect_h3(server.quic)
        assert client.get().body == b"hello"
        assert client.retries == 1


# ---- TLS ----


def test_certificates_by_name_password_and_clients_certificates(serve: Serve, connect_h3: Connect, pki: Pki) -> None:
    server = serve(
        "tls_scope.py:app",
        certfile=pki / "localhost.pem",
        keyfile=pki / "localhost-encrypted.pem",
        keyfile_password=PASSWORD,
        ca_certs=pki / "ca.pem",
        verify_mode=int(ssl.CERT_REQUIRED),
        hcrs={"certificates": [{"certfile": pki / "other.test.pem", "keyfile": pki / "other.test.pem"}]},
        **QUIC,
    )
    own = (pki / "client.pem", pki / "client.pem")
    for name in ("localhost", "other.test"):
        client = connect_h3(server.quic, cafile=pki / "ca.pem", server_name=name, certificate=own)
        told = json.loads(client.get().body)["tls"]
        assert told["client_cert_name"] == "CN=client" and told["tls_version"] == 0x304, told
        assert told["server_cert"].strip() in Path(pki / f"{name}.pem").read_text().replace("\r", "")
    for identity in (None, (pki / "localhost.pem", pki / "localhost.pem")):
        if identity is None:
            with pytest.raises(Lost):
                connect_h3(server.quic, cafile=pki / "ca.pem", certificate=identity).get()


def test_new_certificates_are_taken_without_losing_a_connection(
    serve: Serve, connect_h3: Connect, pki: Pki, tmp_path: Path
) -> None:
    file = tmp_path / "own.pem"
    file.write_bytes(Path(pki / "localhost.pem").read_bytes())
    server = serve("plain.py:app", certfile=str(file), keyfile=str(file), **QUIC)
    client = connect_h3(server.quic, cafile=pki / "ca.pem")
    pki.issue("localhost", "renewed.pem")
    file.write_bytes(Path(pki / "renewed.pem").read_bytes())
    server.signal(signal.SIGHUP)
    server.wait_for_log("The certificates were read again")
    shown = connect_h3(server.quic, cafile=pki / "ca.pem").get("/scope").body.decode()
    renewed = Path(pki / "renewed.pem").read_text().split("-----END CERTIFICATE")[0].replace("\n", "\\n")
    assert renewed in shown, shown
    assert client.get().status == 200


def test_a_client_of_another_protocol_is_refused(quic: Server, connect_h3: Connect) -> None:
    with pytest.raises(Lost) as refused:
        connect_h3(quic.quic, alpn=("hq-interop",))
    assert f"error_code={CRYPTO_ERROR + 120}" in str(refused.value)


def test_a_first_message_of_two_datagrams_is_answered(quic: Server, connect_h3: Connect) -> None:
    for _ in range(4):
        assert connect_h3(quic.quic, large_hello=True).get().body == b"hello"


def test_another_version_is_negotiated(quic: Server, connect_h3: Connect) -> None:
    client = connect_h3(quic.quic, versions=[0x1A2A3A4A, 0x00000001])
    assert client.get().body == b"hello"


@pytest.mark.parametrize("group", ["X25519MLKEM768", "X25519"])
def test_other_stacks_are_served_with_and_without_post_quantum_keys(serve: Serve, pki: Pki, group: str) -> None:
    server = serve("plain.py:app", certfile=pki / "localhost.pem", keyfile=pki / "localhost.pem", **QUIC,
                   hcrs={"key_exchange": [group], "minimum_version": "1.3"})
    options = {curl_cffi.CurlOpt.SSL_EC_CURVES: group.encode()}
    authority: Any = pki / "ca.pem"  # a path, other than the types have it
    with curl_cffi.Session(verify=authority, http_version="v3only", curl_options=options) as session:
        url = f"https://localhost:{server.quic.port}"
        response = session.get(f"{url}/scope", timeout=10)
        assert response.status_code == 200 and "'http_version': '3'" in response.text
        body = os.urandom(300_000)
        assert session.post(f"{url}/echo", data=body, timeout=10).content == body


class _Answers(QuicConnectionProtocol):
    """A client on qh3, which notes the answers by stream."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.http = qh3.h3.connection.H3Connection(self._quic)
        self.heads: dict[int, dict[bytes, bytes]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: dict[int, asyncio.Event] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        for seen in self.http.handle_event(event):
            if isinstance(seen, HeadersReceived):
                self.heads[seen.stream_id] = dict(seen.headers)
            elif isinstance(seen, DataReceived):
                self.bodies[seen.stream_id] = self.bodies.get(seen.stream_id, b"") + seen.data
            if isinstance(seen, (HeadersReceived, DataReceived)) and seen.stream_ended:
                self.ended[seen.stream_id].set()

    async def ask(self, authority: str, path: str, body: bytes | None = None) -> bytes:
        stream = self._quic.get_next_available_stream_id()
        self.ended[stream] = asyncio.Event()
        method = b"GET" if body is None else b"POST"
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", authority.encode()),
                (b":path", path.encode())]
        self.http.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        await asyncio.wait_for(self.ended[stream].wait(), 20)
        assert self.heads[stream][b":status"] == b"200"
        return self.bodies[stream]


def test_a_third_stack_is_served(quic: Server) -> None:
    body = os.urandom(300_000)
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE)

    async def ask() -> tuple[bytes, list[bytes]]:
        where = quic.quic
        connecting = connect(where.host, where.port, configuration=configuration, create_protocol=_Answers)
        async with connecting as client:
            assert isinstance(client, _Answers)
            scope = await client.ask(where.authority, "/scope")
            return scope, await asyncio.gather(*(client.ask(where.authority, "/echo", body) for _ in range(4)))

    scope, echoes = asyncio.run(ask())
    assert b"'http_version': '3'" in scope and echoes == [body] * 4


# ---- what is no HTTP/3 ----


def test_datagrams_without_meaning_harm_nothing(quic: Server, client: H3Client) -> None:
    garbage = [b"", b"\0", b"\xff" * 1200, b"\x40" + os.urandom(40), b"\xc0\0\0\0\1" + b"\xff" * 1300,
               *(os.urandom(size) for size in (1, 20, 1200, 1472, 9000) for _ in range(40)),
               *(bytes([0xC0 | number]) + b"\0\0\0\1\x08" + os.urandom(1200) for number in range(64))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for datagram in garbage:
            stranger.sendto(datagram, (quic.quic.host, quic.quic.port))
    assert client.get().body == b"hello"
    # Nothing of it is worth a line for the operator.
    assert not re.search(r"\[(WARNING|ERROR)\].*(quic|QUIC|datagram)", quic.log)


def test_a_connection_that_is_over_is_reset_and_others_are_not_answered(quic: Server, connect_h3: Connect) -> None:
    client = connect_h3(quic.quic)
    assert client.get().status == 200
    client.quic.send_ping(7)
    late = client.quic.datagrams_to_send(0)[0][0]
    own = late[1:14]
    client.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(0.2)

        def reset() -> bool:
            # The connection answers late datagrams for a while, in which nothing is known of another address.
            stranger.sendto(b"\x40" + own + os.urandom(60), (quic.quic.host, quic.quic.port))
            with contextlib.suppress(TimeoutError):
                return len(stranger.recv(2000)) < 74
            return False

        wait_until(reset, "a stateless reset, which is smaller than what caused it")
        stranger.sendto(b"\x40" + os.urandom(80), (quic.quic.host, quic.quic.port))
        with pytest.raises(TimeoutError):
            stranger.recv(2000)  # an id of another server's


# ---- configuration ----


def test_the_example_of_hypercorn_serves(serve: Serve, connect_h3: Connect, certificate: dict[str, str]) -> None:
    # As in Hypercorn's documentation, "HTTP/3".
    server = serve("plain.py:app", tls=True, bind="127.0.0.1:0", quic_bind="127.0.0.1:0")
    assert connect_h3(server.quic).get().body == b"hello"
    flagged = serve("plain.py:app", tls=True, flags=["--quic-bind", "127.0.0.1:0"])
    assert connect_h3(flagged.quic).get().body == b"hello"
    both = serve("plain.py:app", tls=True, quic_bind=["127.0.0.1:0", "127.0.0.1:0"], hcrs={"io_threads": 2})
    ports = [int(match[1]) for match in both.wait_for_log(r"Running on https://127.0.0.1:(\d+) \(QUIC\)", 2)]
    for port in ports:
        assert connect_h3(both.quic._replace(port=port)).get().body == b"hello"


def test_quic_bind_without_a_certificate_stops_the_start(launch: Serve) -> None:
    server = launch("plain.py:app", **QUIC)
    assert server.wait_for_exit() == 78
    assert "quic_bind needs certfile and keyfile: HTTP/3 is always encrypted" in server.log


def test_a_port_in_use_stops_the_start(launch: Serve) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = launch("plain.py:app", tls=True, quic_bind=address)
        assert server.wait_for_exit() != 0
    assert f"quic_bind: cannot listen on {address}" in server.log
