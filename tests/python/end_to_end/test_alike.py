"""The same requests to every framework, over HTTP/1.1 and HTTP/2: each has to answer alike."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import websockets.asyncio.client
import websockets.exceptions
from websockets.typing import Subprotocol

from end_to_end.h2_client import H2Client
from end_to_end.server import Server
from end_to_end.ws_client import ask_over_h2, open_over_h2

pytestmark = pytest.mark.slow

DATA = bytes(range(256)) * 4000


class Site(NamedTuple):
    """An app in ``apps/alike``, and how its framework differs."""

    app: str
    worker_class: str = "asyncio"
    #: What runs its requests: an async library, or the pool's threads.
    library: str = "asyncio"
    #: What its lifespan has left behind.
    state: str | None = "open"
    #: Whether its files know ranges.
    ranges: bool = True
    #: Whether it reads a body that comes without a length; Django takes it for empty under WSGI.
    reads_without_length: bool = True
    #: The paths of its WebSockets that echo.
    sockets: tuple[str, ...] = ("/socket",)


THREADS: dict[str, Any] = {"library": "hcrs-wsgi-", "state": None, "sockets": ()}
SITES = {
    "fastapi": Site("starlette_sites.py:fastapi"),
    "fastapi-uvloop": Site("starlette_sites.py:fastapi", worker_class="uvloop"),
    "starlette": Site("starlette_sites.py:starlette"),
    "starlette-trio": Site("starlette_sites.py:starlette", worker_class="trio", library="trio"),
    "quart": Site("quart_sites.py:quart"),
    "quart-trio": Site("quart_sites.py:quart_trio", worker_class="trio", library="trio"),
    "litestar": Site("litestar_site.py:app", ranges=False),
    "django-asgi": Site("django_sites.py:asgi", state=None, ranges=False, sockets=()),
    "django-channels": Site(
        "django_sites.py:channels", state=None, ranges=False, sockets=("/socket", "/socket-in-threads")
    ),
    "django-wsgi": Site("django_sites.py:wsgi", ranges=False, reads_without_length=False, **THREADS),
    "flask": Site("flask_site.py:app", **THREADS),
}
SOCKETS = [pytest.param(name, path, id=f"{name}{path}") for name, site in SITES.items() for path in site.sockets]

BOTH = pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
EVERY = pytest.mark.parametrize("running", SITES, indirect=True)


class Running(NamedTuple):
    """A site and the server that runs it."""

    site: Site
    server: Server


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: dict[str, str]
) -> Iterator[Running]:
    """The server of a site, for all its tests."""
    site = SITES[request.param]
    folder = tmp_path_factory.mktemp("alike")
    (folder / "data.bin").write_bytes(DATA)
    interface = "wsgi" if site.app.endswith("wsgi") else "asgi"
    env = {"DATA": f"{folder}/data.bin", "INTERFACE": interface}
    options: dict[str, Any] = {"worker_class": site.worker_class, "env": env, "keep_alive_timeout": 30}
    with Server(folder, f"alike/{site.app}", tls=certificate, **options).serving() as server:
        yield Running(site, server)


@EVERY
@BOTH
def test_requests(running: Running, browse: Callable[..., httpx.Client], http2: Any) -> None:
    client = browse(running.server, http2=http2)
    assert client.get("/facts?q=é").json() == {
        "library": running.site.library,
        "state": running.site.state,
        "query": "é",
        "scheme": "https",
        "host": f"localhost:{running.server.listener.port}",
        "version": "2" if http2 else "1.1",
    }
    assert client.post("/echo", content=DATA).content == DATA
    if running.site.reads_without_length:
        assert client.post("/echo", content=(DATA[:70_000] for _ in range(3))).content == DATA[:70_000] * 3
    assert client.get("/elsewhere").status_code == 404
    assert client.get("/raises").status_code == 500


@EVERY
@BOTH
def test_files(running: Running, browse: Callable[..., httpx.Client], http2: Any) -> None:
    client = browse(running.server, http2=http2)
    whole = client.get("/file")
    assert (whole.status_code, whole.content) == (200, DATA)
    assert whole.headers["content-length"] == str(len(DATA))
    part = client.get("/file", headers={"range": "bytes=1000-1999"})
    if running.site.ranges:
        assert (part.status_code, part.content) == (206, DATA[1000:2000])
    else:
        assert (part.status_code, part.content) == (200, DATA)


@pytest.mark.parametrize("running", ["starlette", "starlette-trio", "fastapi"], indirect=True)
@BOTH
def test_static_files(running: Running, browse: Callable[..., httpx.Client], http2: Any) -> None:
    client = browse(running.server, http2=http2)
    whole = client.get("/static/data.bin")
    assert (whole.status_code, whole.content) == (200, DATA)
    unchanged = client.get("/static/data.bin", headers={"if-none-match": whole.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    ranges = client.get("/static/data.bin", headers={"range": "bytes=-100"})
    assert (ranges.status_code, ranges.content) == (206, DATA[-100:])
    assert client.get("/static/data.bin", headers={"range": f"bytes={len(DATA)}-"}).status_code == 416
    several = client.get("/static/data.bin", headers={"range": "bytes=0-9,500-509"})
    assert several.status_code == 206 and several.headers["content-type"].startswith("multipart/byteranges")
    assert DATA[:10] in several.content and len(several.content) == int(several.headers["content-length"])
    head = client.head("/static/data.bin")
    assert (head.headers["content-length"], head.content) == (str(len(DATA)), b"")
    assert client.get("/static/elsewhere").status_code == 404


@EVERY
@BOTH
def test_streams_and_events(running: Running, browse: Callable[..., httpx.Client], http2: Any, key: str) -> None:
    client = browse(running.server, http2=http2)
    assert client.get("/stream?count=60").text == "".join(f"{number:05}" * 2000 for number in range(60))
    with client.stream("GET", f"/events?key={key}") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in response.iter_lines() if line)
        assert next(lines) == "data: 0", "it comes while the app still waits"
        assert client.post(f"/open?key={key}").status_code == 204
        assert list(lines) == ["data: 1"]


def greeting(site: Site, version: str) -> dict[str, str | None]:
    return {"version": version, "query": "1", "state": site.state}


@pytest.mark.parametrize(("running", "path"), SOCKETS, indirect=["running"])
def test_websockets_over_http1_by_the_websockets_package(
    running: Running, trust: Callable[..., ssl.SSLContext], path: Any
) -> None:
    url = f"wss://localhost:{running.server.listener.port}"
    options: dict[str, Any] = {"ssl": trust("http/1.1"), "host": "127.0.0.1"}

    async def talk() -> None:
        connect = websockets.asyncio.client.connect
        async with connect(f"{url}{path}?q=1", subprotocols=[Subprotocol("chat")], **options) as ws:
            assert ws.subprotocol == "chat"
            assert json.loads(await ws.recv()) == greeting(running.site, "1.1")
            messages: list[str | bytes] = ["text é", b"bytes \xff", "x" * 200_000, DATA]
            for message in messages:
                await ws.send(message)
                assert await ws.recv() == message
            await ws.send("bye")
            with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
                await ws.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you say")
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            async with connect(f"{url}/denied", **options):
                pass
        assert refused.value.response.status_code == 403

    asyncio.run(asyncio.wait_for(talk(), 30))


@pytest.mark.parametrize(("running", "path"), SOCKETS, indirect=["running"])
def test_websockets_over_http2(running: Running, connect_h2: Callable[..., H2Client], path: Any) -> None:
    client = connect_h2(running.server.listener)
    opened = [open_over_h2(client, f"{path}?q=1", [("sec-websocket-protocol", "chat")]) for _ in range(3)]
    for ws in opened:
        assert ws.head.header(b"sec-websocket-protocol") == b"chat"
        assert json.loads(ws.receive()) == greeting(running.site, "2")
    messages: list[str | bytes] = ["text é", b"bytes \xff", "x" * 200_000]
    for message in messages:
        for ws in opened:
            ws.send(message)
        assert [ws.receive() for ws in opened] == [message] * 3
    opened[0].send("bye")
    assert opened[0].closed() == (4001, "as you say")
    assert client.get("/facts?q=1").status == 200, "the connection serves requests beside them"
    assert client.head(ask_over_h2(client, "/denied")).status == 403
    opened[1].close(1000)
    assert opened[1].closed()[0] == 1000
    opened[2].send("still here")
    assert opened[2].receive() == "still here"


@pytest.mark.parametrize("running", ["django-channels"], indirect=True)
def test_a_room_of_channels_is_one_for_both_protocols(
    running: Running, connect_h2: Callable[..., H2Client], trust: Callable[..., ssl.SSLContext]
) -> None:
    over_h2 = open_over_h2(connect_h2(running.server.listener), "/room")

    async def talk() -> None:
        url = f"wss://localhost:{running.server.listener.port}/room"
        async with websockets.asyncio.client.connect(url, ssl=trust("http/1.1"), host="127.0.0.1") as over_h1:
            over_h2.send("from HTTP/2")
            assert [await over_h1.recv(), over_h2.receive()] == ["from HTTP/2"] * 2
            await over_h1.send("from HTTP/1.1")
            assert [await over_h1.recv(), over_h2.receive()] == ["from HTTP/1.1"] * 2
            await over_h1.close(4002)
        assert over_h2.receive() == "gone with 4002"

    asyncio.run(asyncio.wait_for(talk(), 30))


@pytest.mark.parametrize("running", ["django-asgi", "django-wsgi", "flask"], indirect=True)
def test_frameworks_without_websockets_refuse_them(
    running: Running, connect_h2: Callable[..., H2Client], trust: Callable[..., ssl.SSLContext]
) -> None:
    client = connect_h2(running.server.listener)
    assert client.head(ask_over_h2(client, "/socket")).status in (403, 500)
    assert client.get("/facts?q=1").status == 200
