"""Django by WSGI and by ASGI, Quart and Litestar, as they come from PyPI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.server import Server, wait_until

pytestmark = pytest.mark.slow

DATA = bytes(range(256)) * 4000
BOTH = pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])


@BOTH
@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_django(serve: Callable[..., Server], browse: Callable[..., httpx.Client], interface: str, http2: Any) -> None:
    server = serve(f"django_site.py:{interface}", tls=True)
    client = browse(server, http2=http2)
    headers = {"x-one": "1", "x_forged": "yes", "cookie": "a=b; c=d"}
    assert client.get("/facts?q=é", headers=headers).json() == {
        "method": "GET",
        "path": "/facts",
        "query": "é",
        "secure": True,
        "host": f"localhost:{server.listener.port}",
        "remote": "127.0.0.1",
        "header": "1",
        "forged": None,
        "cookies": {"a": "b", "c": "d"},
    }
    posted = client.post("/upload", data={"field": "1"}, files={"file": DATA})
    assert posted.json() == {"field": "1", "size": len(DATA), "on_disk": True}
    assert client.post("/echo", content=DATA).content == DATA
    assert [client.get("/count").text for _ in range(3)] == ["1", "2", "3"]
    for path in ("/file", "/temporary"):
        sent = client.get(path, headers={"accept-encoding": "identity"})
        assert sent.content == DATA and 'filename="data.bin"' in sent.headers["content-disposition"]
    stream = "/stream" if interface == "wsgi" else "/stream-async"
    # Some versions of Django compress each piece by itself, and clients read the first alone.
    assert client.get(stream, headers={"accept-encoding": "identity"}).text == "0\n1\n2\n3\n4\n"
    large = client.get("/large")
    assert large.text == "x" * 100_000 and large.headers["content-encoding"] == "gzip"
    nothing = client.get("/nothing")
    assert (nothing.status_code, nothing.content) == (204, b"")
    head = client.head("/large", headers={"accept-encoding": "identity"})
    assert (head.headers["content-length"], head.content) == ("100000", b"")
    assert client.get("/elsewhere").status_code == 404
    assert client.get("/raises").status_code == 500
    server.wait_for_log("RuntimeError: in Django")
    assert client.get("/facts").status_code == 200


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_django_below_a_root_path(
    serve: Callable[..., Server], browse: Callable[..., httpx.Client], interface: str
) -> None:
    server = serve(f"django_site.py:{interface}", tls=True, root_path="/below")
    assert browse(server).get("/below/facts").json()["path"] == "/below/facts"


@BOTH
def test_quart(serve: Callable[..., Server], browse: Callable[..., httpx.Client], http2: Any, tmp_path: Path) -> None:
    server = serve("quart_site.py:app", tls=True)
    client = browse(server, http2=http2)
    assert client.get("/facts?q=é").json() == {
        "state": "open",
        "query": "é",
        "scheme": "https",
        "host": f"localhost:{server.listener.port}",
        "version": "2" if http2 else "1.1",
        "remote": "127.0.0.1",
    }
    assert client.post("/echo", content=DATA).content == DATA
    assert client.post("/form", data={"field": "1"}, files={"file": bytes(500_000)}).json() == {
        "field": "1",
        "file": 500_000,
    }
    assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
    assert client.get("/task", params={"file": f"{tmp_path}/done"}).text == "accepted"
    wait_until((tmp_path / "done").exists, "the background task")
    assert client.head("/facts").content == b""
    assert client.get("/elsewhere").status_code == 404
    assert client.get("/raises").status_code == 500
    server.wait_for_log("RuntimeError: in Quart")


@BOTH
def test_litestar(
    serve: Callable[..., Server], browse: Callable[..., httpx.Client], http2: Any, tmp_path: Path
) -> None:
    server = serve("litestar_site.py:app", tls=True)
    client = browse(server, http2=http2)
    assert client.get("/facts?q=é").json() == {
        "state": "open",
        "query": "é",
        "scheme": "https",
        "version": "2" if http2 else "1.1",
    }
    created = client.post("/items/7", json={"name": "tea", "price": 2.5})
    assert (created.status_code, created.json()) == (201, {"number": 7, "name": "tea", "price": 2.5})
    assert client.post("/items/7", json={"name": "tea"}).status_code == 400
    assert client.post("/echo", content=DATA).content == DATA
    assert client.get("/sync").text == "by a plain function"
    assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
    (tmp_path / "data").write_bytes(DATA)
    assert client.get("/file", params={"path": f"{tmp_path}/data"}).content == DATA
    assert client.get("/task", params={"path": f"{tmp_path}/done"}).text == "accepted"
    wait_until((tmp_path / "done").exists, "the background task")
    assert client.get("/missing").status_code == 404
    assert client.get("/raises").status_code == 500
    assert client.get("/facts").status_code == 200


@BOTH
def test_flask_files_and_uploads(
    serve: Callable[..., Server], browse: Callable[..., httpx.Client], http2: Any, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(DATA)
    server = serve("frameworks.py:flask", tls=True, env={"DATA": f"{tmp_path}/data"})
    client = browse(server, http2=http2)
    sent = client.get("/file")
    assert sent.content == DATA and sent.headers["content-length"] == str(len(DATA))
    part = client.get("/file", headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, DATA[1000:2000])
    unchanged = client.get("/file", headers={"if-none-match": sent.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert client.head("/file").headers["content-length"] == str(len(DATA))
    assert client.post("/echo", content=(DATA[:70_000] for _ in range(3))).content == DATA[:70_000] * 3
