"""An authority of certificates (RFC 8555) that misbehaves as a test wants: it is slow, refuses, limits rates, suggests
when to renew (RFC 9773), and can hold each request until the test has killed the server that sent it.

It verifies signatures, nonces and the binding to external accounts, looks at challenges http-01 itself, and remembers
accounts by their keys. It has one order after the other in mind and is no authority for anything else."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import http.client
import itertools
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

from end_to_end.certificates import Pki
from end_to_end.pebble import EXTERNAL_KEY, EXTERNAL_KID

_PEM = serialization.Encoding.PEM


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Refused(Exception):
    """A response with a problem."""

    def __init__(self, status: int, kind: str, detail: str = "no", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}
        self.headers = dict(headers or {})


class Reply:
    """A response."""

    def __init__(self, body: Any, status: int = 200, **headers: str) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class FakeAuthority:
    """The authority. A test may set its attributes while it runs."""

    def __init__(self, pki: Pki, http_port: int) -> None:
        self.http_port = http_port
        self.ca = pki / "ca.pem"
        #: How long a certificate is valid, and the time before now at which it begins.
        self.life = datetime.timedelta(days=90)
        self.back_dated = datetime.timedelta(hours=1)
        #: The suggestion for certificates, as the start and the end from now on; ``None`` for none.
        self.window: tuple[datetime.timedelta, datetime.timedelta] | None = None
        self.external_required = False
        #: The state in which orders begin.
        self.beginning = "pending"
        #: The value of ``Retry-After`` of orders that it has not finished; while it is ``None``, it finishes at once.
        self.unfinished: str | None = None
        #: The status and the problem with which it refuses orders that replace a certificate.
        self.refuses_replacement: tuple[int, str] | None = None
        #: Called with the name of each step before it is answered. It may raise ``Refused``.
        self.before: Callable[[str], None] = lambda step: None
        #: The steps so far, with the certificates that orders replace.
        self.steps: list[str] = []
        self.replaced: list[str | None] = []
        self.profiles_asked: list[str | None] = []
        #: The keys of accounts, as JSON, by the account's number.
        self.accounts: list[str] = []
        self.contacts: dict[str, Any] = {}
        #: What it has found wrong in requests.
        self.faults: list[BaseException] = []
        self.key_types: list[str] = []
        self._nonces: set[str] = set()
        self.orders: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the fake authority")])
        self._server = _server(self, pki)
        self.port = self._server.server_address[1]
        self.directory = f"https://localhost:{self.port}/dir"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()

    def settings(self, *domains: str, https: str = "127.0.0.1:0", **more: Any) -> dict[str, Any]:
        """The keys of a server that gets certificates from it."""
        acme = {"domains": list(domains), "directory": self.directory, "directory_ca": self.ca, "challenge": "http-01", **more}
        return {"bind": https, "insecure_bind": f"127.0.0.1:{self.http_port}", "hcrs": {"acme": acme}}

    # ---- requests ----

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """The response to a request."""
        step, _, argument = path.strip("/").partition("/")
        if step == "renewal-info":
            self.steps.append(step)
            self.before(step)
            return self._suggest()
        if step == "dir":
            self.before(step)
            return Reply(self._directory())
        if step == "nonce":
            self.before(step)
            return Reply(b"")
        request = json.loads(body)
        header = json.loads(decoded(request["protected"]))
        with self._lock:
            if header.get("nonce") not in self._nonces:
                raise Refused(400, "badNonce")
            self._nonces.remove(header["nonce"])
        assert header["url"] == f"https://localhost:{self.port}{path}", header
        jwk = json.dumps(header["jwk"], sort_keys=True) if "jwk" in header else self._account(header["kid"])
        self._verify(jwk, request)
        payload = json.loads(decoded(request["payload"])) if request["payload"] else None
        self.steps.append(step)
        self.before(step)
        return self._answer(step, argument, jwk, payload)

    def _directory(self) -> dict[str, Any]:
        base = f"https://localhost:{self.port}"
        urls: dict[str, Any] = {f"new{name.capitalize()}": f"{base}/{name}" for name in ("nonce", "account", "order")}
        urls["meta"] = {"externalAccountRequired": self.external_required, "profiles": {"short": "of some days"}}
        if self.window is not None:
            urls["renewalInfo"] = f"{base}/renewal-info"
        return urls

    def _account(self, url: str) -> str:
        number = int(url.rpartition("/")[2])
        if number >= len(self.accounts):
            raise Refused(400, "accountDoesNotExist")
        return self.accounts[number]

    @staticmethod
    def _verify(jwk: str, request: Mapping[str, str]) -> None:
        key = json.loads(jwk)
        x, y = (int.from_bytes(decoded(key[name]), "big") for name in ("x", "y"))
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        signature = decoded(request["signature"])
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        try:
            message = f"{request['protected']}.{request['payload']}".encode()
            public.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Refused(401, "unauthorized", "the signature is wrong") from None

    def _answer(self, step: str, argument: str, jwk: str, payload: Any) -> Reply:
        base = f"https://localhost:{self.port}"
        if step == "account" and not argument:
            return self._register(jwk, payload)
        if step == "account":
            self.contacts[jwk] = payload["contact"]
            return Reply({"status": "valid"})
        if step == "order" and not argument:
            names = [identifier["value"] for identifier in payload["identifiers"]]
            self.replaced.append(payload.get("replaces"))
            self.profiles_asked.append(payload.get("profile"))
            if self.refuses_replacement and "replaces" in payload:
                raise Refused(*self.refuses_replacement)
            with self._lock:
                number = len(self.orders)
                self.orders.append({"names": names, "status": self.beginning, "jwk": jwk, "token": secrets.token_urlsafe(32)})
            return Reply(self._order(number), 201, location=f"{base}/order/{number}")
        number = int(argument)
        order = self.orders[number]
        if order["jwk"] != jwk:
            raise Refused(403, "unauthorized", "the order is another account's")
        if step == "order":
            return self._state(number)
        if step == "authorization":
            return Reply(self._authorization(number))
        if step == "challenge":
            self._look(order)
            return Reply(self._authorization(number)["challenges"][0])
        if step == "finalize":
            order["chain"] = self._issue(order["names"], decoded(payload["csr"]))
            order["status"] = "processing"
            return self._state(number)
        assert step == "certificate", step
        return Reply(order["chain"])

    def _register(self, jwk: str, payload: Mapping[str, Any]) -> Reply:
        assert payload["termsOfServiceAgreed"] is True
        if self.external_required:
            self._check_binding(jwk, payload.get("externalAccountBinding"))
        is_new = jwk not in self.accounts
        if is_new:
            self.accounts.append(jwk)
        self.contacts[jwk] = payload.get("contact")
        url = f"https://localhost:{self.port}/account/{self.accounts.index(jwk)}"
        return Reply({"status": "valid"}, 201 if is_new else 200, location=url)

    @staticmethod
    def _check_binding(jwk: str, binding: Any) -> None:
        if binding is None:
            raise Refused(403, "externalAccountRequired")
        header = json.loads(decoded(binding["protected"]))
        message = f"{binding['protected']}.{binding['payload']}".encode()
        mac = hmac.new(decoded(EXTERNAL_KEY), message, hashlib.sha256).digest()
        is_ours = header["kid"] == EXTERNAL_KID and json.loads(decoded(binding["payload"])) == json.loads(jwk)
        if not is_ours or not hmac.compare_digest(mac, decoded(binding["signature"])):
            raise Refused(403, "unauthorized", "the binding is wrong")

    def _state(self, number: int) -> Reply:
        order = self.orders[number]
        if order["status"] == "processing" and self.unfinished is None:
            order["status"] = "valid"
        reply = Reply(self._order(number))
        if self.unfinished is not None:
            reply.headers["retry-after"] = self.unfinished
        return reply

    def _order(self, number: int) -> dict[str, Any]:
        base, order = f"https://localhost:{self.port}", self.orders[number]
        state = {
            "status": order["status"],
            "identifiers": [{"type": "dns", "value": name} for name in order["names"]],
            "authorizations": [f"{base}/authorization/{number}"],
            "finalize": f"{base}/finalize/{number}",
        }
        return {**state, "certificate": f"{base}/certificate/{number}"} if order["status"] == "valid" else state

    def _authorization(self, number: int) -> dict[str, Any]:
        order = self.orders[number]
        status = {"pending": "pending", "invalid": "invalid"}.get(order["status"], "valid")
        challenge = {"type": "http-01", "url": f"https://localhost:{self.port}/challenge/{number}", "token": order["token"],
                     "status": status, **({"error": order["error"]} if "error" in order else {})}  # fmt: skip
        return {"status": status, "challenges": [{"type": "dns-01", "url": "https://x", "token": "t"}, challenge]}

    def _look(self, order: dict[str, Any]) -> None:
        """Looks at the challenge, as of this machine."""
        client = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        client.request("GET", f"/.well-known/acme-challenge/{order['token']}", headers={"host": order["names"][0]})
        response = client.getresponse()
        found = response.read().decode()
        client.close()
        members = {name: json.loads(order["jwk"])[name] for name in ("crv", "kty", "x", "y")}
        thumb = hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest()
        if (response.status, found) == (200, f"{order['token']}.{encoded(thumb)}"):
            order["status"] = "ready"
        else:
            order["status"] = "invalid"
            order["error"] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": f"found {response.status}"}

    def _issue(self, names: list[str], csr: bytes) -> bytes:
        request = x509.load_der_x509_csr(csr)
        assert request.is_signature_valid and request.subject == x509.Name([]), "the name is an alternative one alone"
        asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert asked.get_values_for_type(x509.DNSName) == names
        public = request.public_key()
        assert isinstance(public, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey))
        self.key_types.append(public.curve.name if isinstance(public, ec.EllipticCurvePublicKey) else f"rsa-{public.key_size}")
        start = datetime.datetime.now(datetime.timezone.utc) - self.back_dated
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + self.life)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
            .add_extension(by, critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)

    def _suggest(self) -> Reply:
        assert self.window is not None
        now = datetime.datetime.now(datetime.timezone.utc)
        start, end = ((now + shift).isoformat().replace("+00:00", "Z") for shift in self.window)
        return Reply({"suggestedWindow": {"start": start, "end": end}, "explanationURL": "https://ca.test/why"}, retry_after="3600")

    def new_nonce(self) -> str:
        """A nonce that is good once."""
        nonce = encoded(next(self._numbers).to_bytes(8, "big") + secrets.token_bytes(8))
        with self._lock:
            self._nonces.add(nonce)
        return nonce


def _server(authority: FakeAuthority, pki: Pki) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                reply = authority.answer(self.command, self.path, body)
            except Refused as refused:
                reply = Reply(refused.body, refused.status)
                reply.headers = refused.headers
            except (AssertionError, LookupError, ValueError) as fault:
                authority.faults.append(fault)
                reply = Reply({"detail": repr(fault)}, 500)
            self.send_response(reply.status)
            self.send_header("replay-nonce", authority.new_nonce())
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_POST = do_HEAD = _respond

        def handle(self) -> None:
            with suppress(OSError):  # the server was killed, as the test wants
                super().handle()

        def log_message(self, *_: Any) -> None:
            pass

    class TlsServer(ThreadingHTTPServer):
        daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def get_request(self) -> tuple[Any, Any]:
            connection, address = super().get_request()
            return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *_: Any) -> None:
            pass

    server = TlsServer(("127.0.0.1", 0), Handler)
    server.context.load_cert_chain(pki / "localhost.pem")
    return server


@contextmanager
def fake_authority(pki: Pki, http_port: int) -> Iterator[FakeAuthority]:
    """Runs the authority."""
    authority = FakeAuthority(pki, http_port)
    try:
        yield authority
        assert not authority.faults, authority.faults
    finally:
        authority.stop()
