"""Fixtures: a certificate, and servers that are ended and checked after each test."""

from __future__ import annotations

import itertools
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.certificates import Pki
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import as_flags, as_variable, filled, in_file
from end_to_end.server import Listening, Server, command
from end_to_end.settings_table import SETTINGS

#: No test may hang for longer, in seconds.
TIMEOUT = 90

Serve = Callable[..., Server]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shows(app, waits, config): a row of the table of keys; see key_rows.py")
    config.addinivalue_line("markers", "proof: the full size of a test; left out unless -m asks for it (make proof)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "proof" not in config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("proof") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("proof") is None]
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Shows what the servers of a failed test have said."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed:
        fixtures = getattr(item, "funcargs", {}).values()
        for server in [*item.stash.get(_SERVERS, []), *(value for value in fixtures if isinstance(value, Server))]:
            report.sections.append((f"log of hcrs, process {server.pid}", server.log[-20_000:]))


_SERVERS = pytest.StashKey[list[Server]]()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """``certfile`` and ``keyfile`` of a certificate that the command itself has made."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run([command(), "cert", "dev", "--dir", str(folder)], check=True, capture_output=True)
    return {"certfile": str(folder / "cert.pem"), "keyfile": str(folder / "key.pem")}


@pytest.fixture(scope="session")
def trust(certificate: dict[str, str]) -> Callable[..., ssl.SSLContext]:
    """Makes TLS contexts of clients that trust the certificate and offer these protocols."""

    def context(*alpn: str) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=certificate["certfile"])
        if alpn:
            made.set_alpn_protocols(list(alpn))
        return made

    return context


@pytest.fixture
def launch(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: dict[str, str]
) -> Iterator[Callable[..., Server]]:
    """Starts ``hcrs`` without waiting for it; what is left of it is killed after the test."""
    servers: list[Server] = request.node.stash.setdefault(_SERVERS, [])

    def start(app: str | None = None, *, tls: bool = False, **options: Any) -> Server:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, app, tls=certificate if tls else None, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.destroy()


@pytest.fixture
def serve(launch: Callable[..., Server], request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Starts ``hcrs`` and waits until it listens. After the test it has to end well, if it still runs."""
    running: list[Server] = []

    def start(*arguments: Any, **options: Any) -> Server:
        server = launch(*arguments, **options)
        running.append(server)
        return server.wait_until_running()

    yield start
    for server in running:
        if server.is_running:
            assert server.stop() == 0, f"the exit code after SIGTERM\n{server.log}"
            server.wait_for_workers_end()
        server.assert_nothing_left()


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A UDP socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(20)
        yield opened


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A folder of certificates."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def server(
    request: pytest.FixtureRequest, tmp_path: Path, launch: Callable[..., Server], serve: Serve
) -> Server:
    """The server of a test that is marked by ``shows``. Its keys are given by the file, the environment and flags in
    turn, as far as they have flags."""
    row = request.node.get_closest_marker("shows").kwargs
    there = {"<folder>": str(tmp_path), "<python>": sys.executable}
    if "<pki>" in repr(row):
        there["<pki>"] = str(request.getfixturevalue("pki").folder)
    if "<port>" in repr(row):
        there["<port>"] = str(request.getfixturevalue("udp").getsockname()[1])
    file: dict[str, Any] = {}
    env: dict[str, str] = {}
    flags: list[str] = []
    turn = 0
    for key, value in filled(row["config"], there).items():
        setting = SETTINGS[key]
        if key in ("bind", "insecure_bind", "application_path", "certfile", "keyfile"):
            file[key] = value  # what waits for the server has to know them
            continue
        source = ("file", "environment", "flag")[turn % 3]
        turn += 1
        if source == "flag" and setting.flags and value is not False:
            flags += as_flags(setting.flags[0], value)
        elif source == "environment":
            env[setting.variable] = as_variable(value)
        else:
            file[key] = value
    start = serve if row["waits"] else launch
    server: Server = start(row["app"], env=env, flags=flags, **in_file(file))
    return server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, certificate: dict[str, str]) -> Iterator[Server]:
    """One worker with the plain app for all tests of a module: the first listener has TLS, the second has not."""
    server = Server(
        tmp_path_factory.mktemp("plain"),
        "plain.py:app",
        tls=certificate,
        insecure_bind="127.0.0.1:0",
        keep_alive_timeout=30,
    )
    try:
        yield server.wait_until_running()
        assert server.stop() == 0, server.log
        server.wait_for_workers_end()
        server.assert_nothing_left()
    finally:
        server.destroy()


@pytest.fixture(params=["h1", "h1-tls", "h2", "h2c"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Every way to speak HTTP with the server."""
    return str(request.param)


@pytest.fixture
def connect_h1(trust: Callable[..., ssl.SSLContext]) -> Iterator[Callable[..., H1Client]]:
    """Opens HTTP/1.1 connections, with TLS where the listener has it; they are closed after the test."""
    clients: list[H1Client] = []

    def connect(where: Listening, **options: Any) -> H1Client:
        tls = trust("http/1.1") if where.scheme == "https" else None
        clients.append(H1Client(where, tls=tls, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def connect_h2(trust: Callable[..., ssl.SSLContext]) -> Iterator[Callable[..., H2Client]]:
    """Opens HTTP/2 connections, by ALPN where the listener has TLS; they are closed after the test."""
    clients: list[H2Client] = []

    def connect(where: Listening, **options: Any) -> H2Client:
        tls = trust("h2") if where.scheme == "https" else None
        clients.append(H2Client(where, tls=tls, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def browse(trust: Callable[..., ssl.SSLContext]) -> Iterator[Callable[..., httpx.Client]]:
    """Opens a client of httpx for a server, with HTTP/2 unless told otherwise."""
    clients: list[httpx.Client] = []

    def client(server: Server, *, http2: bool = True) -> httpx.Client:
        where = server.listener
        base = where.url.replace("127.0.0.1", "localhost") if where.scheme == "https" else where.url
        clients.append(httpx.Client(base_url=base, verify=trust(), http1=not http2, http2=http2, timeout=20))
        return clients[-1]

    yield client
    for opened in clients:
        opened.close()


_keys = itertools.count()


@pytest.fixture
def key() -> str:
    """A name for notes and gates that no other test uses."""
    return f"k{next(_keys)}"
