"""Answers over HTTP/2 to uploads that the app does not read: they reach clients that send on, and the connection lives."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h2.errors
import httpx
import pytest

from end_to_end.h2_client import H2Client
from end_to_end.server import DEADLINE, Server, find_tool

SIZES = [1_000_000, 20_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_curl_gets_the_answer(serve: Callable[..., Server], tmp_path: Path, size: int) -> None:
    curl = find_tool("curl", "curl")
    if curl is None:
        pytest.skip("curl is missing: apt-get install curl")
    # Curl 7.88 ends the stream, and then waits for the connection's end.
    server = serve("plain.py:app", keep_alive_timeout=0.5)
    url = f"{server.listener.url}/unread?status=413"
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(size))
    for source in (["-T", str(upload)], ["-T", "-"], ["--data-binary", f"@{upload}"]):
        with upload.open("rb") as given:
            done = subprocess.run(
                [curl, "-s", "--http2-prior-knowledge", "-w", " %{http_code}", *source, url],
                stdin=given,
                capture_output=True,
                timeout=DEADLINE,
                check=False,
            )
        assert (done.stdout, done.returncode) == (b"early 413", 0), source


@pytest.mark.parametrize("size", SIZES)
def test_httpx_gets_the_answer(serve: Callable[..., Server], size: int) -> None:
    server = serve("plain.py:app")
    with httpx.Client(http1=False, http2=True, base_url=server.listener.url) as client:
        for _ in range(2):
            response = client.post("/unread?status=413", content=iter([bytes(50_000)] * (size // 50_000)))
            assert (response.status_code, response.text) == (413, "early")
        assert client.get("/").text == "hello"


@pytest.mark.slow
def test_a_client_that_never_stops_is_turned_away(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    client = connect_h2(serve("plain.py:app").listener)
    stream = client.request("POST", "/unread?status=413", end=False)
    response = client.head(stream)
    end = time.monotonic() + DEADLINE
    sent = 0
    while response.reset is None and time.monotonic() < end:
        room = min(client.room(stream), 1000)
        if room:
            client.protocol.send_data(stream, bytes(room))
            client.flush()
            sent += room
        client.pump(timeout=0.05)
    assert response.reset == h2.errors.ErrorCodes.NO_ERROR
    assert (response.status, response.body) == (413, b"early") and sent > 10_000
    assert client.get().body == b"hello"
