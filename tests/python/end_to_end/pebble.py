"""An authority of certificates for tests: Debian's ``pebble`` with its DNS server, for which every name is this machine."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509

from end_to_end.certificates import Pki
from end_to_end.server import find_tool, wait_until

#: The key of an external account, and its identifier.
EXTERNAL_KID = "kid-1"
EXTERNAL_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


class Ports(NamedTuple):
    """The ports at which the authority looks for a server."""

    http: int
    https: int


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on."""
    opened = [socket.socket() for _ in range(count)]
    try:
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in opened]
    finally:
        for one in opened:
            one.close()


class Pebble:
    """A running authority, which refuses some nonces at random."""

    def __init__(self, folder: Path, pki: Pki, **config: Any) -> None:
        pki.issue("127.0.0.1", "authority.pem")
        listen, management, dns, dns_management, http, https = free_ports(6)
        self.ports = Ports(http, https)
        self.directory = f"https://localhost:{listen}/dir"
        self.ca = pki / "ca.pem"
        self._management = f"https://localhost:{management}"
        settings = {
            "listenAddress": f"127.0.0.1:{listen}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": pki / "localhost.pem",
            "privateKey": pki / "localhost.pem",
            "httpPort": http,
            "tlsPort": https,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            **config,
        }
        if settings["externalAccountBindingRequired"]:
            settings["externalAccountMACKeys"] = {EXTERNAL_KID: EXTERNAL_KEY}
        path = folder / "pebble.json"
        path.write_text(json.dumps({"pebble": settings}))
        self._log = (folder / "pebble.log").open("wb")
        self._path = folder / "pebble.log"
        self._dns = self._start(
            ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}",
             "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""],
            {},
        )  # fmt: skip
        env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_AUTHZREUSE": "0"}
        self._authority = self._start(["pebble", "-config", str(path), "-dnsserver", f"127.0.0.1:{dns}"], env)
        wait_until(lambda: self._accepts(listen) and self._accepts(management), "pebble")

    def _start(self, words: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(words, env={**os.environ, **env}, stdout=self._log, stderr=subprocess.STDOUT)

    @staticmethod
    def _accepts(port: int) -> bool:
        with closing(socket.socket()) as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    @property
    def log(self) -> str:
        """What it has written."""
        return self._path.read_text(errors="replace")

    def root(self) -> str:
        """The certificate that its certificates are verified by, as PEM."""
        return self._managed("/roots/0")

    def _managed(self, path: str) -> str:
        context = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(self._management + path, context=context, timeout=20) as response:
            return str(response.read().decode())

    def knows(self, serial: int) -> bool:
        """Whether it has issued the certificate with this number."""
        try:
            return bool(self._managed(f"/cert-status-by-serial/{serial:x}"))
        except urllib.error.HTTPError:
            return False

    def stop(self) -> None:
        """Ends it."""
        for process in (self._authority, self._dns):
            process.kill()
            process.wait()
        self._log.close()

    def settings(self, *domains: str, **more: Any) -> dict[str, Any]:
        """The keys of a server that gets certificates from it."""
        acme = {"domains": list(domains), "directory": self.directory, "directory_ca": self.ca, **more}
        bind = f"127.0.0.1:{self.ports.https}"
        return {"bind": bind, "insecure_bind": f"127.0.0.1:{self.ports.http}", "hcrs": {"acme": acme}}


@contextmanager
def pebble(folder: Path, pki: Pki, **config: Any) -> Iterator[Pebble]:
    """Runs the authority."""
    for tool in ("pebble", "pebble-challtestsrv"):
        find_tool(tool, "pebble")
    authority = Pebble(folder, pki, **config)
    try:
        yield authority
    finally:
        authority.stop()


def served(port: int, name: str) -> x509.Certificate:
    """The certificate that a server sends for a name, verified or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 20) as plain, context.wrap_socket(plain, server_hostname=name) as tls:
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names of a certificate."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)
