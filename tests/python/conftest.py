"""Rules for all tests: their order, which are left out, their deadline; and the fixtures that start servers and clients."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.server import Listening, Server, command, with_quic

#: How long a test may take that is not marked otherwise, in seconds.
TIMEOUT = 90

Serve = Callable[..., Server]

# A shell that runs the tests in the background has SIGINT ignored, and what is ignored stays so in the programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if "HCRS_BIN" in os.environ:
    os.environ["HCRS_BIN"] = os.path.abspath(os.environ["HCRS_BIN"])  # programs are started in folders of their own
    # No Python stands beside that command; it takes that of the active virtual environment.
    os.environ["VIRTUAL_ENV"] = sys.prefix


# ---- which tests run, and in which order ----


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "proof: the full size of a test; left out unless -m asks for it (make proof)")
    config.addinivalue_line("markers", "slow: takes more than some three seconds, or is of a file that does; left out by make check")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT))
    if "proof" not in config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("proof") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("proof") is None]
    # Files with slow tests come first, so that no process of pytest-xdist is left with one when the others have ended.
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


#: The servers that a test has launched.
_SERVERS = pytest.StashKey[list[Server]]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Adds the logs of a failed test's servers to its report."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed:
        fixtures = getattr(item, "funcargs", {}).values()
        for server in [*item.stash.get(_SERVERS, []), *(value for value in fixtures if isinstance(value, Server))]:
            report.sections.append((f"log of hcrs, process {server.pid}", server.log[-20_000:]))


# ---- fixtures ----


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


def _parameters(item: pytest.Item) -> Collection[object]:
    """The values with which a test runs."""
    call = getattr(item, "callspec", None)
    return [] if call is None else call.params.values()


@pytest.fixture
def launch(request: pytest.FixtureRequest, tmp_path: Path, certificate: dict[str, str]) -> Iterator[Serve]:
    """Starts ``hcrs`` without waiting for it. What is left of it after the test is killed.

    If a parameter of the test is ``h3``, its servers have a listener for HTTP/3 besides those that the test sets.
    """
    servers: list[Server] = request.node.stash.setdefault(_SERVERS, [])
    is_for_h3 = "h3" in _parameters(request.node)

    def start(app: str | None = None, *, tls: bool = False, **options: Any) -> Server:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        if is_for_h3:
            has_tls = tls or "certfile" in options
            keys = {"quic_bind": "127.0.0.1:0"} if has_tls else with_quic(certificate)
            env = {f"HCRS_{key.upper()}": value or "" for key, value in keys.items()}
            options["env"] = {**env, **(options.get("env") or {})}
        servers.append(Server(folder, app, tls=certificate if tls else None, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.destroy()


@pytest.fixture
def serve(launch: Serve) -> Iterator[Serve]:
    """Starts ``hcrs`` and waits until it serves. If it still runs after the test, it has to end well."""
    running: list[Server] = []

    def start(*arguments: Any, **options: Any) -> Server:
        server = launch(*arguments, **options)
        running.append(server)
        return server.wait_until_running()

    yield start
    for server in running:
        if server.is_running:
            server.assert_ends_well()
        else:
            server.assert_nothing_left()


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory, certificate: dict[str, str]) -> Iterator[Serve]:
    """Starts servers that all tests of a module share. After them each has to end well.

    With ``tls`` the first listener has TLS and the second has not, as ``Server.listener_for`` expects, and there is one
    for HTTP/3.
    """
    with ExitStack() as stack:

        def start(app: str | None = None, *, tls: bool = False, **options: Any) -> Server:
            every = {"insecure_bind": "127.0.0.1:0", "quic_bind": "127.0.0.1:0"}
            keys = {**certificate, **every, **options} if tls else options
            return stack.enter_context(Server(tmp_path_factory.mktemp("shared"), app, **keys).serving())

        yield start


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
def connect_h3(certificate: dict[str, str]) -> Iterator[Callable[..., H3Client]]:
    """Opens HTTP/3 connections, which verify the server's certificate unless told otherwise; they are closed after the
    test."""
    clients: list[H3Client] = []

    def connect(where: Listening, **options: Any) -> H3Client:
        clients.append(H3Client(where, **{"cafile": certificate["certfile"], **options}))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def connect_multiplexed(
    connect_h2: Callable[..., H2Client], connect_h3: Callable[..., H3Client]
) -> Callable[..., H2Client | H3Client]:
    """Opens HTTP/3 connections where the listener is for them, otherwise HTTP/2; they are closed after the test."""
    return lambda where, **options: (connect_h3 if where.quic else connect_h2)(where, **options)


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
