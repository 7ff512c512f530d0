"""Certificates that come by themselves, from Debian's ``pebble``, which refuses a fifth of all nonces."""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from end_to_end.certificates import Pki
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.pebble import EXTERNAL_KEY, EXTERNAL_KID, Pebble, names_of, pebble, served
from end_to_end.server import APPS, Server, command, find_tool, to_toml, wait_until

Serve = Callable[..., Server]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_tool("pebble", "pebble") is None, reason="pebble is missing: apt-get install pebble"),
]

NEW = "There is a new certificate for "


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), pki) as running:
        yield running


def trusted(authority: Pebble, *alpn: str) -> ssl.SSLContext:
    """The TLS of a client that trusts the authority's certificates."""
    context = ssl.create_default_context(cadata=authority.root())
    context.set_alpn_protocols(list(alpn or ["http/1.1"]))
    return context


def is_self_made(certificate: x509.Certificate) -> bool:
    return "no certificate yet" in certificate.subject.rfc4514_string()


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_a_certificate_is_issued_and_served(
    authority: Pebble, serve: Serve, tmp_path: Path, challenge: str
) -> None:
    name = f"{challenge}.example"
    storage = tmp_path / "state" / "acme"
    keys = authority.settings(name, challenge=challenge, storage=str(storage), email="a@a.example")
    server = serve("plain.py:app", quic_bind="127.0.0.1:0", **keys)
    server.wait_for_log(NEW + name)
    server.wait_for_log("The certificates were read again")
    certificate = served(authority.ports.https, name)
    assert names_of(certificate) == [name] and authority.knows(certificate.serial_number)
    with H1Client(server.listener, tls=trusted(authority), name=name) as client:
        assert client.get().body == b"hello"
    root = tmp_path / "root.pem"
    root.write_text(authority.root())
    with H3Client(server.quic, cafile=str(root), server_name=name) as over_quic:
        assert over_quic.get().body == b"hello"
    stored = next(storage.glob("*/certificates/*.pem"))
    assert stat.S_IMODE(storage.stat().st_mode) == 0o700 and stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stored.name == f"{name}.pem" and list((storage / "challenges").iterdir()) == []
    account = json.loads(next(storage.glob("*/account.json")).read_text())
    assert account["url"].startswith(authority.directory.removesuffix("dir")) and account["email"] == "a@a.example"
    wait_until(lambda: not list(storage.glob("*/lock")), "the end of the lock")
    assert not list(storage.rglob("*.tmp"))


def test_until_there_is_a_certificate_the_server_serves_with_one_of_its_own(
    authority: Pebble, serve: Serve, tmp_path: Path, pki: Pki
) -> None:
    nobody = {"directory": "https://127.0.0.1:1/dir", "storage": str(tmp_path / "acme")}
    server = serve("plain.py:app", **authority.settings("early.example", **nobody))
    server.wait_for_log(r"No certificate for early\.example: the authority at 127\.0\.0\.1 cannot be asked: .*the next try is in 60 s")
    certificate = served(authority.ports.https, "early.example")
    assert is_self_made(certificate) and names_of(certificate) == ["early.example"]
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with H1Client(server.listener, tls=unverified, name="early.example") as client:
        assert client.get().body == b"hello"
    with H1Client(server.listeners[1]) as client:
        missing = client.get("/.well-known/acme-challenge/0123456789abcdefghij")
        assert (missing.status, missing.body) == (404, b"no such behaviour"), "what no server waits for is the app's"


def test_several_names_have_certificates_of_their_own_and_sighup_adds_one(
    authority: Pebble, serve: Serve, tmp_path: Path
) -> None:
    config = tmp_path / "hcrs.toml"
    storage = str(tmp_path / "acme")

    def write(*names: str) -> None:
        keys = authority.settings(*names, storage=storage)
        config.write_text(to_toml({**keys, "application_path": str(APPS / "plain.py") + ":app"}))

    write("one.example", "two.example")
    server = serve(None, config_file=config, **authority.settings("one.example", storage=storage))
    server.wait_for_log(NEW, 2)
    server.wait_for_log("The certificates were read again", 2)
    first = {name: served(authority.ports.https, name) for name in ("one.example", "two.example")}
    assert [names_of(certificate) for certificate in first.values()] == [["one.example"], ["two.example"]]
    assert served(authority.ports.https, "unknown.example") == first["one.example"]
    with H1Client(server.listener, tls=trusted(authority), name="one.example") as kept:
        assert kept.get().body == b"hello"
        write("two.example", "three.example")
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"changed: \[hcrs\.acme\] domains")
        server.wait_for_log(NEW + "three.example")
        wait_until(lambda: names_of(served(authority.ports.https, "three.example")) == ["three.example"], "the third name")
        assert served(authority.ports.https, "two.example") == first["two.example"]
        assert names_of(served(authority.ports.https, "one.example")) == ["two.example"], "it is served no more"
        assert kept.get().body == b"hello"
        config.write_text(config.read_text().replace("[hcrs]", "[other]"))
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"\[hcrs\.acme\] takes effect at a start: the server has no other certificate")
        assert served(authority.ports.https, "two.example") == first["two.example"]


def test_no_request_fails_while_certificates_are_renewed(authority: Pebble, serve: Serve, tmp_path: Path) -> None:
    keys = authority.settings("busy.example", storage=str(tmp_path / "acme"))
    keys["hcrs"]["admin_bind"] = f"unix:{tmp_path}/admin"
    server = serve("plain.py:app", keep_alive_timeout=60, **keys)
    server.wait_for_log(NEW)
    server.wait_for_log("The certificates were read again")
    over_h1, over_h2 = trusted(authority), trusted(authority, "h2")
    counts = {"kept": 0, "new": 0, "h2": 0}
    failures: list[BaseException] = []
    is_over = threading.Event()

    def ask(kind: str, once: Callable[[], bytes]) -> None:
        try:
            while not is_over.is_set():
                assert once() == b"hello"
                counts[kind] += 1
        except BaseException as failure:  # whatever it is, the test reports it
            failures.append(failure)

    def on_a_new_connection() -> bytes:
        with H1Client(server.listener, tls=over_h1, name="busy.example") as client:
            return client.get().body

    with H1Client(server.listener, tls=over_h1, name="busy.example") as kept:
        h2 = H2Client(server.listener, tls=over_h2, name="busy.example")
        asking = [
            threading.Thread(target=ask, args=arguments, daemon=True)
            for arguments in (
                ("kept", lambda: kept.get().body), ("new", on_a_new_connection), ("h2", lambda: h2.get().body)
            )
        ]  # fmt: skip
        for thread in asking:
            thread.start()
        serials = {served(authority.ports.https, "busy.example").serial_number}
        for number in (2, 3, 4):
            told = subprocess.run(
                [command(), "acme", "renew", "busy.example", "--config", str(server.folder / "hcrs.toml")],
                capture_output=True, text=True, timeout=20, check=True,
            )  # fmt: skip
            assert "the authority is being asked for busy.example" in told.stdout
            server.wait_for_log(NEW, number)
            server.wait_for_log("The certificates were read again", number)
            before = dict(counts)
            wait_until(lambda: all(counts[kind] > before[kind] for kind in counts) or failures, "requests of each kind")  # noqa: B023
            serials.add(served(authority.ports.https, "busy.example").serial_number)
        is_over.set()
        for thread in asking:
            thread.join(20)
        h2.close()
    assert not failures and len(serials) == 4, failures


def test_the_shortest_lives_are_renewed_in_time(serve: Serve, tmp_path: Path, pki: Pki) -> None:
    with pebble(tmp_path, pki, certificateValidityPeriod=10) as authority:
        server = serve("plain.py:app", **authority.settings("short.example", storage=str(tmp_path / "acme")))
        server.wait_for_log(NEW)
        server.wait_for_log("The certificates were read again")
        seen = set()

        def has_changed_twice() -> bool:
            certificate = served(authority.ports.https, "short.example")
            assert certificate.not_valid_after_utc > datetime.datetime.now(datetime.timezone.utc), "one that has expired"
            seen.add(certificate.serial_number)
            return len(seen) == 3

        wait_until(has_changed_twice, "two renewals", deadline=40)
        assert "No certificate" not in server.log


def test_an_account_is_bound_to_one_of_the_authority(serve: Serve, tmp_path: Path, pki: Pki) -> None:
    with pebble(tmp_path, pki, externalAccountBindingRequired=True) as authority:
        keys = authority.settings("bound.example", storage=str(tmp_path / "acme"), eab_kid=EXTERNAL_KID, eab_hmac_key=EXTERNAL_KEY)
        server = serve("plain.py:app", **keys)
        server.wait_for_log(NEW)
        assert EXTERNAL_KEY not in server.log


def test_a_stored_certificate_is_served_from_the_start_and_an_expired_one_rather_than_none(
    authority: Pebble, serve: Serve, tmp_path: Path, pki: Pki
) -> None:
    keys = authority.settings("kept.example", storage=str(tmp_path / "acme"))
    first = serve("plain.py:app", **keys)
    first.wait_for_log(NEW)
    first.assert_ends_well()
    stored = next((tmp_path / "acme").glob("*/certificates/kept.example.pem"))
    again = serve("plain.py:app", **keys)
    serial = served(authority.ports.https, "kept.example").serial_number
    assert authority.knows(serial)
    again.assert_ends_well()
    assert "Asking" not in again.log and "self-made" not in again.log
    pem = x509.load_pem_x509_certificates(stored.read_bytes())
    assert pem[0].serial_number == serial and b"PRIVATE KEY" in stored.read_bytes()
    expired = pki.issue("kept.example", "expired.pem", days=-1)
    stored.write_bytes((pki.folder / "expired.pem").read_bytes())
    keys["hcrs"]["acme"]["directory_ca"] = str(pki.folder / "missing.pem")
    late = serve("plain.py:app", **keys)
    late.wait_for_log(r"the certificate in certfile \S+/kept\.example\.pem has expired")
    late.wait_for_log(r"No certificate for kept\.example: .*missing\.pem")
    assert served(authority.ports.https, "kept.example").serial_number == expired


def test_the_handshake_of_an_authority_is_all_that_its_connection_is_for(
    authority: Pebble, serve: Serve, tmp_path: Path
) -> None:
    serve("plain.py:app", **authority.settings("alpn.example", storage=str(tmp_path / "acme")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for offered, chosen in ((["acme-tls/1", "h2"], "h2"), (["acme-tls/1"], None)):
        context.set_alpn_protocols(offered)
        with socket.create_connection(("127.0.0.1", authority.ports.https), 20) as plain:
            if chosen is None:
                with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                    context.wrap_socket(plain, server_hostname="unknown.example")
            else:
                with context.wrap_socket(plain, server_hostname="alpn.example") as tls:
                    assert tls.selected_alpn_protocol() == chosen


def test_any_server_with_the_storage_answers_the_handshake_of_a_challenge(
    authority: Pebble, serve: Serve, tmp_path: Path
) -> None:
    """The authority looks at the first one, which has not asked for the second one's certificate."""
    storage = tmp_path / "acme"
    keys = authority.settings("front.example", storage=str(storage), challenge="tls-alpn-01")
    front = serve("plain.py:app", **keys)
    front.wait_for_log(NEW)
    keys = authority.settings("behind.example", storage=str(storage), challenge="tls-alpn-01")
    behind = serve("plain.py:app", **{**keys, "bind": "127.0.0.1:0", "insecure_bind": "127.0.0.1:0"})
    behind.wait_for_log(NEW + "behind.example")
    assert "No certificate" not in behind.log and list((storage / "challenges").iterdir()) == []


def test_a_check_tells_what_an_authority_would_find(
    authority: Pebble, serve: Serve, tmp_path: Path, pki: Pki
) -> None:
    keys = authority.settings("localhost", "nowhere.invalid", storage=str(tmp_path / "acme"))

    def check(*more: str, expected: int, https: int = authority.ports.https) -> str:
        ports = ["--http-port", str(authority.ports.http), "--https-port", str(https)]
        words = [command(), "acme", "check", "--config", str(server.folder / "hcrs.toml"), *ports, *more]
        result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == expected, result
        return result.stdout

    server = serve("plain.py:app", **keys)
    told = check(expected=1)
    storage = str(tmp_path / "acme")
    assert f"ok    the storage {storage} can be written" in told
    assert f"ok    localhost at 127.0.0.1 port {authority.ports.http} answers challenges from this storage" in told
    assert f"ok    localhost at 127.0.0.1 port {authority.ports.https} answers handshakes of challenges from this storage" in told
    other = serve("plain.py:app", bind="127.0.0.1:0", certfile=pki / "localhost.pem", keyfile=pki / "localhost.pem")
    elsewhere = check("--domain", "localhost", expected=1, https=other.listener.port)
    assert f"FAIL  localhost at 127.0.0.1 port {other.listener.port} does not answer the handshake of a challenge: " in elsewhere
    assert "FAIL  nowhere.invalid has no address in DNS" in told
    assert f"ok    the authority at {authority.directory} answers" in told
    server.assert_ends_well()
    told = check("--domain", "localhost", expected=1)
    assert f"FAIL  localhost at 127.0.0.1 port {authority.ports.http} does not answer" in told


def test_one_line_serves_the_ports_of_https_and_http(launch: Serve, tmp_path: Path) -> None:
    """In a network namespace of its own, whose ports 443 and 80 are free, and where no authority can be reached."""
    up = (
        "import fcntl, os, socket, struct, sys\n"
        "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1))  # SIOCSIFFLAGS, IFF_UP\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    own = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    flags = ["--domain", "one.example", "--domain", "two.example"]
    env = {"XDG_STATE_HOME": str(tmp_path), "STATE_DIRECTORY": str(tmp_path / "state")}
    config = tmp_path / "app.toml"
    config.write_text(to_toml({"application_path": str(APPS / "plain.py") + ":app"}))
    server = launch(config_file=config, flags=flags, env=env, started_by=[*own, sys.executable, "-c", up])
    server.wait_for_log(r"Running on https://0\.0\.0\.0:443 ")
    server.wait_for_log(r"Running on http://0\.0\.0\.0:80 ")
    server.wait_for_log(r"No certificate for one\.example: the authority at acme-v02\.api\.letsencrypt\.org cannot be asked")

    def curl(*words: str) -> str:
        enter = ["nsenter", "-t", str(server.pid), "-n", *([] if os.geteuid() == 0 else ["-U", "--preserve-credentials"])]
        names = ["--resolve", "one.example:443:127.0.0.1", "--resolve", "one.example:80:127.0.0.1"]
        return subprocess.run([*enter, "curl", "-sS", *names, *words], capture_output=True, text=True, timeout=20, check=True).stdout

    assert curl("-k", "https://one.example/") == "hello"
    assert "location: https://one.example/path" in curl("-I", "http://one.example/path").lower()
    token = "0123456789abcdefghij"
    (tmp_path / "state" / "acme" / "challenges" / token).write_text(f"{token}.thumb")
    assert curl(f"http://one.example/.well-known/acme-challenge/{token}") == f"{token}.thumb"
    assert server.stop() == 0
