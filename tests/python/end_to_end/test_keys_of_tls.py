"""The effects of the keys of TLS: rows of the table of keys (key_rows.py)."""

from __future__ import annotations

import concurrent.futures
import signal
import socket
import ssl
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.certificates import PASSWORD, Pki
from end_to_end.h1_client import H1Client
from end_to_end.key_rows import filled, shows
from end_to_end.server import Server, wait_until

PAIR: dict[str, Any] = {"certfile": "<pki>/localhost.pem", "keyfile": "<pki>/localhost.pem"}


@pytest.fixture
def trusting(pki: Pki) -> Callable[..., ssl.SSLContext]:
    """Makes contexts of clients that trust the authority of the tests."""

    def context(*alpn: Any, identity: Any = None, version: Any = None) -> Any:
        made = ssl.create_default_context(cafile=pki / "ca.pem")
        made.set_alpn_protocols(list(alpn or ("http/1.1",)))
        if identity is not None:
            made.load_cert_chain(pki / f"{identity}.pem")
        if version is not None:
            made.minimum_version = made.maximum_version = version
        return made

    return context


@pytest.fixture
def shake(server: Server) -> Iterator[Callable[..., Any]]:
    """Shakes hands and asks for a page. Returns the TLS socket and the answer."""
    opened = []

    def shake(context: Any, name: str = "localhost") -> Any:
        plain = socket.create_connection(("127.0.0.1", server.listener.port), timeout=10)
        opened.append(plain)
        connection = context.wrap_socket(plain, server_hostname=name)
        opened.append(connection)
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = connection.recv(1000)
        if not answer:
            raise ConnectionResetError("closed without an answer")
        return connection, answer

    yield shake
    for connection in opened:
        connection.close()


def resume(server: Server, context: ssl.SSLContext, session: Any = None) -> tuple[Any, bool]:
    """A request on a connection of its own. Returns the session after it, and whether it was the one given."""
    with (
        socket.create_connection(("127.0.0.1", server.listener.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        return connection.session, bool(connection.session_reused)


REFUSED = (ssl.SSLError, ConnectionError)


@shows(
    "plain.py:app",
    certfile="<pki>/localhost.pem",
    keyfile="<pki>/localhost-encrypted.pem",
    keyfile_password=PASSWORD,
    ciphers="ECDHE-ECDSA-CHACHA20-POLY1305",
    alpn_protocols=["http/1.1"],
    ssl_handshake_timeout=0.4,
)
def test_cipher_alpn_and_handshake_timeout_are_those_configured(
    server: Server, trusting: Callable[..., ssl.SSLContext], shake: Callable[..., Any]
) -> None:
    connection, answer = shake(trusting("h2", "http/1.1", version=ssl.TLSVersion.TLSv1_2))
    assert answer.startswith(b"HTTP/1.1 200")
    assert (connection.cipher()[0], connection.selected_alpn_protocol()) == ("ECDHE-ECDSA-CHACHA20-POLY1305", "http/1.1")
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.listener.port), timeout=10) as silent:
        assert silent.recv(1) == b""
    assert 0.35 < time.monotonic() - began < 4


@shows(
    "plain.py:app",
    **PAIR,
    minimum_version="1.3",
    certificates=[{"certfile": "<pki>/other.test.pem", "keyfile": "<pki>/other.test.pem"}],
    key_exchange=["secp384r1"],
)
def test_certificates_groups_and_versions_are_those_configured(
    server: Server, trusting: Callable[..., ssl.SSLContext], shake: Callable[..., Any]
) -> None:
    with pytest.raises(REFUSED):
        shake(trusting(version=ssl.TLSVersion.TLSv1_2))
    for name in ("localhost", "other.test"):
        connection, answer = shake(trusting(), name)  # which checks the name
        assert answer.startswith(b"HTTP/1.1 200") and connection.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)mismatch"):
        shake(trusting(), "unknown.test")
    for group, works in (("prime256v1", False), ("secp384r1", True)):
        context = trusting()
        context.set_ecdh_curve(group)
        if works:
            assert shake(context)[1].startswith(b"HTTP/1.1 200")
        else:
            with pytest.raises(REFUSED):
                shake(context)


@shows("plain.py:app", **PAIR, ticket_keys="<pki>/tickets")
def test_sessions_resume_at_another_server_with_the_same_ticket_keys(
    server: Server, serve: Callable[..., Server], pki: Pki, trusting: Callable[..., ssl.SSLContext]
) -> None:
    pair = {"certfile": pki / "localhost.pem", "keyfile": pki / "localhost.pem"}
    same = serve("plain.py:app", **pair, hcrs={"ticket_keys": pki / "tickets"})
    other = serve("plain.py:app", **pair)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(version=version)
        session, reused = resume(server, context)
        assert not reused
        _, reused = resume(same, context, session)
        assert reused, version
        _, reused = resume(other, context, session)
        assert not reused, version


@shows("plain.py:app", **PAIR, ca_certs="<pki>/ca.pem", verify_mode="CERT_REQUIRED", crls=["<pki>/crl.pem"])
def test_clients_need_a_certificate_that_is_not_revoked(
    server: Server, trusting: Callable[..., ssl.SSLContext], shake: Callable[..., Any]
) -> None:
    assert shake(trusting(identity="client"))[1].startswith(b"HTTP/1.1 200")
    for identity in (None, "revoked"):
        with pytest.raises(REFUSED):
            shake(trusting(identity=identity))


@shows(
    "plain.py:app",
    **PAIR,
    verify_flags="VERIFY_CRL_CHECK_LEAF",
    ca_certs="<pki>/ca-and-crl.pem",
    verify_mode="CERT_OPTIONAL",
)
def test_clients_may_have_a_certificate_and_lists_stand_beside_authorities(
    server: Server, trusting: Callable[..., ssl.SSLContext], shake: Callable[..., Any]
) -> None:
    for identity in (None, "client"):
        assert shake(trusting(identity=identity))[1].startswith(b"HTTP/1.1 200")
    with pytest.raises(REFUSED):
        shake(trusting(identity="revoked"))


@pytest.mark.parametrize(("mode", "asked"), [(0, False), (1, False), (2, True)])
@pytest.mark.parametrize("key", ["verify_mode", "cert_reqs", "--cert-reqs", "HCRS_VERIFY_MODE"])
def test_verify_mode_may_be_a_number(
    serve: Callable[..., Server], pki: Pki, trusting: Callable[..., ssl.SSLContext], mode: int, asked: bool, key: str
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "verify_mode": {"verify_mode": mode},
        "cert_reqs": {"cert_reqs": mode},
        "--cert-reqs": {"flags": ["--cert-reqs", str(mode)]},
        "HCRS_VERIFY_MODE": {"env": {"HCRS_VERIFY_MODE": str(mode)}},
    }
    server = serve(
        "plain.py:app", certfile=pki / "localhost.pem", keyfile=pki / "localhost.pem", ca_certs=pki / "ca.pem", **ways[key]
    )
    with socket.create_connection(("127.0.0.1", server.listener.port), timeout=10) as plain:
        context = trusting(version=ssl.TLSVersion.TLSv1_2)
        if asked:
            with pytest.raises(REFUSED):
                context.wrap_socket(plain, server_hostname="localhost")
        else:
            assert context.wrap_socket(plain, server_hostname="localhost").version() == "TLSv1.2"


@shows("plain.py:app", **PAIR, max_handshakes=1)
def test_handshakes_are_answered_in_turn(
    server: Server, trusting: Callable[..., ssl.SSLContext], shake: Callable[..., Any]
) -> None:
    with (
        socket.create_connection(("127.0.0.1", server.listener.port), timeout=10),
        concurrent.futures.ThreadPoolExecutor(8) as clients,
    ):
        for _, answer in clients.map(shake, [trusting() for _ in range(8)]):
            assert answer.startswith(b"HTTP/1.1 200")


def test_unknown_ciphers_are_reported_and_a_list_without_known_ones_is_an_error(
    serve: Callable[..., Server], launch: Callable[..., Server], pki: Pki
) -> None:
    pair = {"certfile": pki / "localhost.pem", "keyfile": pki / "localhost.pem"}
    server = serve("plain.py:app", ciphers="ECDHE+AESGCM:RC4-SHA:TLS_AES_128_GCM_SHA256", **pair)
    assert "ciphers: \"RC4-SHA\" names no cipher suite that is offered here and was left out" in server.log
    assert "ciphers: \"TLS_AES_128_GCM_SHA256\" has no effect" in server.log
    server = launch("plain.py:app", ciphers="RC4-SHA", **pair)
    assert server.wait_for_exit() == 78
    assert "ciphers: \"RC4-SHA\" leaves no cipher suite for TLS 1.2" in server.log and "ECDHE+AESGCM" in server.log


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"keyfile": "<pki>/localhost-encrypted.pem"}, ["is encrypted: keyfile_password is needed"]),
        (
            {"keyfile": "<pki>/localhost-encrypted.pem", "keyfile_password": "wrong"},
            ["keyfile_password does not decrypt the key in keyfile", "localhost-encrypted.pem"],
        ),
        ({"keyfile": "<pki>/localhost-legacy.pem"}, ["openssl pkcs8 -topk8 -in", "localhost-legacy.pem"]),
        ({"keyfile": "<pki>/other.test.pem"}, ["does not belong to the first certificate", "other.test.pem"]),
        ({"keyfile": "<pki>/ca.pem"}, ["ca.pem holds no private key"]),
        ({"keyfile": "<pki>/missing.pem"}, ["cannot read", "missing.pem"]),
        ({"verify_mode": 2}, ["verify_mode is CERT_REQUIRED but ca_certs is not set"]),
        ({"verify_mode": 2, "ca_certs": "<pki>/ca.pem", "hcrs": {"crls": "<pki>/ca.pem"}}, ["holds no CRL"]),
        ({"hcrs": {"ticket_keys": "<pki>/localhost.pem"}}, ["localhost.pem:1: expected 32 to 64 random bytes"]),
        ({"hcrs": {"ticket_keys": "<pki>/missing"}}, ["cannot read", "missing"]),
    ],
)
def test_files_that_cannot_be_used_stop_the_start_with_what_to_do(
    launch: Callable[..., Server], pki: Pki, keys: Any, words: Any
) -> None:
    given = filled({**PAIR, **keys}, {"<pki>": str(pki.folder)})
    server = launch("plain.py:app", **given)
    assert server.wait_for_exit() == 78
    for word in words:
        assert word in server.log
    assert PASSWORD not in server.log


@pytest.mark.slow
def test_new_certificates_are_taken_without_losing_a_connection(
    serve: Callable[..., Server],
    pki: Pki,
    tmp_path: Path,
    connect_h1: Callable[..., H1Client],
    trusting: Callable[..., ssl.SSLContext],
) -> None:
    def put(name: Any, file: str = "pair.pem") -> None:
        temporary = tmp_path / "temporary"
        temporary.write_bytes((pki.folder / name).read_bytes())
        temporary.rename(tmp_path / file)

    def presented() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ssl.get_server_certificate(("127.0.0.1", server.listener.port))

    put("localhost.pem")
    server = serve("plain.py:app", certfile=f"{tmp_path}/pair.pem", keyfile=f"{tmp_path}/pair.pem")
    context = trusting()
    plain = socket.create_connection(("127.0.0.1", server.listener.port), timeout=10)
    with context.wrap_socket(plain, server_hostname="localhost") as lasting:

        def still_answers() -> Any:
            lasting.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            return lasting.recv(1000).startswith(b"HTTP/1.1 200")

        assert still_answers()
        first = presented()
        pki.issue("localhost", "renewed.pem")
        put("renewed.pem")
        wait_until(lambda: presented() != first, "the new certificate, without a signal")
        second = presented()
        assert still_answers()
        (tmp_path / "pair.pem").write_text("broken")
        server.wait_for_log(r"The certificates cannot be read again, .*pair\.pem")
        assert presented() == second and still_answers()
        put("localhost.pem")
        server.signal(signal.SIGHUP)
        wait_until(lambda: presented() == first, "the first certificate again")
        assert still_answers()


def test_new_revocation_lists_are_taken(
    serve: Callable[..., Server], pki: Pki, tmp_path: Path, trusting: Callable[..., ssl.SSLContext]
) -> None:
    def put(*revoked: Any) -> None:
        (tmp_path / "temporary").write_bytes(pki.crl(*revoked))
        (tmp_path / "temporary").rename(tmp_path / "crl.pem")

    def is_let_in() -> Any:
        with socket.create_connection(("127.0.0.1", server.listener.port), timeout=10) as plain:
            try:
                version = ssl.TLSVersion.TLSv1_2  # where the client learns of it in the handshake
                return bool(trusting(identity="later", version=version).wrap_socket(plain, server_hostname="localhost"))
            except REFUSED:
                return False

    serial = pki.issue("later")
    put()
    pair = {"certfile": pki / "localhost.pem", "keyfile": pki / "localhost.pem"}
    own = {"crls": [f"{tmp_path}/crl.pem"]}
    server = serve("plain.py:app", **pair, ca_certs=pki / "ca.pem", verify_mode="CERT_REQUIRED", hcrs=own)
    assert is_let_in()
    put(serial)
    server.wait_for_log("The certificates were read again")
    wait_until(lambda: not is_let_in(), "the list to count")


def test_ticket_keys_rotate_and_outlive_a_restart(
    serve: Callable[..., Server], pki: Pki, tmp_path: Path, trusting: Callable[..., ssl.SSLContext]
) -> None:
    def put(*keys: str) -> None:
        (tmp_path / "temporary").touch(0o600)
        (tmp_path / "temporary").write_text("# the newest first\n" + "".join(keys))
        (tmp_path / "temporary").rename(tmp_path / "tickets")

    def start() -> Server:
        pair = {"certfile": pki / "localhost.pem", "keyfile": pki / "localhost.pem"}
        return serve("plain.py:app", **pair, hcrs={"ticket_keys": f"{tmp_path}/tickets"})

    old, new = (
        subprocess.run(["openssl", "rand", *form, "32"], check=True, capture_output=True, text=True).stdout
        for form in (["-base64"], ["-hex"])
    )
    put(old)
    server = start()
    context = trusting()
    session, _ = resume(server, context)
    assert server.stop() == 0
    server = start()
    assert "can be read" not in server.log
    assert resume(server, context, session)[1], "after a restart"

    put(new, old)
    server.wait_for_log("The certificates were read again")
    fresh, reused = resume(server, context, session)
    assert reused, "the old key still decrypts"

    put(new)
    wait_until(lambda: not resume(server, context, session)[1], "the old key to be forgotten")
    fresh, reused = resume(server, context, fresh)
    assert reused, "the new key has encrypted since it was the first"

    (tmp_path / "tickets").write_text("half a key")
    server.wait_for_log(r"The certificates cannot be read again, .*tickets:1: expected 32 to 64 random bytes")
    fresh, reused = resume(server, context, fresh)
    assert reused, "the keys from before are kept"

    put(new)
    (tmp_path / "tickets").chmod(0o644)
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"ticket_keys .*tickets can be read or written by every user")
    assert old.strip() not in server.log and new.strip() not in server.log
