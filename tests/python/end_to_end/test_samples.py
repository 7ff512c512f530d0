"""The sample files of config/: each passes its own check, starts, and serves what it says."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import APPS, Server, command, find_tool, wait_until

SAMPLES = Path(__file__).parents[3] / "config"

#: What of each file belongs to a machine, and what stands for it in the tests. ``{folder}`` is a folder of the test's.
PLACES: dict[str, dict[str, str]] = {
    "minimal": {"127.0.0.1:8000": "127.0.0.1:0"},
    "development": {"localhost:8000": "localhost:0"},
    "production": {
        '"0.0.0.0:443", "[::]:443"': '"0.0.0.0:0"',
        "127.0.0.1:8080": "127.0.0.1:0",
        "/etc/hcrs": "{folder}",
        "/var/log/hcrs": "{folder}",
        "/run/hcrs": "{folder}",
        "/srv/myproject/.venv/bin/python": sys.executable,
    },
    "behind-a-proxy": {"/run/hcrs": "{folder}"},
    "several-apps": {
        "0.0.0.0:8000": "127.0.0.1:0",
        "/srv/shop/.venv/bin/python": sys.executable,
        "/srv/shop": "{folder}/shop",
        "/run/hcrs": "{folder}",
    },
    "mtls": {"0.0.0.0:8443": "0.0.0.0:0", "/etc/hcrs": "{folder}"},
}


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Path]:
    """Puts a sample, an app, and a certificate where the sample wants them."""

    def put(name: str) -> Path:
        text = (SAMPLES / f"{name}.toml").read_text()
        for place, here in PLACES[name].items():
            assert place in text, f"{name}.toml does not name {place} any more"
            text = text.replace(place, here.replace("{folder}", str(tmp_path)))
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        (tmp_path / "myproject").mkdir()
        (tmp_path / "myproject" / "__init__.py").write_text("")
        app = (APPS / "plain.py").read_text()
        (tmp_path / "myproject" / "asgi.py").write_text(app + "\napplication = app\n")
        (tmp_path / "app.py").write_text(app)
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "shop.py").write_text(app.replace('"/": hello', '"/shop/": hello').replace('"hello"', '"shop"') + "\napplication = app\n")
        subprocess.run([command(), "cert", "dev", "--dir", str(tmp_path)], check=True, capture_output=True)
        (tmp_path / "fullchain.pem").write_text((tmp_path / "cert.pem").read_text())
        (tmp_path / "privkey.pem").write_text((tmp_path / "key.pem").read_text())
        (tmp_path / "clients-ca.pem").write_text((tmp_path / "ca.pem").read_text())
        return path

    return put


@pytest.fixture
def serve_sample(serve: Callable[..., Server], place: Callable[[str], Path], tmp_path: Path) -> Callable[..., Server]:
    """Starts a sample; the number of its listeners has to be told."""

    def start(name: str, listeners: int = 1) -> Server:
        path = place(name)
        return serve(None, config_file=path, cwd=tmp_path, bind=["counted"] * listeners)

    return start


def test_every_sample_is_tested() -> None:
    made = {"hypercorn", "reference"}  # the one of the example, and the generated one, which have tests of their own
    assert {path.stem for path in SAMPLES.glob("*.toml")} == set(PLACES) | made


@pytest.mark.parametrize("name", PLACES)
def test_check_passes(name: Any, place: Callable[[str], Path], tmp_path: Path) -> None:
    check = [command(), "config", "check", "--strict", str(place(name))]
    result = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr


def test_minimal_shows_the_welcome_page(
    serve_sample: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    response = connect_h1(serve_sample("minimal").listener).get()
    assert response.status == 200 and b"HTTP/1.1" in response.body


def test_development_serves_and_logs_everything(
    serve_sample: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve_sample("development")
    assert connect_h1(server.listener).get().body == b"hello"
    wait_until(lambda: '"GET / 1.1" 200 5' in server.output, "the line of the access log")
    server.wait_for_log("DEBUG")
    assert len(server.worker_pids()) == 1


def test_production_serves_with_tls_and_beside_it_and_logs_to_its_file(
    serve_sample: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve_sample("production", listeners=2)
    by_scheme = {listener.scheme: listener for listener in server.listeners}
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with httpx.Client(verify=context, http2=True) as client:
        secure = client.get(f"https://localhost:{by_scheme['https'].port}/")
        plain = client.get(f"{by_scheme['http'].url}/")
    assert (secure.text, secure.http_version, plain.text) == ("hello", "HTTP/2", "hello")
    assert len(server.worker_pids()) == 4
    assert (tmp_path / "hcrs.pid").read_text() == str(server.pid)
    wait_until(lambda: (tmp_path / "access.log").read_text().count('"GET / ') == 2, "the lines of the access log")


def test_several_apps_serves_both(serve_sample: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve_sample("several-apps")
    client = connect_h1(server.listener)
    assert [client.get(path).body for path in ("/", "/shop/")] == [b"hello", b"shop"]
    assert len(server.worker_pids()) == 3


def test_behind_a_proxy_serves_on_a_socket_for_the_proxys_group(
    serve_sample: Callable[..., Server], tmp_path: Path
) -> None:
    serve_sample("behind-a-proxy")
    path = tmp_path / "hcrs.sock"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o770
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.get("http://localhost/").text == "hello"


def make_client(folder: Path) -> tuple[Path, Path, Path]:
    """An authority for clients, and the certificate and key of one; not by ``hcrs cert dev``, which signs servers only."""
    openssl = find_tool("openssl", "openssl")
    if openssl is None:
        pytest.skip("openssl is missing: apt-get install openssl")
    folder.mkdir()
    (folder / "client.ext").write_text("extendedKeyUsage = clientAuth\nsubjectAltName = DNS:client.test\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for arguments in (
        f"req -x509 {key} -subj /CN=clients -days 1 -keyout authority-key.pem -out authority.pem",
        f"req {key} -subj /CN=client -keyout client-key.pem -out client.csr",
        (
            "x509 -req -in client.csr -CA authority.pem -CAkey authority-key.pem -CAcreateserial -days 1 "
            "-extfile client.ext -out client.pem"
        ),
    ):
        subprocess.run([openssl, *arguments.split()], cwd=folder, check=True, capture_output=True)
    return folder / "authority.pem", folder / "client.pem", folder / "client-key.pem"


def test_mtls_serves_only_clients_with_a_certificate_of_the_authority(
    serve: Callable[..., Server], place: Callable[[str], Path], tmp_path: Path
) -> None:
    authority, *client = make_client(tmp_path / "clients")
    _, *stranger = make_client(tmp_path / "strangers")
    path = place("mtls")
    (tmp_path / "clients-ca.pem").write_text(authority.read_text())
    server = serve(None, config_file=path, cwd=tmp_path)

    def ask(certificate: Path | None = None, key: Path | None = None) -> tuple[str, str | None]:
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        with (
            socket.create_connection(("127.0.0.1", server.listener.port), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            return b"".join(iter(lambda: tls.recv(4096), b"")).decode(), tls.version()

    answer, version = ask(*client)
    assert answer.endswith("hello") and version == "TLSv1.3"
    for shown in ([], stranger):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(*shown)
    assert ask(*client)[0].endswith("hello")
