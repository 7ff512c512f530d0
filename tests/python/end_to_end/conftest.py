"""Fixtures of the end-to-end tests, beside those of all tests in ``tests/python/conftest.py``."""

from __future__ import annotations

import itertools
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.certificates import Pki
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import as_flags, as_variable, filled, in_file
from end_to_end.project import Project
from end_to_end.proxying import Client, write
from end_to_end.routed import Ask, asking
from end_to_end.server import Server
from end_to_end.settings_table import SETTINGS
from end_to_end.upstream import Upstream

Serve = Callable[..., Server]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shows(app, waits, config): a row of the table of keys; see key_rows.py")


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
def server(request: pytest.FixtureRequest, tmp_path: Path, launch: Serve, serve: Serve) -> Server:
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


@pytest.fixture(params=["h1", "h2", "h3"])
def ask_of(
    request: pytest.FixtureRequest,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> Callable[[Server], Ask]:
    """A client of a server, over one connection."""
    if request.param == "h1":
        return lambda server: asking(connect_h1(server.listener))
    return lambda server: asking(connect_multiplexed(server.listener_speaking(request.param)))


@pytest.fixture(scope="module")
def plain(share: Serve) -> Server:
    """One worker with the plain app."""
    return share("plain.py:app", tls=True, keep_alive_timeout=30)


@pytest.fixture(scope="module")
def compressing(share: Serve) -> Server:
    """One worker with the app of tests of compression, which compresses."""
    return share("compressed.py:app", tls=True, hcrs={"compress": True}, keep_alive_timeout=30)


@pytest.fixture
def run(launch: Serve, tmp_path: Path) -> Serve:
    """Serves the source of an app, and waits until it serves. The test has to stop it."""

    def start(source: str, **config: Any) -> Server:
        (tmp_path / "main.py").write_text(textwrap.dedent(source))
        prefix = "wsgi:" if "start_response" in source else ""
        return launch(f"{prefix}{tmp_path / 'main.py'}:app", **config).wait_until_running()

    return start


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)


@pytest.fixture
def serve_project(serve: Serve, project: Project) -> Serve:
    def start(**options: Any) -> Server:
        return serve(
            f"{project.folder}/main.py:app",
            use_reloader=True,
            keep_alive_timeout=60,
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            **options,
        )

    return start


@pytest.fixture(params=["h1", "h1-tls", "h2", "h2c", "h3"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Every way to speak HTTP with the server."""
    return str(request.param)


_keys = itertools.count()


@pytest.fixture
def key() -> str:
    """A name for notes and gates that no other test uses."""
    return f"k{next(_keys)}"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream, whose handler the test sets."""
    with Upstream() as started:
        yield started


@pytest.fixture
def proxy(serve: Serve, tmp_path: Path, certificate: dict[str, str]) -> Callable[..., Server]:
    """Starts an edge thread that passes all requests on to these servers, with keys of the route. The first listener has
    TLS and the second has not, and there is one for HTTP/3."""

    def start(*urls: str, keys: dict[str, Any] | None = None, **route: Any) -> Server:
        file = tmp_path / "proxy.toml"
        listeners = {"insecure_bind": "127.0.0.1:0", "quic_bind": "127.0.0.1:0"}
        write(file, *urls, keys={**certificate, **listeners, **(keys or {})}, **route)
        return serve(None, config_file=file, **certificate, insecure_bind="127.0.0.1:0")

    return start


@pytest.fixture
def client_of(
    protocol: str, connect_h1: Callable[..., H1Client], connect_multiplexed: Callable[..., H2Client | H3Client]
) -> Callable[[Server], Client]:
    """Clients over every protocol."""

    def of(server: Server) -> Client:
        where = server.listener_for(protocol)
        return Client(connect_h1(where) if protocol.startswith("h1") else connect_multiplexed(where))

    return of
