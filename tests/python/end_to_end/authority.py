"""A certificate authority for tests, with an intermediate one, and the client certificates that they issue."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


class Issuer:
    """A certificate with its key, which may issue others."""

    def __init__(self, subject: x509.Name, issuer: Issuer | None = None, *, is_authority: bool = False) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.issuer: Issuer = issuer or self
        self.certificate: x509.Certificate
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            builder = builder.add_extension(usage, critical=False)
        self.certificate = builder.sign(self.issuer.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


class Authority:
    """A root, whose certificate lies in ``cafile``, and an intermediate one that issues to clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Issuer(named((NameOID.COMMON_NAME, "root of the tests")), is_authority=True)
        self.intermediate = Issuer(
            named((NameOID.COMMON_NAME, "intermediate of the tests")), self.root, is_authority=True
        )
        self.cafile = folder / "ca.pem"
        self.cafile.write_text(self.root.pem)

    def client(self, *subject: tuple[x509.ObjectIdentifier, str]) -> tuple[list[x509.Certificate], Path]:
        """Certificates of a client, its own first, and the file that holds them with the key."""
        own = Issuer(named(*subject), self.intermediate)
        key = own.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.folder / f"client-{own.certificate.serial_number}.pem"
        path.write_text(own.pem + self.intermediate.pem + key.decode())
        return [own.certificate, self.intermediate.certificate], path


def named(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def presenting(context: ssl.SSLContext, identity: Path) -> ssl.SSLContext:
    """The context, with a client's certificate."""
    context.load_cert_chain(identity)
    return context
