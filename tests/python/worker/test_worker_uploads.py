"""Request bodies of WSGI apps before a thread has them, and requests that no thread will have."""

from __future__ import annotations

import os
import re
import struct
from hashlib import sha256
from pathlib import Path

import pytest

from worker.conftest import Serve
from worker.fake_edge import (
    CREDIT,
    DATA_MAX,
    DONE,
    EDGE,
    REQUEST_WINDOW,
    RESPONSE,
    SLOTS,
    Link,
    Worker,
    data_frame,
    frame,
    request_head,
    response_head,
)

APP = """
    import hashlib

    HEADERS = [("Content-Type", "text/plain")]

    def app(environ, start_response):
        body = globals()[environ["PATH_INFO"][1:]](environ)
        start_response("200 OK", HEADERS)
        return [body]

    def hello(environ):
        return b"hello"

    def echo(environ):
        return environ["wsgi.input"].read()

    def digest(environ):
        found, stream = hashlib.sha256(), environ["wsgi.input"]
        while piece := stream.read(9999):
            found.update(piece)
        return found.hexdigest().encode()

    def lines(environ):
        return b"%d" % sum(line == b"0123456789abcdef\\n" for line in environ["wsgi.input"])

    kept = []

    def keep(environ):
        kept.append(environ["wsgi.input"])
        return kept[0].read(1)

    def wait(environ):
        # Until the test has opened and closed the other end.
        return open("gate", "rb").read()
"""

#: Uploads that a worker holds, and those of them that are in files.
UPLOADS_MAX, FILES_MAX = 512, 256


def begin(link: Link, path: bytes = b"/echo", length: int | None = None, slot: int | None = None) -> int:
    """Sends the head of an upload."""
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    return link.request(request_head(b"POST", path, headers, body=True), end=False, slot=slot)


def send(link: Link, stream: int, body: bytes, end: bool = False) -> None:
    """Sends as much as the window takes without credit."""
    assert len(body) <= REQUEST_WINDOW
    for at in range(0, len(body), DATA_MAX):
        link.data(stream, body[at : at + DATA_MAX], end=end and at + DATA_MAX >= len(body))


def resident(running: Worker) -> int:
    """Bytes of memory that the worker has."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024  # type: ignore[index]


def files(running: Worker, folder: Path) -> list[str]:
    """Files that the worker has open in ``folder`` and that have no name there."""
    opened = [
        os.readlink(entry)
        for entry in Path(f"/proc/{running.process.pid}/fd").iterdir()
        if entry.is_symlink()
    ]
    return [name for name in opened if name.startswith(f"{folder}/") and name.endswith(" (deleted)")]


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the worker's temporary files."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What `/wait` of the app waits for."""
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


@pytest.mark.parametrize(
    "length", [3, 98 << 10, 131_000, REQUEST_WINDOW], ids=lambda length: f"{length} bytes"
)
@pytest.mark.parametrize("declared", [True, False])
def test_slow_uploads_hold_no_thread(serve: Serve, length: int, declared: bool) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    link, body = running.link, bytes(range(256)) * 4000
    slow = [begin(link, length=len(body) if declared else None, slot=number) for number in range(20)]
    for stream in slow:
        send(link, stream, body[:length])
    assert link.fetch(b"/hello").body == b"hello"
    assert all(link.is_begun(number) for number in range(20)), "they are not given to another worker"
    for stream in slow:
        link.upload(stream, body[length:], REQUEST_WINDOW - length)
        assert link.response(stream).body == body
    assert running.drain() == 0
    assert running.stderr == ""


def test_a_body_arrives_whole_whatever_its_length(serve: Serve) -> None:
    link = serve(APP).link
    for length in (0, 1, 65_535, 65_536, 65_537, 131_072, 200_000, 10_000_000):
        body = os.urandom(length)
        stream = begin(link, b"/digest", length)
        if length:
            link.upload(stream, body)
        else:
            link.data(stream, b"", end=True)
        assert link.response(stream).body.decode() == sha256(body).hexdigest()
    stream = begin(link, b"/lines")
    link.upload(stream, b"0123456789abcdef\n" * 50_000)
    assert link.response(stream).body == b"50000"


def test_a_client_that_goes_takes_all_with_it_before_a_thread_is_free(
    serve: Serve, spool: Path, gate: Path
) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    link = running.link
    waiting = link.request(request_head(target=b"/wait"), slot=63)
    uploading, whole = begin(link, slot=1), begin(link, slot=2)
    send(link, uploading, bytes(100_000))
    send(link, whole, bytes(100_000), end=True)
    link.ping()
    assert files(running, spool) != []
    assert os.listdir(spool) == []
    for stream in (uploading, whole):
        link.reset(stream)
        while link.expect(stream, CREDIT, DONE).kind != DONE:
            pass
    link.ping()
    assert files(running, spool) == []
    gate.open("wb").close()
    assert link.response(waiting).status == 200
    assert running.drain() == 0
    assert running.stderr == ""


def test_an_app_that_keeps_its_input_keeps_no_file(serve: Serve, spool: Path) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    stream = begin(running.link, b"/keep")
    running.link.upload(stream, bytes(1_000_000))
    assert running.link.response(stream).body == b"\0"
    assert running.link.fetch(b"/hello").body == b"hello"
    assert files(running, spool) == []


def test_uploads_beyond_what_a_worker_holds_are_refused_and_others_are_not(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    link = running.link
    held = []
    for number in range(UPLOADS_MAX):
        held.append(begin(link, slot=number % SLOTS))
        send(link, held[-1], b"first ")
        if number % SLOTS == SLOTS - 1:
            link.ping()
    refused = link.response(begin(link, slot=0))
    assert (refused.status, refused[b"retry-after"]) == (503, b"1")
    assert link.fetch(b"/hello").body == b"hello"
    link.reset(held.pop())
    link.ping()
    again = begin(link, slot=2)
    for stream in (again, *held):
        link.data(stream, b"last", end=True)
    assert link.response(again).body == b"last"
    assert {link.response(stream).body for stream in held} == {b"first last"}
    assert running.drain() == 0
    assert running.stderr == ""


def test_long_uploads_beyond_the_files_that_a_worker_holds_are_refused(serve: Serve) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    link = running.link
    held = []
    for number in range(FILES_MAX):
        held.append(begin(link, b"/digest", slot=number % SLOTS))
        send(link, held[-1], bytes(70_000))
        if number % SLOTS == SLOTS - 1:
            link.ping()
    refused = begin(link, b"/digest", slot=0)
    send(link, refused, bytes(70_000))
    assert link.response(refused).status == 503
    small = begin(link, slot=1)
    send(link, small, b"small", end=True)
    assert link.response(small).body == b"small"
    link.reset(held[0])
    link.upload(begin(link, b"/digest", slot=2), bytes(1_000_000))
    for stream in held[1:]:
        link.data(stream, b"", end=True)
        assert link.response(stream).body.decode() == sha256(bytes(70_000)).hexdigest()


def test_a_body_that_cannot_be_stored_is_refused_and_the_reason_logged(serve: Serve, spool: Path) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    spool.rmdir()
    stream = begin(running.link, b"/digest")
    send(running.link, stream, bytes(100_000))
    assert running.link.response(stream).status == 507
    assert running.link.fetch(b"/hello").body == b"hello"
    assert running.drain() == 0
    assert f"could not be stored in {spool}, and its client gets 507: No such file" in running.stderr
    assert "TMPDIR" in running.stderr


def test_without_a_folder_for_temporary_files_bodies_are_kept_in_memory(serve: Serve) -> None:
    nowhere = "\n    import tempfile\n    tempfile._candidate_tempdir_list = lambda: []\n    tempfile.tempdir = None\n"
    link = serve(APP + nowhere).link
    body = os.urandom(5_000_000)
    stream = begin(link, b"/digest")
    link.upload(stream, body)
    assert link.response(stream).body.decode() == sha256(body).hexdigest()


def test_a_body_beyond_the_limit_is_not_kept(serve: Serve, spool: Path) -> None:
    running = serve(APP, "--wsgi-max-body-size", "300000", "--wsgi-threads", "1")
    link = running.link
    stream = begin(link, b"/digest")
    window, sent = REQUEST_WINDOW, 0
    while True:
        while window:
            piece = bytes(min(window, DATA_MAX))
            link.data(stream, piece)
            window, sent = window - len(piece), sent + len(piece)
        answer = link.expect(stream, CREDIT, RESPONSE)
        if answer.kind == RESPONSE:
            break
        window += struct.unpack("<I", answer.payload)[0]
    assert response_head(answer.payload).status == 413
    assert sent < 300_000 + 2 * REQUEST_WINDOW
    assert link.fetch(b"/hello").body == b"hello"
    assert files(running, spool) == []


@pytest.mark.parametrize("told", [True, False], ids=["reset", "withdrawn"])
def test_requests_that_are_taken_back_leave_nothing(serve: Serve, gate: Path, told: bool) -> None:
    running = serve(APP, "--wsgi-threads", "1")
    link, body = running.link, bytes(60_000)
    waiting = link.request(request_head(target=b"/wait"), slot=SLOTS - 1)
    head = request_head(b"POST", b"/echo", [(b"content-length", b"60000")], body=True)

    def take_back(rounds: int) -> int:
        for _ in range(rounds):
            streams = []
            for slot in range(SLOTS - 1):
                link.streams += 1
                streams.append(link.streams)
                link.offer(slot, link.streams)
                upload = data_frame(link.streams, body, end=True)
                link.socket.sendall(frame(EDGE["REQUEST"], link.streams, head, argument=slot) + upload)
            link.ping()  # what was not begun by now waits for the thread
            for slot, stream in enumerate(streams):
                if link.is_begun(slot):
                    link.reset(stream)  # its body came in two reads
                    continue
                link.withdraw(slot)
                if told:
                    link.reset(stream)
            link.ping()
            link.kept.clear()
        return resident(running)

    before = take_back(3)
    grown = take_back(50) - before
    print(f"\n{50 * (SLOTS - 1)} requests of {len(body)} bytes: {grown / 2**20:.1f} MiB more")
    assert grown < 30 << 20
    gate.open("wb").close()
    assert link.response(waiting).status == 200
    assert link.fetch(b"/hello").body == b"hello"
    assert running.drain() == 0
    assert running.stderr == ""
