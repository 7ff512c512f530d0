"""Certificates that come by themselves, from Debian's ``pebble``, which refuses a fifth of all nonces."""

from __future__ import annotations

import json
import os
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from end_to_end.certificates import Pki
from end_to_end.h1_client import H1Client
from end_to_end.pebble import Pebble, names_of, pebble, served
from end_to_end.server import Server, find_tool, wait_until

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
    server = serve("plain.py:app", **authority.settings(name, challenge=challenge, storage=str(storage), email="a@a.example"))
    server.wait_for_log(NEW + name)
    server.wait_for_log("The certificates were read again")
    certificate = served(authority.ports.https, name)
    assert names_of(certificate) == [name] and authority.knows(certificate.serial_number)
    with H1Client(server.listener, tls=trusted(authority), name=name) as client:
        assert client.get().body == b"hello"
    stored = next(storage.glob("*/certificates/*.pem"))
    assert stat.S_IMODE(storage.stat().st_mode) == 0o700 and stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stored.name == f"{name}.pem" and list((storage / "challenges").iterdir()) == []
    account = json.loads(next(storage.glob("*/account.json")).read_text())
    assert account["url"].startswith(authority.directory.removesuffix("dir")) and account["email"] == "a@a.example"
    assert not list(storage.glob("*/lock")) and not list(storage.rglob("*.tmp"))
