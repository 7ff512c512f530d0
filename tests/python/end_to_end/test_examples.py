"""The files of examples/: each starts by its command, and does what it says."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.x509.oid import NameOID

from end_to_end.authority import Authority, presenting
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import DEADLINE, Server
from end_to_end.ws_client import CLOSE, open_over_h1, open_over_h2

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"

Serve = Callable[..., Server]


@pytest.fixture
def start(serve: Serve) -> Serve:
    """Serves an example from the top of the repository, as its first lines say, but on a free port."""

    def started(name: str, **options: Any) -> Server:
        return serve(None, application_path=f"examples.{name}:app", cwd=ROOT, **options)

    return started


def test_every_example_has_a_test_and_a_line() -> None:
    page = (EXAMPLES / "README.md").read_text()
    elsewhere = {"fastapi_app"}  # test_readme.py and test_browser.py
    for path in EXAMPLES.glob("*.py"):
        assert f"| `{path.name}` |" in page, path
        if path.stem not in elsewhere:
            assert any(name.startswith(f"test_{path.stem}") for name in globals()), path


def test_asgi_app(start: Serve, browse: Callable[..., httpx.Client]) -> None:
    answer = browse(start("asgi_app", tls=True)).post("/x", content=b"12345")
    assert answer.text.startswith("POST /x over HTTP/2 (https), 5 bytes of body, answered by process ")


def test_wsgi_app(start: Serve, browse: Callable[..., httpx.Client]) -> None:
    client = browse(start("wsgi_app", tls=True))
    assert client.post("/x", content=b"12345").text == "POST /x over HTTP/2.0 (https), 5 bytes of body\n"
    assert client.get("/source").text == (EXAMPLES / "wsgi_app.py").read_text()


def test_flask_app(start: Serve, browse: Callable[..., httpx.Client]) -> None:
    client = browse(start("flask_app"), http2=False)
    assert client.get("/items/7?q=tea").json() == {"item_id": 7, "q": "tea"}
    assert client.get("/stream?count=3&interval=0").text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert client.post("/upload", content=bytes(100_000)).json() == {"bytes": 100_000}
    assert client.post("/echo", content=b"echo").content == b"echo"


def test_trio_app(start: Serve, browse: Callable[..., httpx.Client]) -> None:
    server = start("trio_app", worker_class="trio")
    assert browse(server, http2=False).get("/").text == "quick, medium, slow\n"


def test_lifespan(start: Serve, browse: Callable[..., httpx.Client]) -> None:
    client = browse(start("lifespan"), http2=False)
    assert [client.get("/").text[0] for _ in range(3)] == ["1", "2", "3"]


def test_websocket(start: Serve, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]) -> None:
    server = start("websocket")
    first = open_over_h1(connect_h1(server.listener), "/chat", [("sec-websocket-protocol", "chat.v2, chat.v1")])
    assert first.head.header("sec-websocket-protocol") == "chat.v1"
    second = open_over_h2(connect_h2(server.listener), "/chat")
    first.send("hello")
    assert (first.receive(), second.receive()) == ("hello", "hello")
    second.close()
    assert second.receive_frame().opcode == CLOSE
    first.send("alone")
    assert first.receive() == "alone"
    response = connect_h2(server.listener).get("/chat")
    assert response.status == 500, "the app knows WebSockets alone"
    first.close()
    assert first.receive_frame().opcode == CLOSE


def test_streaming(start: Serve, browse: Callable[..., httpx.Client], connect_h2: Callable[..., H2Client]) -> None:
    server = start("streaming")
    body = bytes(range(256)) * 8192
    client = browse(server, http2=False)
    assert client.post("/checksum", content=body).text == f"{hashlib.sha256(body).hexdigest()}\n"
    assert client.get("/events").text == "".join(f"data: {number}\n\n" for number in range(10))
    assert client.get("/elsewhere").status_code == 404
    leaving = connect_h2(server.listener)
    stream = leaving.request("GET", "/events")
    leaving.wait(lambda: leaving.streams[stream].pieces, "the first event")
    leaving.reset(stream)
    assert leaving.get("/elsewhere").status == 404, "the connection is still served"


def test_early_hints(start: Serve, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]) -> None:
    server = start("early_hints")
    over_h1 = connect_h1(server.listener)
    hint = over_h1.get()
    assert (hint.status, hint.header("link")) == (103, "</style.css>; rel=preload; as=style")
    assert over_h1.response().body.startswith(b"<!doctype html>")

    over_h2 = connect_h2(server.listener)
    [fields] = over_h2.get().informational
    assert (b"link", b"</style.css>; rel=preload; as=style") in fields

    pushed_to = connect_h2(server.listener, push=True)
    response = pushed_to.response(pushed_to.request())
    [style] = response.promised
    assert pushed_to.response(style).body == b"h1 { font-family: sans-serif }"
    assert response.informational == []


def test_trailers(start: Serve, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]) -> None:
    server = start("trailers")
    body = b"piece 0\npiece 1\npiece 2\n"
    checksum = hashlib.sha256(body).hexdigest()
    over_h1 = connect_h1(server.listener)
    response = over_h1.get("/", "te: trailers\r\n")
    assert (response.body, response.trailers) == (body, [("x-checksum", checksum)])
    response = over_h1.get("/")
    assert (response.body, response.trailers) == (body, []), "they were not asked for"
    stream = connect_h2(server.listener).get("/", [("te", "trailers")])
    assert (stream.body, stream.trailers) == (body, [(b"x-checksum", checksum.encode())])


def test_send_file(serve: Serve, browse: Callable[..., httpx.Client]) -> None:
    config = EXAMPLES / "send_file.toml"
    assert 'bind = "127.0.0.1:8000"' in config.read_text()
    server = serve(None, config_file=config, cwd=ROOT, flags=["--bind", "127.0.0.1:0"])
    client = browse(server, http2=False)
    for name in ("send_file.py", "page.html"):
        assert client.get(f"/{name}").content == (EXAMPLES / name).read_bytes()
    assert client.get("/../pyproject.toml").status_code == 404


def test_client_certificate(
    start: Serve, trust: Callable[..., ssl.SSLContext], tmp_path: Path, browse: Callable[..., httpx.Client]
) -> None:
    authority = Authority(tmp_path)
    _, identity = authority.client((NameOID.COMMON_NAME, "client.test"))
    server = start("client_certificate", tls=True, ca_certs=str(authority.cafile), verify_mode="CERT_OPTIONAL")
    assert browse(server).get("/").status_code == 401
    context = trust()
    presenting(context, identity)
    with httpx.Client(verify=context, timeout=DEADLINE) as client:
        answer = client.get(f"https://localhost:{server.listener.port}/")
    assert answer.status_code == 200
    assert answer.text.startswith("Hello ") and "client.test" in answer.text and "TLS 0x0304" in answer.text


def test_mounted(start: Serve, browse: Callable[..., httpx.Client]) -> None:
    client = browse(start("mounted"), http2=False)
    assert client.get("/new/x").text.startswith("GET /new/x over HTTP/1.1 (http), 0 bytes of body")
    assert client.get("/old/x").text == "GET /x over HTTP/1.1 (http), 0 bytes of body\n"
    assert client.get("/x").status_code == 404


def test_embedded(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, EXAMPLES / "embedded.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        url = program.stdout.readline().removeprefix("Serving at ").strip()
        with httpx.Client(base_url=url, timeout=DEADLINE) as client:
            assert client.get("/").text == "request 1\n"
            assert client.get("/stop").text == "request 2\n"
        output, errors = program.communicate(timeout=DEADLINE)
    finally:
        program.kill()
        program.wait()
    assert (program.returncode, output) == (0, "2 requests were served\n"), errors
