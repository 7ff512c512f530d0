"""Mutual TLS: the app sees who the client is by its certificate, through ASGI's extension `tls`.

hcrs --certfile cert.pem --keyfile key.pem --ca-certs clients-ca.pem --verify-mode CERT_REQUIRED \
    examples.client_certificate:app

config/mtls.toml has the same as a file. With CERT_OPTIONAL clients without a certificate are served too; a certificate
that does not verify never gets a connection.
"""

from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Greets the subject of the client's certificate."""
    if scope["type"] != "http":
        raise ValueError(f"a scope of the type {scope['type']!r}")
    tls = scope["extensions"].get("tls")
    if tls is None:
        status, text = 400, "this needs TLS"
    elif tls["client_cert_name"] is None:
        status, text = 401, "this needs a certificate"
    else:
        # The name is the subject as RFC 4514 writes it, and the chain has the certificates as PEM.
        status, text = 200, f"Hello {tls['client_cert_name']}, by TLS {tls['tls_version']:#06x}"
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode() + b"\n"})
