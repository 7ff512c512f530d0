"""The trio worker class with apps as people write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until

BODY = bytes(range(256)) * 4000
STREAMED = "".join(f"{number:05}" * 2000 for number in range(40))


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
@pytest.mark.parametrize("app", ["starlette", "starlette_with_middleware"])
def test_starlette_on_anyio_under_trio(
    serve: Callable[..., Server], browse: Callable[..., httpx.Client], app: str, http2: bool, tmp_path: Path
) -> None:
    server = serve(f"on_trio.py:{app}", tls=True, worker_class="trio")
    client = browse(server, http2=http2)
    answer = client.get("/library")
    assert answer.json() == ["trio", "trio"]
    assert answer.headers.get("x-passed") == ("yes" if "middleware" in app else None)
    assert client.post("/echo", content=BODY).content == BODY
    assert client.post("/echo", content=(BODY[:70_000] for _ in range(3))).content == BODY[:70_000] * 3
    assert client.get("/thread").text == "6"
    assert client.get("/plain").text == "by a plain function"
    assert client.get("/stream?count=40").text == STREAMED
    assert client.get("/is-disconnected").text == "False"
    assert client.get("/background", params={"file": f"{tmp_path}/late"}).text == "later"
    wait_until((tmp_path / "late").exists, "the background task")
    assert client.get("/raises").status_code == 500
    server.wait_for_log("LookupError: in a nursery")


def test_streaming_ends_when_the_client_goes(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve("on_trio.py:starlette", worker_class="trio")
    h2_client = connect_h2(server.listener)
    stream = h2_client.request("GET", f"/disconnected?file={tmp_path}/h2")
    h2_client.wait(lambda: h2_client.streams[stream].length, "the stream to begin")
    h2_client.reset(stream)
    wait_until((tmp_path / "h2").exists, "the stream to be ended in the app")
    h1_client = connect_h1(server.listener)
    h1_client.request("GET", f"/disconnected?file={tmp_path}/h1")
    h1_client.close()
    wait_until((tmp_path / "h1").exists, "the stream to be ended in the app")
    assert h2_client.get("/is-disconnected").body == b"False"


def test_requests_beside_each_other(serve: Callable[..., Server], connect_h2: Callable[..., H2Client]) -> None:
    server = serve("on_trio.py:starlette", worker_class="trio", workers=2)
    client = connect_h2(server.listener)
    streams = [client.request("GET", "/stream?count=3") for _ in range(30)]
    assert {client.response(stream).body for stream in streams} == {STREAMED[:30_000].encode()}


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_quart_trio(serve: Callable[..., Server], browse: Callable[..., httpx.Client], http2: bool) -> None:
    server = serve("on_trio.py:quart", tls=True, worker_class="trio")
    client = browse(server, http2=http2)
    assert client.get("/library").json() == ["trio", "trio"]
    assert client.post("/echo", content=BODY).content == BODY
    assert client.get("/stream?count=40").text == STREAMED
    assert client.get("/raises").status_code == 500
    server.wait_for_log("LookupError: in Quart")
