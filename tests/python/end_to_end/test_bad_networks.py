"""HTTP/3 over networks that lose, repeat, reorder and delay datagrams and move clients to other ports: every byte arrives."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import curl_cffi
import pytest

from end_to_end.certificates import Pki
from end_to_end.h3_client import H3Client
from end_to_end.network import Conditions, Network
from end_to_end.server import Server
from end_to_end.ws_client import open_over_h2

Serve = Callable[..., Server]

#: Several threads, so that clients that have moved reach sockets of others.
THREADS = 3

CONDITIONS = {
    "loss": Conditions(loss=0.04, delay=0.002),
    "reordering": Conditions(late=0.2, delay=0.001),
    "duplication": Conditions(copies=0.3, lateness=0.01),
    "delay": Conditions(delay=0.04),
    "moves": Conditions(delay=0.001, moves_every=40),
    "all": Conditions(loss=0.02, copies=0.05, late=0.05, delay=0.003, moves_every=60),
}

#: Bytes of a body in one direction.
SIZE = 1_000_000


def content(seed: int, size: int) -> bytes:
    """Bytes of which no two places are alike."""
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="module")
def server(share: Serve, tmp_path_factory: pytest.TempPathFactory) -> Server:
    files = tmp_path_factory.mktemp("files")
    (files / "large").write_bytes(content(1, SIZE))
    return share(
        "plain.py:app",
        tls=True,
        quic_bind="127.0.0.1:0",
        keep_alive_timeout=60,
        hcrs={"io_threads": THREADS, "routes": [{"path": "/f/", "files": str(files)}]},
    )


@pytest.fixture(scope="module")
def sockets(share: Serve) -> Server:
    return share("sockets.py:app", tls=True, quic_bind="127.0.0.1:0", hcrs={"io_threads": THREADS})


def download(client: H3Client) -> None:
    response = client.get("/f/large", deadline=60)
    assert response.status == 200
    assert response.body == content(1, SIZE)


def upload(client: H3Client) -> None:
    body = content(2, SIZE)
    response = client.response(client.request("POST", "/digest", body=body), 60)
    assert json.loads(response.body) == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": SIZE}


def streams(client: H3Client) -> None:
    bodies = {client.request("POST", "/echo", body=content(seed, 12_000)): content(seed, 12_000) for seed in range(60)}
    for stream, body in bodies.items():
        assert client.response(stream, 60).body == body


def websocket(client: H3Client) -> None:
    opened = open_over_h2(client, "/echo")
    messages = [content(seed, size) for seed, size in enumerate([1, 0, 3_000, 70_000, 125] * 8)]
    for message in messages[:20]:
        opened.send(message)
        assert opened.receive() == message
    for message in messages[20:]:
        opened.send(message)
    assert [opened.receive() for _ in messages[20:]] == messages[20:]
    opened.close()
    assert opened.closed()[0] == 1000


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("use", [download, upload, streams, websocket])
def test_every_byte_arrives(
    request: pytest.FixtureRequest,
    connect_h3: Callable[..., H3Client],
    use: Callable[[H3Client], None],
    name: str,
) -> None:
    server = request.getfixturevalue("sockets" if use is websocket else "server")
    conditions = CONDITIONS[name]
    with Network(server.quic, conditions, seed=20) as network:
        client = connect_h3(network.where)
        use(client)
        client.close()
        assert network.lost > 0 or not conditions.loss
        assert network.late > 0 or not conditions.late
        assert network.copied > 0 or not conditions.copies
        assert network.moves > 1 or not conditions.moves_every
        print(f"\n{network.lost} lost, {network.copied} copied, {network.late} late, {network.moves} moves")


#: The datagrams of a handshake whose ClientHello takes two.
HANDSHAKES = {
    "the first is lost": Conditions(lost_of_client=(0,)),
    "the second is lost": Conditions(lost_of_client=(1,)),
    "both are lost": Conditions(lost_of_client=(0, 1)),
    "the second comes first": Conditions(late_of_client=(0,), lateness=0.05),
    "both come twice": Conditions(copies=1.0),
    "the answer is lost": Conditions(lost_of_server=(0, 1)),
    "what follows is lost": Conditions(lost_of_client=(2, 3)),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_first_message_of_two_datagrams_is_answered(
    server: Server, connect_h3: Callable[..., H3Client], name: str
) -> None:
    conditions = HANDSHAKES[name]
    with Network(server.quic, conditions, seed=1) as network:
        client = connect_h3(network.where, large_hello=True)
        assert client.get().body == b"hello"
        client.close()
        assert network.lost + network.copied + network.late > 0


@pytest.fixture(scope="module")
def post_quantum(share: Serve, pki: Pki) -> Server:
    return share(
        "plain.py:app",
        certfile=pki / "localhost.pem",
        keyfile=pki / "localhost.pem",
        quic_bind="127.0.0.1:0",
        hcrs={"key_exchange": ["X25519MLKEM768"], "minimum_version": "1.3", "io_threads": THREADS},
    )


@pytest.mark.parametrize("name", HANDSHAKES)
def test_post_quantum_keys_are_exchanged(post_quantum: Server, pki: Pki, name: str) -> None:
    options = {curl_cffi.CurlOpt.SSL_EC_CURVES: b"X25519MLKEM768"}
    authority: Any = pki / "ca.pem"  # a path, other than the types have it
    with Network(post_quantum.quic, HANDSHAKES[name], seed=2) as network:
        with curl_cffi.Session(verify=authority, http_version="v3only", curl_options=options) as session:
            response = session.get(f"https://localhost:{network.where.port}/scope", timeout=20)
            assert response.status_code == 200 and "'http_version': '3'" in response.text
        assert network.lost + network.copied + network.late > 0
