"""Certificates as tests want them: an authority, servers' and clients' certificates, encrypted keys, revocation lists."""

from __future__ import annotations

import base64
import datetime
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)
_PEM = serialization.Encoding.PEM
PASSWORD = "open sesame"
#: What an authority's key may do.
_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class Pki:
    """A folder of PEM files.

    ``ca.pem``; for each of ``localhost``, ``other.test``, ``client`` and ``revoked`` a ``NAME.pem`` with certificate and key;
    ``localhost-encrypted.pem``, whose key opens with ``PASSWORD``; ``crl.pem``; ``ca-and-crl.pem``;
    ``tickets``, a key of session tickets.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
        authority = self._certificate(self._name, self._key.public_key(), None)
        self._write("ca.pem", authority)
        for name in ("localhost", "other.test", "client"):
            self.issue(name)
        crl = self.crl(self.issue("revoked"))
        self._write("crl.pem", crl)
        self._write("ca-and-crl.pem", authority + crl)
        self._write("tickets", base64.b64encode(secrets.token_bytes(32)))
        (folder / "tickets").chmod(0o600)

    def __truediv__(self, name: str) -> str:
        return str(self.folder / name)

    def crl(self, *revoked: int) -> bytes:
        """A list of the certificates with these serial numbers."""
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(_now() - _DAY)
            .next_update(_now() + _DAY)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(by, critical=False)
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_now() - _DAY).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)

    def issue(self, name: str, file: str | None = None, days: float = 1) -> int:
        """Issues a certificate for a name into ``file``, valid for ``days`` from now, and returns its serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        pem = self._certificate(subject, key.public_key(), name, days)
        plain = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self._write(file or f"{name}.pem", pem + plain)
        if name == "localhost" and file is None:
            locked = serialization.BestAvailableEncryption(PASSWORD.encode())
            self._write("localhost-encrypted.pem", pem + key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, locked))
            self._write("localhost-legacy.pem", key.private_bytes(_PEM, serialization.PrivateFormat.TraditionalOpenSSL, locked))
        return x509.load_pem_x509_certificate(pem).serial_number

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, name: str | None, days: float = 1
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - 2 * _DAY)
            .not_valid_after(_now() + days * _DAY)
            .add_extension(x509.BasicConstraints(ca=name is None, path_length=None), critical=True)
        )
        if name is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(by, critical=False)
        else:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            builder = builder.add_extension(_SIGNS, critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)

    def _write(self, name: str, pem: bytes) -> None:
        (self.folder / name).write_bytes(pem)
