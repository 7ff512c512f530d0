"""WSGI to the letter of PEP 3333, over HTTP/1.1 and HTTP/2; the validator of the standard library stands before the app."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server, wait_until

DATA = bytes(range(256)) * 3000


@pytest.fixture(params=[True, False], ids=["h2", "h1"])
def site(
    request: pytest.FixtureRequest, serve: Callable[..., Server], browse: Callable[..., httpx.Client], tmp_path: Path
) -> Any:
    """The app in one thread, and a client for it."""
    (tmp_path / "data").write_bytes(DATA)
    options = {"env": {"DATA": f"{tmp_path}/data"}, "hcrs": {"wsgi_threads": 1}}
    server = serve("wsgi:wsgi_kinds.py:app", tls=True, wsgi_max_body_size=1_000_000, **options)
    return server, browse(server, http2=request.param)


def closed(client: Any) -> list[str]:
    return list(literal_eval(client.get("/report").text))


def test_responses_of_every_kind(site: Any) -> None:
    server, client = site
    for path in ("/one", "/listed"):
        assert client.get(path).text == "hello"
    assert client.get("/nothing").content == b""
    for code in (204, 304):
        answer = client.get(f"/status?{code}")
        assert (answer.status_code, answer.content) == (code, b"")
    assert client.get("/write").content == b"".join(b"%03d" % n * 300 for n in range(200)) + b"end"
    assert client.get("/file").content == DATA
    assert client.get("/own_file").content == DATA
    assert closed(client) == ["one", "status 204", "status 304", "own file"]
    assert "Error" not in server.log


def test_head_is_the_head_alone(site: Any) -> None:
    server, client = site
    for path, length in (("/file", str(len(DATA))), ("/endless?head", None), ("/own_file", None)):
        answer = client.head(path)
        assert (answer.status_code, answer.content, answer.headers.get("content-length")) == (200, b"", length)
    assert closed(client) == ["endless head", "own file"]
    assert client.get("/one").text == "hello"
    assert "Error" not in server.log


def test_bodies_of_every_size_come_back(site: Any) -> None:
    _, client = site
    for size in (0, 1, 5000, 70_000, 1_000_000):
        body = bytes(size)
        assert client.post("/echo", content=body).content == body
        assert client.post("/echo", content=iter([body])).content == body


def test_bodies_above_the_limit_are_refused(
    site: Any, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server, client = site
    for headers in ([("content-length", "1000001")], []):
        h2_client = connect_h2(server.listener)
        stream = h2_client.request("POST", "/echo", headers, end=False)
        h2_client.send(stream, bytes(1_000_001), end=True)
        assert h2_client.response(stream).status == 413
        assert h2_client.get("/one").body == b"hello", "the connection lives on"
    h1_client = connect_h1(server.listener)
    h1_client.request("POST", "/echo", "content-length: 1000001\r\n")
    assert h1_client.response().status == 413
    h1_client = connect_h1(server.listener)
    h1_client.request("POST", "/echo", "transfer-encoding: chunked\r\n")
    h1_client.send(b"%x\r\n" % 1_000_001 + bytes(1_000_001) + b"\r\n0\r\n\r\n")
    assert h1_client.response().status == 413
    assert client.get("/one").text == "hello"


def test_names_with_underscores_are_not_taken_for_others(site: Any) -> None:
    _, client = site
    headers = [("x-real", "true"), ("x_real", "forged"), ("content_length", "7"), ("x-twice", "1"), ("x-twice", "2")]
    found = literal_eval(client.get("/variables", headers=[*headers, ("cookie", "a=b"), ("cookie", "c=d")]).text)
    assert (found["HTTP_X_REAL"], found["HTTP_X_TWICE"]) == ("true", "1,2")
    assert found["HTTP_COOKIE"].replace(" ", "") == "a=b;c=d"
    assert not {"CONTENT_LENGTH", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} & set(found)


def test_close_is_called_when_the_client_goes(
    site: Any, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server, client = site
    h2_client = connect_h2(server.listener)
    stream = h2_client.request("GET", "/endless?h2")
    h2_client.wait(lambda: h2_client.streams[stream].length, "the stream to begin")
    h2_client.reset(stream)
    h1_client = connect_h1(server.listener)
    h1_client.request("GET", "/endless?h1")
    h1_client.head()
    h1_client.close()
    wait_until(lambda: {"endless h1", "endless h2"} <= set(closed(client)), "close() to be called")
    assert "Error" not in server.log


def test_slow_uploads_hold_no_thread(site: Any, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]) -> None:
    server, client = site
    slow = [connect_h1(server.listener) for _ in range(5)]
    for one in slow:
        one.send(f"POST /echo HTTP/1.1\r\nhost: {server.listener.authority}\r\ncontent-length: 10\r\n\r\nfirst")
    h2_client = connect_h2(server.listener)
    stream = h2_client.request("POST", "/echo", end=False)
    h2_client.send(stream, b"first")
    assert client.get("/one").text == "hello"
    for one in slow:
        one.send(" last")
        assert one.response().body == b"first last"
    h2_client.send(stream, b" last", end=True)
    assert h2_client.response(stream).body == b"first last"


def test_a_client_that_expects_100_gets_it(site: Any, connect_h1: Callable[..., H1Client]) -> None:
    server, _ = site
    client = connect_h1(server.listener)
    client.request("POST", "/echo", "content-length: 4\r\nexpect: 100-continue\r\n")
    assert client.head().status == 100
    client.send("body")
    assert client.response().body == b"body"
    client = connect_h1(server.listener)
    client.request("POST", "/echo", "content-length: 1000001\r\nexpect: 100-continue\r\n")
    assert client.head().status == 413


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_bodies_that_may_not_be_are_not_sent(
    serve: Callable[..., Server], browse: Callable[..., httpx.Client], http2: bool
) -> None:
    server = serve("wsgi:wsgi_kinds.py:bodies", tls=True)
    client = browse(server, http2=http2)
    for status in (204, 304):
        answer = client.get(f"/?{status} Whatever")
        assert (answer.status_code, answer.content, answer.headers.get("content-length")) == (status, b"", None)
    assert client.head("/?200 OK").headers["content-length"] == "23"
    assert client.get("/?200 OK").text == "a body that is not sent"


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_a_file_is_sent_by_the_server_itself(
    serve: Callable[..., Server], browse: Callable[..., httpx.Client], http2: bool, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(DATA)
    server = serve("wsgi:wsgi_kinds.py:route", tls=True, env={"DATA": f"{tmp_path}/data"})
    client = browse(server, http2=http2)
    assert client.get("/file").content == client.get("/opened").content == DATA
    assert client.head("/file").headers["content-length"] == str(len(DATA))
    assert client.get("/own_file").content == DATA
    wait_until(lambda: client.get("/report").text == "['own file']", "close() to be called")


LARGE = DATA * 20


def read_by(pid: int) -> int:
    """Bytes that a process has read in its life."""
    (count,) = re.findall(r"^rchar: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    return int(count)


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "cleartext"])
@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
@pytest.mark.parametrize(
    ("app", "path"),
    [("wsgi:wsgi_kinds.py:route", "/opened"), ("frameworks.py:flask", "/file"), ("django_site.py:wsgi", "/opened")],
    ids=["bare", "flask", "django"],
)
def test_the_worker_reads_nothing_of_a_file_that_it_names(
    serve: Callable[..., Server],
    browse: Callable[..., httpx.Client],
    tls: bool,
    http2: bool,
    app: str,
    path: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "data").write_bytes(LARGE)
    server = serve(app, tls=tls, env={"DATA": f"{tmp_path}/data"})
    client = browse(server, http2=http2)
    assert client.head(path).status_code == 200, "whatever is imported by the first request is there"
    (worker,) = server.worker_pids()
    before = read_by(worker)
    answer = client.get(path, headers={"accept-encoding": "identity"})
    assert answer.content == LARGE and answer.headers["content-length"] == str(len(LARGE))
    assert read_by(worker) - before < len(LARGE) // 10
