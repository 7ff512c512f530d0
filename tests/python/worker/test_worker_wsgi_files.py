"""``wsgi.file_wrapper``: files as the bodies of WSGI apps."""

from __future__ import annotations

import gzip
from ast import literal_eval
from pathlib import Path

import pytest

from worker.conftest import Serve
from worker.fake_edge import (
    APP_FAILED,
    DATA,
    DONE,
    FILE,
    RESPONSE,
    part,
    request_head,
    response_head,
)
from worker.wsgi_app import APP


@pytest.mark.parametrize("files", [True, False], ids=["as descriptor", "as bytes"])
@pytest.mark.parametrize("path", [b"/file", b"/wrapped_again", b"/noticed"])
def test_a_file_is_sent_whole(serve: Serve, tmp_path: Path, path: bytes, files: bool) -> None:
    data = bytes(range(256)) * 3000
    (tmp_path / "data").write_bytes(data)
    running = serve(APP)
    assert running.link.fetch(path, files=files).body == data
    assert running.drain() == 0
    assert running.stderr == ""


def test_a_file_is_closed_also_when_the_client_goes(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(1 << 20))
    running = serve(APP, "--wsgi-threads", "1")
    stream = running.link.get(b"/noticed")
    running.link.expect(stream, RESPONSE)
    running.link.reset(stream)
    while running.link.expect(stream, DATA, DONE).kind != DONE:
        pass
    seen = literal_eval(running.link.fetch(b"/report").body.decode())
    assert seen[-1] == "file closed" and len(seen) < 8


TEXT = b"0123456789" * 20_000


@pytest.fixture
def texts(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(TEXT)
    (tmp_path / "data.gz").write_bytes(gzip.compress(TEXT))


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize("kind", ["buffered", "raw", "random", "temporary", "proxy"])
@pytest.mark.parametrize("length", [None, 100, len(TEXT) - 5])
def test_a_plain_file_passes_to_the_edge_from_where_it_stands(serve: Serve, kind: str, length: int | None) -> None:
    link = serve(APP).link
    stream = link.get(f"/files?{kind}{f',{length}' if length else ''}".encode())
    head = response_head(link.expect(stream, RESPONSE).payload)
    told = len(TEXT) - 5 if length is None else length
    assert head[b"content-length"] == str(told).encode()
    frame = link.expect(stream, FILE)
    assert frame.is_end and part(frame) == (5, told)
    assert link.file(frame) == TEXT[5 : 5 + told]


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize(
    ("kind", "body"),
    [("own", TEXT[5:]), ("gzip", TEXT[5:]), ("memory", TEXT[5:]), ("pipe", b"56789")],
)
def test_objects_that_are_not_plain_files_are_read(serve: Serve, kind: str, body: bytes) -> None:
    link = serve(APP).link
    stream = link.get(f"/files?{kind}".encode())
    link.expect(stream, RESPONSE)
    received = b""
    while not (frame := link.expect(stream, DATA)).is_end:
        received += frame.payload
        link.credit(stream, frame.cost)
    assert received + frame.payload == body


@pytest.mark.usefixtures("texts")
def test_a_file_of_text_is_the_apps_failure(serve: Serve) -> None:
    running = serve(APP)
    stream = running.link.get(b"/files?text")
    running.link.expect(stream, APP_FAILED)
    assert running.drain() == 0
    assert "must yield bytes, not str" in running.stderr


@pytest.mark.usefixtures("texts")
def test_a_file_that_is_shorter_than_the_announced_length_fails_before_anything_is_sent(serve: Serve) -> None:
    link = serve(APP).link
    stream = link.get(f"/files?buffered,{len(TEXT)}".encode())
    link.expect(stream, APP_FAILED)


@pytest.mark.usefixtures("texts")
def test_the_head_of_a_file_names_none(serve: Serve) -> None:
    link = serve(APP).link
    stream = link.request(request_head(b"HEAD", b"/files?buffered,5"))
    assert link.expect(stream, RESPONSE).is_end


@pytest.mark.usefixtures("texts")
def test_a_file_is_closed_once_it_has_passed_to_the_edge(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    link = running.link
    stream = link.get(b"/files?proxy")
    link.expect(stream, RESPONSE)
    frame = link.expect(stream, FILE)
    assert link.fetch(b"/proxy_closed").body == b"True"
    descriptors = Path(f"/proc/{running.process.pid}/fd")
    assert not [entry for entry in descriptors.iterdir() if entry.is_symlink() and entry.readlink().name == "data"]
    assert link.file(frame) == TEXT[5:]


def test_a_wrapper_has_a_close_only_if_the_file_has_one(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    assert running.link.fetch(b"/dripping").body == b"abc"
    assert literal_eval(running.link.fetch(b"/report").body.decode()) == [False]
