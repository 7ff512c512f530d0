"""Routes to upstreams over HTTP/2 and TLS."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.certificates import Pki
from end_to_end.h2_client import H2Client
from end_to_end.proxying import Client, status_of, write
from end_to_end.server import Server, wait_until
from end_to_end.upstream import Upstream

Serve = Callable[..., Server]


@pytest.mark.parametrize("scheme", ["h2c", "tls"])
def test_http2_with_an_upstream(
    proxy: Callable[..., Server], serve: Serve, client_of: Callable[[Server], Client], certificate: dict[str, str],
    scheme: str,
) -> None:
    inner = serve("plain.py:app", tls=scheme == "tls")
    where = inner.listener
    url = f"https://localhost:{where.port}" if scheme == "tls" else where.url
    keys = {"upstream_ca": certificate["certfile"]} if scheme == "tls" else {"upstream_protocol": "h2"}
    client = client_of(proxy(url, **keys))
    assert b"'http_version': '2'" in client.ask("/scope").body
    body = b"0123456789" * 200_000
    answer = client.ask("/echo", "POST", body=body)
    assert answer.status == 200 and answer.body == body
    assert client.ask("/status?status=404").status == 404


def test_an_upstream_with_another_certificate_is_refused(
    proxy: Callable[..., Server], serve: Serve, pki: Pki, certificate: dict[str, str]
) -> None:
    inner = serve("plain.py:app", tls=True)
    url = f"https://localhost:{inner.listener.port}"
    server = proxy(url, upstream_ca=pki / "ca.pem")
    assert status_of(server) == 502
    server.wait_for_log(rf"Upstream {url} is down: TLS: .*(UnknownIssuer|certificate)")


def test_authorities_are_read_again(
    proxy: Callable[..., Server], serve: Serve, pki: Pki, certificate: dict[str, str], tmp_path: Path
) -> None:
    inner = serve("plain.py:app", tls=True)
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(Path(pki / "ca.pem").read_bytes())
    server = proxy(f"https://localhost:{inner.listener.port}", upstream_ca=str(authorities))
    assert status_of(server) == 502
    authorities.write_bytes(Path(certificate["certfile"]).read_bytes())
    server.signal(signal.SIGHUP)
    wait_until(lambda: status_of(server) == 200, "the new authorities to be used")
    authorities.write_text("none")
    server.signal(signal.SIGHUP)
    server.wait_for_log("authorities.pem")
    assert status_of(server) == 200, "the old ones stay"


def test_a_certificate_that_is_not_verified(proxy: Callable[..., Server], serve: Serve) -> None:
    inner = serve("plain.py:app", tls=True)
    server = proxy(f"https://127.0.0.1:{inner.listener.port}", upstream_verify=False)
    assert status_of(server) == 200


def test_http11_over_tls(proxy: Callable[..., Server], certificate: dict[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["certfile"], certificate["keyfile"])
    with Upstream(tls=context) as upstream:
        server = proxy(upstream.url, upstream_ca=certificate["certfile"])
        assert [status_of(server) for _ in range(4)] == [200] * 4
        assert upstream.connections == 1 and upstream.requests[0].version == "HTTP/1.1"


def test_connections_of_http2_that_the_upstream_ends_are_replaced(
    proxy: Callable[..., Server], serve: Serve, connect_h2: Callable[..., H2Client]
) -> None:
    inner = serve("plain.py:app", keep_alive_max_requests=5)
    server = proxy(inner.listener.url, upstream_protocol="h2")
    client = connect_h2(server.listener)
    for _ in range(5):
        streams = [client.request("POST", "/echo", body=b"x" * 1000) for _ in range(12)]
        assert [client.response(stream).status for stream in streams] == [200] * 12


def test_authorities_that_cannot_be_read_are_a_mistake(launch: Serve, tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    write(file, "https://localhost:1", keys={}, upstream_ca=str(tmp_path / "none.pem"))
    server = launch(None, config_file=file)
    assert server.wait_for_exit() != 0
    assert f"cannot read {tmp_path / 'none.pem'}: No such file or directory" in server.log
