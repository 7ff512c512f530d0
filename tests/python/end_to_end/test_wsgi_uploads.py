"""Slow and long bodies of WSGI apps: slow uploads hold no thread, long ones no memory, and slow readers a thread for a
bounded time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until

MIB = 1 << 20

#: More than the threads of the app.
SLOW = 12

BODY = os.urandom(10_000_000)


@pytest.fixture
def spool(tmp_path: Path) -> Any:
    """The folder of the app's temporary files."""
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


@pytest.fixture
def site(serve: Callable[..., Server], spool: Any) -> Any:
    """The app in two threads."""
    return serve("wsgi:wsgi_kinds.py:app", env={"TMPDIR": str(spool)}, hcrs={"wsgi_threads": 2})


def begin(client: Any, headers: str, path: str = "/digest") -> None:
    client.send(f"POST {path} HTTP/1.1\r\nhost: {client.where.authority}\r\n{headers}\r\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def digest(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()


def memory(server: Server) -> int:
    """Resident bytes of the worker, at most."""
    (worker,) = server.worker_pids()
    return server.memory(worker)[1]


def files(server: Server, folder: Path) -> int:
    """Files without a name that the worker has open in a folder."""
    (worker,) = server.worker_pids()
    count = 0
    for entry in Path(f"/proc/{worker}/fd").iterdir():
        try:
            name = os.readlink(entry)
        except FileNotFoundError:
            continue
        count += name.startswith(f"{folder}/") and name.endswith(" (deleted)")
    return count


@pytest.mark.parametrize("length", [1, 98 << 10, 131_000, 1_000_000], ids=lambda length: f"{length} bytes")
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_slow_uploads_over_http_1_hold_no_thread(
    site: Any, connect_h1: Callable[..., H1Client], length: int, chunked: bool
) -> None:
    slow = [connect_h1(site.listener) for _ in range(SLOW)]
    for client in slow:
        begin(client, "transfer-encoding: chunked\r\n" if chunked else f"content-length: {len(BODY)}\r\n")
        client.send(chunk(BODY[:length]) if chunked else BODY[:length])
    for _ in range(5):
        assert connect_h1(site.listener, deadline=5).get("/one").body == b"hello"
    for client in slow[:2]:
        client.send(chunk(BODY[length:]) + b"0\r\n\r\n" if chunked else BODY[length:])
        assert client.response().body == digest(BODY)
    assert "Error" not in site.log


@pytest.mark.parametrize("length", [1, 98 << 10, 131_000], ids=lambda length: f"{length} bytes")
def test_slow_uploads_over_http_2_hold_no_thread(site: Any, connect_h2: Callable[..., H2Client], length: int) -> None:
    client = connect_h2(site.listener)
    streams = [client.request("POST", "/digest", end=False) for _ in range(SLOW)]
    for stream in streams:
        client.send(stream, BODY[:length])
    assert client.get("/one", deadline=5).body == b"hello"
    client.send(streams[0], BODY[length:], end=True)
    assert client.response(streams[0]).body == digest(BODY)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_two_long_uploads_at_once_arrive_whole(
    serve: Callable[..., Server], browse: Callable[..., httpx.Client], http2: bool, declared: bool
) -> None:
    server = serve("wsgi:wsgi_kinds.py:app", tls=True, hcrs={"wsgi_threads": 1})
    bodies = [BODY, BODY[::-1]]
    answers = {}

    def upload(number: int) -> None:
        pieces = (bodies[number][at : at + 70_001] for at in range(0, len(BODY), 70_001))
        client = browse(server, http2=http2)
        answers[number] = client.post("/digest", content=bodies[number] if declared else pieces)

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[number].content for number in range(2)] == [digest(body) for body in bodies]


def test_a_long_upload_waits_for_100(site: Any, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(site.listener)
    begin(client, f"content-length: {len(BODY)}\r\nexpect: 100-continue\r\n")
    assert client.head().status == 100
    client.send(BODY)
    assert client.response().body == digest(BODY)


def test_clients_that_go_while_they_upload_leave_nothing(
    site: Any, spool: Any, connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    slow = [connect_h1(site.listener) for _ in range(SLOW)]
    for client in slow:
        begin(client, f"content-length: {len(BODY)}\r\n")
        client.send(BODY[:500_000])
    h2_client = connect_h2(site.listener)
    stream = h2_client.request("POST", "/digest", end=False)
    h2_client.send(stream, BODY[:500_000])
    wait_until(lambda: files(site, spool) == SLOW + 1, "the uploads to be kept in files")
    assert os.listdir(spool) == [], "which have no names"
    for client in slow:
        client.close()
    h2_client.reset(stream)
    wait_until(lambda: files(site, spool) == 0, "the files to be closed")
    assert h2_client.get("/one").body == b"hello"
    assert "Error" not in site.log


def test_long_uploads_hold_no_memory(site: Any, spool: Any, connect_h1: Callable[..., H1Client]) -> None:
    assert connect_h1(site.listener).get("/one").body == b"hello"
    before, body = memory(site), BODY[: 5 * MIB]
    clients = [connect_h1(site.listener) for _ in range(50)]
    for client in clients:
        begin(client, f"content-length: {len(body)}\r\n")
        client.send(body[:-1])
    wait_until(lambda: files(site, spool) == 50, "the uploads to be kept in files")
    for client in clients:
        client.send(body[-1:])
    for client in clients:
        assert client.response().body == digest(body)
    grown = memory(site) - before
    print(f"\n50 uploads of 5 MiB at once: the worker has taken {grown / MIB:.1f} MiB more")
    assert grown < 40 * MIB
    assert site.memory()[1] < 100 * MIB
    wait_until(lambda: files(site, spool) == 0, "the files to be closed")


def test_a_chunked_body_is_refused_where_it_exceeds_the_limit(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("wsgi:wsgi_kinds.py:app", wsgi_max_body_size=1_000_000, hcrs={"wsgi_threads": 1})
    client = connect_h1(server.listener)
    begin(client, "transfer-encoding: chunked\r\n")
    for at in range(0, 1_000_000, 100_000):
        client.send(chunk(BODY[at : at + 100_000]))
    assert connect_h1(server.listener).get("/one").body == b"hello", "no thread waits for the rest"
    client.send(chunk(b"one more"))
    assert client.response().status == 413


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_a_client_that_reads_nothing_holds_its_thread_until_the_write_timeout(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any], http2: bool
) -> None:
    server = serve("wsgi:wsgi_kinds.py:app", hcrs={"wsgi_threads": 1, "write_timeout": 1})
    if http2:
        client = connect_h2(server.listener)
        client.held.add(client.request("GET", "/endless"))
        client.flush()
    else:
        client = connect_h1(server.listener)
        client.request("GET", "/endless")
    assert connect_h1(server.listener).get("/one").body == b"hello"
