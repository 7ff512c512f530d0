"""The ASGI extension ``tls``: what apps are told of a connection and of its client's certificate."""

from __future__ import annotations

import json
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from end_to_end.authority import Authority, presenting
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client, Lost
from end_to_end.h3_client import H3Client
from end_to_end.server import Server, wait_until
from end_to_end.ws_client import open_over_h1, open_over_h2

VERSIONS = {ssl.TLSVersion.TLSv1_2: 0x0303, ssl.TLSVersion.TLSv1_3: 0x0304}
#: As OpenSSL names them, and their numbers in IANA's registry.
SUITES = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def ask(trust: Callable[..., ssl.SSLContext]) -> Iterator[Callable[..., Any]]:
    """Opens a connection that speaks ``h1``, ``h2`` or ``h3``. Returns it with the extension that the app got."""
    clients: list[H1Client | H2Client | H3Client] = []

    def ask(server: Server, protocol: str, identity: Path | None = None, version: ssl.TLSVersion | None = None) -> Any:
        if protocol == "h3":
            own = None if identity is None else (str(identity), str(identity))
            clients.append(H3Client(server.quic, certificate=own))
            return clients[-1], told(clients[-1])
        context = trust("http/1.1" if protocol == "h1" else "h2")
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if identity is not None:
            presenting(context, identity)
        clients.append((H1Client if protocol == "h1" else H2Client)(server.listener, tls=context))
        return clients[-1], told(clients[-1])

    yield ask
    for client in clients:
        client.close()


def told(client: H1Client | H2Client | H3Client) -> Any:
    response = client.get("/")
    assert response.status == 200
    return json.loads(response.body)


def suite(client: H1Client | H2Client | H3Client) -> int:
    """The number of the suite that the client has agreed to."""
    if isinstance(client, H3Client):
        schedule = client.quic.tls.key_schedule
        assert schedule is not None
        return int(schedule.cipher_suite)
    assert isinstance(client.socket, ssl.SSLSocket)
    agreed = client.socket.cipher()
    assert agreed is not None
    return SUITES[agreed[0]]


def mutual(authority: Authority, mode: ssl.VerifyMode) -> dict[str, Any]:
    return {"ca_certs": str(authority.cafile), "verify_mode": int(mode)}


def parse(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop", "trio"])
def test_version_suite_and_certificate_are_in_every_scope_unchanged(
    serve: Callable[..., Server], ask: Callable[..., Any], certificate: dict[str, str], worker_class: str
) -> None:
    server = serve("tls_scope.py:app", tls=True, worker_class=worker_class, quic_bind="127.0.0.1:0")
    for protocol in ("h1", "h2", "h3"):
        for version, number in VERSIONS.items():
            client, first = ask(server, protocol, version=version)
            number = 0x0304 if protocol == "h3" else number  # QUIC has no other
            for shown in (first, told(client)):
                assert shown["scheme"] == "https"
                assert set(shown["tls"]) == {
                    "server_cert", "client_cert_chain", "client_cert_name", "client_cert_error", "tls_version",
                    "cipher_suite",
                }
                assert parse(shown["tls"]["server_cert"]) == parse(Path(certificate["certfile"]).read_text())
                assert shown["tls"]["client_cert_chain"] == []
                assert shown["tls"]["client_cert_name"] is shown["tls"]["client_cert_error"] is None
                assert shown["tls"]["tls_version"] == number
                assert shown["tls"]["cipher_suite"] == suite(client)


@pytest.mark.parametrize("mode", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL], ids=["required", "optional"])
@pytest.mark.parametrize(
    ("protocol", "version"),
    [*((protocol, version) for protocol in ("h1", "h2") for version in VERSIONS), ("h3", ssl.TLSVersion.TLSv1_3)],
    ids=["h1-1.2", "h1-1.3", "h2-1.2", "h2-1.3", "h3"],
)
def test_certificates_of_a_client_are_in_the_scope_as_it_sent_them(
    serve: Callable[..., Server], ask: Callable[..., Any], authority: Authority, mode: Any, protocol: str, version: Any
) -> None:
    server = serve("tls_scope.py:app", tls=True, **mutual(authority, mode))
    chain, identity = authority.client(
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_NAME, "Smith, Sons + Co"),
        (NameOID.COMMON_NAME, '#1 "Lučić" <l@x>;=\\ '),
    )
    _, shown = ask(server, protocol, identity, version)
    assert [parse(pem) for pem in shown["tls"]["client_cert_chain"]] == chain
    assert shown["tls"]["client_cert_name"] == r'CN=\#1 \"Lučić\" \<l@x\>\;=\\\ ,O=Smith\, Sons \+ Co,C=DE'
    assert shown["tls"]["client_cert_error"] is None
    other, identity = authority.client((NameOID.COMMON_NAME, "other"))
    client, shown = ask(server, protocol, identity, version)
    for later in (shown, told(client)):
        assert later["tls"]["client_cert_name"] == "CN=other"
        assert [parse(pem) for pem in later["tls"]["client_cert_chain"]] == other
    if mode is ssl.CERT_OPTIONAL:
        _, shown = ask(server, protocol, version=version)
        assert shown["tls"]["client_cert_chain"] == [] and shown["tls"]["client_cert_name"] is None


@pytest.mark.parametrize("protocol", ["h1", "h2", "h3"])
def test_clients_that_cannot_prove_who_they_are_get_no_connection(
    serve: Callable[..., Server], ask: Callable[..., Any], authority: Authority, protocol: str, tmp_path: Path
) -> None:
    server = serve("tls_scope.py:app", tls=True, **mutual(authority, ssl.CERT_REQUIRED))
    _, stranger = Authority(tmp_path).client((NameOID.COMMON_NAME, "stranger"))
    for identity in (None, stranger):
        for version in VERSIONS:
            with pytest.raises((ssl.SSLError, ConnectionError, Lost)):
                ask(server, protocol, identity, version)
    _, identity = authority.client((NameOID.COMMON_NAME, "known"))
    assert ask(server, protocol, identity)[1]["tls"]["client_cert_name"] == "CN=known"


@pytest.mark.parametrize("protocol", ["h1", "h2", "h3"])
def test_scopes_of_websockets_have_the_extension_too(
    serve: Callable[..., Server], ask: Callable[..., Any], authority: Authority, protocol: str
) -> None:
    server = serve("tls_scope.py:app", tls=True, **mutual(authority, ssl.CERT_OPTIONAL))
    chain, identity = authority.client((NameOID.COMMON_NAME, "talker"))
    client, _ = ask(server, protocol, identity)
    socket = open_over_h1(client, "/") if protocol == "h1" else open_over_h2(client, "/")
    shown = json.loads(socket.receive())
    assert (shown["scheme"], shown["tls"]["client_cert_name"]) == ("wss", "CN=talker")
    assert [parse(pem) for pem in shown["tls"]["client_cert_chain"]] == chain


def test_cleartext_has_none_whatever_a_proxy_says(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("tls_scope.py:app", hcrs={"forwarded_allow_ips": "127.0.0.1"})
    for client in (connect_h1(server.listener), connect_h2(server.listener)):
        assert told(client)["tls"] is None
    client = connect_h2(server.listener)
    shown = json.loads(client.get("/", [("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.1")]).body)
    assert (shown["scheme"], shown["tls"]) == ("https", None)


def test_the_extension_is_there_behind_a_proxy_too(serve: Callable[..., Server], ask: Callable[..., Any]) -> None:
    server = serve("tls_scope.py:app", tls=True, hcrs={"forwarded_allow_ips": "127.0.0.1"})
    client, _ = ask(server, "h2")
    shown = json.loads(client.get("/", [("x-forwarded-proto", "http"), ("x-forwarded-for", "192.0.2.1")]).body)
    assert (shown["scheme"], shown["tls"]["tls_version"]) == ("http", 0x0304)


def test_every_worker_learns_of_a_connection_and_a_new_one_too(
    serve: Callable[..., Server], ask: Callable[..., Any], authority: Authority
) -> None:
    optional = mutual(authority, ssl.CERT_OPTIONAL)
    server = serve("tls_scope.py:app", tls=True, workers=2, quic_bind="127.0.0.1:0", keep_alive_timeout=60, **optional)
    identities = [authority.client((NameOID.COMMON_NAME, f"client {number}"))[1] for number in range(3)]
    clients = [ask(server, protocol, identity)[0] for protocol in ("h1", "h2", "h3") for identity in identities]

    def ask_until_all_workers_have_answered() -> None:
        pids = set(server.worker_pids())
        seen = set()
        def answers() -> bool:
            for number, client in enumerate(clients):
                if not isinstance(client, H1Client):
                    streams = [client.request("GET", "/") for _ in range(6)]
                    answers = [json.loads(client.response(stream).body) for stream in streams]
                else:
                    answers = [told(client)]
                for shown in answers:
                    assert shown["tls"]["client_cert_name"] == f"CN=client {number % 3}"
                    seen.add(shown["pid"])
            return seen == pids

        wait_until(answers, "both workers to answer")

    ask_until_all_workers_have_answered()
    killed = server.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    server.wait_for_log(r"Worker \d+ is ready", count=1)
    wait_until(lambda: len(server.worker_pids()) == 2 and killed not in server.worker_pids(), "another worker")
    ask_until_all_workers_have_answered()


def test_more_clients_than_numbers_are_kept_apart(
    serve: Callable[..., Server], ask: Callable[..., Any], authority: Authority
) -> None:
    server = serve(
        "tls_scope.py:app", tls=True, **mutual(authority, ssl.CERT_OPTIONAL), keep_alive_timeout=60, hcrs={"io_threads": 1}
    )
    clients = []
    for number in range(300):
        _, identity = authority.client((NameOID.COMMON_NAME, str(number)))
        clients.append(ask(server, "h1", identity)[0])
    for _round in range(2):
        assert [told(client)["tls"]["client_cert_name"] for client in clients] == [f"CN={n}" for n in range(300)]
