"""Apps as people write them: FastAPI, Starlette and Flask, on both event loops."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until


@pytest.fixture(params=["asyncio", "uvloop"])
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_fastapi(
    serve: Callable[..., Server], browse: Callable[..., httpx.Client], worker_class: str, http2: bool, tmp_path: Path
) -> None:
    server = serve("frameworks.py:fastapi", tls=True, worker_class=worker_class)
    client = browse(server, http2=http2)
    assert client.get("/state").json() == {"database": "open", "http_version": "2" if http2 else "1.1"}
    created = client.post("/items/7", json={"name": "tea", "price": 2.5})
    assert created.json() == {"number": 7, "name": "tea", "price": 2.5, "threaded": True}
    assert client.post("/items/seven", json={}).status_code == 422
    assert client.get("/sync").json() == {"thread": False}
    upload = client.post("/file", files={"file": ("a.bin", bytes(3_000_000))})
    assert upload.json() == {"name": "a.bin", "size": 3_000_000}
    missing = client.get("/missing")
    assert (missing.status_code, missing.json()) == (404, {"detail": "not here"})
    assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
    assert client.get("/openapi.json").json()["info"]["title"] == "FastAPI"
    assert client.get("/tasks", params={"file": f"{tmp_path}/done"}).json() == {"accepted": True}
    wait_until((tmp_path / "done").exists, "the background task")
    assert client.get("/raises").status_code == 500
    assert ("uvloop" in client.get("/loop").json()) == (worker_class == "uvloop")
    server.wait_for_log("RuntimeError: in FastAPI")


@pytest.mark.parametrize("app", ["starlette", "starlette_with_middleware"])
def test_starlette(
    serve: Callable[..., Server],
    browse: Callable[..., httpx.Client],
    connect_h2: Callable[..., H2Client],
    worker_class: str,
    app: str,
    tmp_path: Path,
) -> None:
    server = serve(f"frameworks.py:{app}", tls=True, worker_class=worker_class)
    client = browse(server)
    response = client.get("/large")
    assert response.text == "x" * 100_000
    if app == "starlette_with_middleware":
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["x-named"] == "yes"
        assert client.get("/who?name=ada").json() == ["ada"] * 4
    assert client.get("/is-disconnected").text == "False"
    assert client.get("/background", params={"file": f"{tmp_path}/late"}).text == "later"
    (tmp_path / "late.go").touch()  # the background task begins after the response
    wait_until((tmp_path / "late").exists, "the background task")
    # httpx says nothing to the server when it drops a stream of HTTP/2.
    h2_client = connect_h2(server.listener)
    stream = h2_client.request("GET", f"/disconnected?file={tmp_path}/ended")
    h2_client.wait(lambda: h2_client.streams[stream].length, "the stream to begin")
    h2_client.reset(stream)
    wait_until((tmp_path / "ended").exists, "the stream to be ended in the app")
    assert h2_client.get("/is-disconnected").body == b"False"


def test_context_variables_do_not_leak_from_request_to_request(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], worker_class: str
) -> None:
    server = serve("frameworks.py:starlette", worker_class=worker_class)
    client = connect_h2(server.listener)
    streams = [client.request("GET", "/leak") for _ in range(20)]
    assert {client.response(stream).body for stream in streams} == {b"nobody"}
    assert client.get("/who").body == json.dumps(["nobody"] * 4, separators=(",", ":")).encode()


def test_context_variables_of_requests_beside_each_other_are_apart(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], worker_class: str
) -> None:
    server = serve("frameworks.py:starlette_with_middleware", worker_class=worker_class)
    client = connect_h2(server.listener)
    streams = {client.request("GET", f"/who?name=n{number}"): f"n{number}" for number in range(30)}
    for stream, name in streams.items():
        assert json.loads(client.response(stream).body) == [name] * 4


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_flask(serve: Callable[..., Server], browse: Callable[..., httpx.Client], http2: bool) -> None:
    server = serve("frameworks.py:flask", tls=True)
    client = browse(server, http2=http2)
    index = client.get("/?q=é").json()
    assert index == {
        "worker": server.worker_pids()[0],
        "main_thread": index["main_thread"],
        "query": "é",
        "protocol": "HTTP/2.0" if http2 else "HTTP/1.1",
        "scheme": "https",
        "host": f"localhost:{server.listener.port}",
        "remote": "127.0.0.1",
    }
    body = bytes(range(256)) * 8000
    assert client.post("/echo", content=body).content == body
    assert client.post("/form", data={"field": "1"}, files={"file": bytes(500_000)}).json() == {
        "field": "1",
        "file": 500_000,
    }
    assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
    nothing = client.get("/nothing")
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert client.get("/redirect").headers["location"] == "/"
    assert client.head("/").content == b""
    assert client.get("/raises").status_code == 500
    server.wait_for_log("RuntimeError: in Flask")
    assert client.get("/").status_code == 200


@pytest.fixture
def wsgi(serve: Callable[..., Server], browse: Callable[..., httpx.Client]) -> Any:
    """A WSGI app behind the standard library's validator."""
    server = serve("wsgi:wsgi.py:app", tls=True)
    return server, browse(server)


def test_wsgi_app_passes_the_validator(wsgi: Any) -> None:
    server, client = wsgi
    assert client.post("/echo", content=b"abc").content == b"abc"
    assert client.post("/lines", content=b"one\ntwo\nthree").text == repr([b"one\n", b"two\n", b"three"])
    assert client.get("/write").text == "written returned"
    assert client.get("/empty").status_code == 204
    assert client.get("/replace").status_code == 418
    assert client.get("/pieces?key=a").text == "onetwo"
    wait_until(lambda: client.get("/closed?key=a").text == "True", "close() to be called")
    assert client.get("/elsewhere").status_code == 404
    assert client.get("/errors").text == "said"
    wait_until(lambda: "said to wsgi.errors" in server.log, "what the app says")
    assert client.post("/count", content=bytes(5_000_000)).text == "5000000"
    assert client.post("/count", content=(bytes(1000) for _ in range(100))).text == "100000", "without a length"
    assert "AssertionError" not in server.log


def test_wsgi_environ_is_to_the_letter(wsgi: Any) -> None:
    server, client = wsgi
    environ = ast.literal_eval(client.get("/environ?a=%20b", headers={"x-one": "1"}).text)
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=%20b",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.listener.port),
        "SERVER_PROTOCOL": "HTTP/2.0",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": f"localhost:{server.listener.port}",
        "HTTP_X_ONE": "1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.multithread": True,
        "wsgi.multiprocess": environ["wsgi.multiprocess"],
        "wsgi.run_once": False,
    }
    assert {name: environ.get(name) for name in expected} == expected


def test_failure_of_a_wsgi_app(wsgi: Any) -> None:
    server, client = wsgi
    assert client.get("/raise").status_code == 500
    server.wait_for_log("ValueError: in the WSGI app")
    with pytest.raises(httpx.HTTPError):
        client.get("/raise-later")
    assert client.post("/echo", content=b"abc").content == b"abc"


def test_wsgi_requests_run_in_threads_beside_each_other(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("wsgi.py:plain", hcrs={"wsgi_threads": 8})
    client = connect_h2(server.listener)
    streams = [client.request("GET", "/nap?seconds=0.5") for _ in range(8)]
    assert len({client.response(stream).body for stream in streams}) == 8, "each in a thread of its own"


def test_wsgi_body_over_the_limit_is_refused(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("wsgi.py:plain", wsgi_max_body_size=1000)
    client = connect_h1(server.listener)
    client.request("POST", "/count", body=bytes(1000))
    assert client.response().body == b"1000"
    client.request("POST", "/count", body=bytes(1001))
    assert client.response().status in (400, 413)


def test_wsgi_app_is_recognized(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("wsgi.py:plain")
    assert connect_h1(server.listener).get("/elsewhere").status == 404


def test_wsgi_app_below_a_root_path(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("wsgi.py:plain", root_path="/below")
    client = connect_h1(server.listener)
    environ = ast.literal_eval(client.get("/below/environ").body.decode())
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/below", "/environ")
    assert client.get("/other/environ").status == 404
    assert client.get("/belowx").status == 404
