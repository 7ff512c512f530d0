"""The FastAPI example in a browser: what Chromium shows of its page, over TLS and HTTP/2, and over HTTP/3."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from end_to_end.chromium import Chromium
from end_to_end.server import Server, command, find_tool

#: Number of images of a page, and bytes of each and of the stylesheet.
IMAGES = 24
LENGTH = 2 << 20

#: Asks for a stylesheet once the first bytes of another response are here, behind the images.
_PAGE = """
<!doctype html>
<title>images</title>
<body>
<script>
  window.ended = new Promise((resolve) => {
    const images = [...Array(%d).keys()].map((n) => {
      const image = new Image();
      image.src = `image-${n}.bmp`;
      return new Promise((over) => { image.onload = image.onerror = over; });
    });
    fetch("probe").then(async (answer) => {
      await answer.body.getReader().read();
      const style = document.createElement("link");
      style.rel = "stylesheet";
      style.href = "style.css";
      images.push(new Promise((over) => { style.onload = style.onerror = over; }));
      document.head.append(style);
      await Promise.all(images);
      resolve(performance.getEntriesByType("resource").map(
        ({ name, requestStart, responseEnd, decodedBodySize }) =>
          [name.split("/").pop(), requestStart, responseEnd, decodedBodySize]));
    });
  });
</script>
"""

#: Asks for much at once.
_FETCHES = """
(async () => {
  const texts = [...Array(50).keys()].map((n) => fetch(`items/${n}`).then((answer) => answer.json()));
  const sent = fetch("echo", { method: "POST", body: "x".repeat(1_000_000) }).then((answer) => answer.text());
  return [(await Promise.all(texts)).map((item) => item.item_id), (await sent).length];
})()
"""

ROOT = Path(__file__).parents[3]

_APP = """
from pathlib import Path

TYPES = {".html": b"text/html", ".css": b"text/css", ".bmp": b"image/bmp"}


async def app(scope, receive, send):
    assert scope["type"] == "http"
    file = Path(__file__).parent / scope["path"][1:]
    found = file.is_file()
    headers = [(b"content-type", TYPES.get(file.suffix, b"application/octet-stream"))]
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
    await send({"type": "http.response.body", "body": file.read_bytes() if found else b""})
"""


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A local authority, and a certificate for localhost."""
    subprocess.run([command(), "cert", "dev", "--dir", str(tmp_path / "certs")], check=True, capture_output=True)
    return tmp_path / "certs"


def start_chromium(tmp_path: Path, certs: Path, flags: Sequence[str] = ("--disable-quic",)) -> Chromium:
    """Starts a browser that trusts the authority."""
    program = find_tool("chromium", "chromium")
    certutil = find_tool("certutil", "libnss3-tools")
    if program is None or certutil is None:
        pytest.skip("chromium or certutil is missing: apt-get install chromium libnss3-tools")
    return Chromium(program, certutil, tmp_path / "home", certs / "ca.pem", flags=flags)


@pytest.fixture
def chromium(tmp_path: Path, certs: Path) -> Iterator[Chromium]:
    browser = start_chromium(tmp_path, certs)
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
    fetched = page.evaluate(_FETCHES)
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


def test_chromium_exchanges_keys_that_are_safe_from_quantum_computers(example: Server, chromium: Chromium) -> None:
    url = f"https://localhost:{example.listener.port}/page"
    security = chromium.open(url).security(url)
    assert (security["protocol"], security["keyExchangeGroup"]) == ("TLS 1.3", "X25519MLKEM768")


@pytest.mark.parametrize("keys", [{"websocket_over_h2": False}])
def test_chromium_opens_another_connection_where_http2_takes_no_websocket(
    example: Server, chromium: Chromium
) -> None:
    page = chromium.open(f"https://localhost:{example.listener.port}/page")
    assert page.text_when("page", r"\S") == "h2"
    assert page.text_when("socket", r"\S") == "Hello by HTTP/1.1"


def flags_for_quic(certs: Path, forced_port: int) -> list[str]:
    """For QUIC with a certificate whose authority is not one that everybody has: its key is named, and so is its host, as one
    for which QUIC is not to be negotiated at this port."""
    key = x509.load_pem_x509_certificate((certs / "cert.pem").read_bytes()).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return [
        "--enable-quic",
        "--host-resolver-rules=MAP localhost 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={base64.b64encode(digest).decode()}",
        f"--origin-to-force-quic-on=localhost:{forced_port}",
    ]


@pytest.mark.parametrize("way", ["forced", "announced"])
def test_chromium_shows_the_page_over_http3(
    launch: Callable[..., Server], certs: Path, tmp_path: Path, way: str
) -> None:
    """By ``alt-svc``, or because it is told so. Chromium opens its WebSocket over another connection."""
    server = launch(
        None,
        certfile=str(certs / "cert.pem"),
        keyfile=str(certs / "key.pem"),
        bind="127.0.0.1:0",
        quic_bind="127.0.0.1:0",
        workers=2,
        application_path="examples.fastapi_app:app",
        accesslog="-",
        access_log_format="%(m)s %(U)s %(H)s %(s)s",
        cwd=ROOT,
        keep_alive_timeout=1,
        loglevel="DEBUG",
        hcrs={"io_threads": 2},
    ).wait_until_running()
    port = server.quic.port if way == "forced" else server.listener.port
    unused = 1
    browser = start_chromium(tmp_path, certs, flags_for_quic(certs, port if way == "forced" else unused))
    try:
        if way == "announced":
            # Chromium stays with a connection that it has.
            browser.open(f"https://localhost:{port}/items/1")
            server.wait_for_log(r"send frame=GoAway")
        page = browser.open(f"https://localhost:{port}/page")
        assert page.text_when("page", r"\S") == "h3"
        told = page.text_when("socket", r"\S")
        assert told == "failed" if way == "forced" else re.fullmatch(r"Hello by HTTP/(1\.1|2|3)", told), told
        assert page.text_when("events", "4") == "0 1 2 3 4"
        assert page.evaluate(_FETCHES) == [list(range(50)), 1_000_000]
        protocols = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol)")
        assert len(protocols) >= 51 and set(protocols) == {"h3"}
    finally:
        browser.close()
    assert server.stop() == 0
    for request in ("GET /page 3 200", "GET /stream 3 200", "POST /echo 3 200", "GET /items/7 3 200"):
        assert f"{request}\n" in server.output, server.output


def bitmap() -> bytes:
    """An image without compression; a browser gives up what is none."""
    width = 1024
    info = struct.pack("<IiiHHIIiiII", 40, width, LENGTH // width // 4, 1, 32, 0, LENGTH, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + LENGTH, 0, 0, 54) + info + bytes(LENGTH)


@pytest.mark.parametrize("answers", ["files", "app"])
def test_a_stylesheet_overtakes_images(
    launch: Callable[..., Server], certs: Path, chromium: Chromium, tmp_path: Path, answers: str
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text(_PAGE % IMAGES)
    (folder / "style.css").write_text("/*" + "x" * (LENGTH - 4) + "*/")
    (folder / "probe").write_bytes(bytes(LENGTH))
    for n in range(IMAGES):
        (folder / f"image-{n}.bmp").write_bytes(bitmap())
    (folder / "main.py").write_text(_APP)
    server = launch(
        f"{folder / 'main.py'}:app",
        certfile=str(certs / "cert.pem"),
        keyfile=str(certs / "key.pem"),
        bind="localhost:0",
        hcrs={"routes": [{"path": "/", "files": str(folder)}]} if answers == "files" else {},
    ).wait_until_running()
    page = chromium.open(f"https://localhost:{server.listener.port}/index.html")
    entries = {name: tuple(times) for name, *times in page.evaluate("window.ended")}
    assert len(entries) >= IMAGES + 2
    begun, ended, size = entries["style.css"]
    assert size == LENGTH
    images = [entries[f"image-{n}.bmp"] for n in range(IMAGES)]
    # Chromium may hold back some images for a moment.
    ends = [end for start, end, _ in images if start <= begun]
    assert ends, "some images were asked for before the stylesheet"
    ahead = sum(end < ended for end in ends)
    assert ahead <= len(ends) // 4, f"{ahead} of {len(ends)} images came before the stylesheet"
    assert server.stop() == 0
