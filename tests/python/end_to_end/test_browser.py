"""The FastAPI example in a browser: what Chromium shows of its page, over TLS and HTTP/2."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.chromium import Chromium
from end_to_end.server import Server, command, find_tool

ROOT = Path(__file__).parents[3]


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A local authority, and a certificate for localhost."""
    subprocess.run([command(), "cert", "dev", "--dir", str(tmp_path / "certs")], check=True, capture_output=True)
    return tmp_path / "certs"


@pytest.fixture
def chromium(tmp_path: Path, certs: Path) -> Iterator[Chromium]:
    program = find_tool("chromium", "chromium")
    certutil = find_tool("certutil", "libnss3-tools")
    if program is None or certutil is None:
        pytest.skip("chromium or certutil is missing: apt-get install chromium libnss3-tools")
    browser = Chromium(program, certutil, tmp_path / "home", certs / "ca.pem")
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def keys() -> dict[str, object]:
    """Keys of `[hcrs]` for the example's server."""
    return {}


@pytest.fixture
def example(launch: Callable[..., Server], certs: Path, keys: dict[str, object]) -> Server:
    server = launch(
        None,
        certfile=str(certs / "cert.pem"),
        keyfile=str(certs / "key.pem"),
        bind="localhost:0",
        workers=2,
        application_path="examples.fastapi_app:app",
        accesslog="-",
        access_log_format="connection %(connection_id)s: %(m)s %(U)s %(H)s %(s)s",
        cwd=ROOT,
        hcrs=keys,
    )
    return server.wait_until_running()


def test_chromium_shows_the_page_with_its_websocket_and_its_events(example: Server, chromium: Chromium) -> None:
    page = chromium.open(f"https://localhost:{example.listener.port}/page")
    assert page.evaluate("document.title") == "hcrs example"
    assert page.text_when("page", r"\S") == "h2"
    assert page.text_when("socket", r"\S") == "Hello by HTTP/2"
    assert page.text_when("events", "4") == "0 1 2 3 4"
    fetched = page.evaluate(
        """
        (async () => {
          const texts = [...Array(50).keys()].map((n) => fetch(`items/${n}`).then((answer) => answer.json()));
          const sent = fetch("echo", { method: "POST", body: "x".repeat(1_000_000) }).then((answer) => answer.text());
          return [(await Promise.all(texts)).map((item) => item.item_id), (await sent).length];
        })()
        """
    )
    assert fetched == [list(range(50)), 1_000_000]
    protocols = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol)")
    assert len(protocols) >= 51 and set(protocols) == {"h2"}
    assert example.stop() == 0
    connections: dict[str, set[str]] = {}
    for line in example.output.splitlines():
        connection, _, request = line.partition("] connection ")[2].partition(": ")
        connections.setdefault(request, set()).add(connection)
    streams = ("GET /page 2 200", "GET /socket 2 200", "GET /stream 2 200", "POST /echo 2 200")
    assert connections["GET /page 2 200"], connections
    assert all(connections.get(stream) == connections["GET /page 2 200"] for stream in streams), connections
    assert not any(" 1.1 " in request for request in connections), connections


@pytest.mark.parametrize("keys", [{"websocket_over_h2": False}])
def test_chromium_opens_another_connection_where_http2_takes_no_websocket(
    example: Server, chromium: Chromium
) -> None:
    page = chromium.open(f"https://localhost:{example.listener.port}/page")
    assert page.text_when("page", r"\S") == "h2"
    assert page.text_when("socket", r"\S") == "Hello by HTTP/1.1"
