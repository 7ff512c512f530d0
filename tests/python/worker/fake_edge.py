"""An edge made of a socket pair and struct packing, which drives a real worker process, frame by frame.

The numbers of the protocol are those of the crate ``hcrs-link``, read out of its sources.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from source_numbers import numbers

EDGE = numbers("hcrs-link/src/from_edge.rs")
"""Kinds of the frames that the edge sends."""

_worker = numbers("hcrs-link/src/from_worker.rs")
READY, FAILED, BEGUN, FINISHED = (_worker[kind] for kind in ("READY", "FAILED", "BEGUN", "FINISHED"))
RESPONSE, ACCEPT, INTERIM, PUSH = (_worker[kind] for kind in ("RESPONSE", "ACCEPT", "INTERIM", "PUSH"))
DATA, FILE, TRAILERS, TEXT = (_worker[kind] for kind in ("DATA", "FILE", "TRAILERS", "TEXT"))
CREDIT, AWAITS_BODY = (_worker[kind] for kind in ("CREDIT", "AWAITS_BODY"))
APP_FAILED, DONE = (_worker[kind] for kind in ("APP_FAILED", "DONE"))
PUSH_MAX = _worker["PUSH_MAX"]

_frame = numbers("hcrs-link/src/frame.rs")
HEADER_LEN, HEAD_MAX, DATA_MAX = (_frame[name] for name in ("HEADER_LEN", "HEAD_MAX", "DATA_MAX"))
END, EXPECT, FILES = (_frame[flag] for flag in ("END", "EXPECT", "FILES"))

_credit = numbers("hcrs-link/src/credit.rs")
REQUEST_WINDOW, RESPONSE_WINDOW = (_credit[name] for name in ("REQUEST_WINDOW", "RESPONSE_WINDOW"))
PIECE_COST, FILE_COST = (_credit[name] for name in ("PIECE_COST", "FILE_COST"))

_claim = numbers("hcrs-link/src/claim.rs")
SLOTS, LINK_VERSION = (_claim[name] for name in ("SLOTS", "LINK_VERSION"))
FREE, OFFERED, CLAIMED, WITHDRAWN = (_claim[state] for state in ("FREE", "OFFERED", "BEGUN", "WITHDRAWN"))

OPTIONS = {
    "--workers": "1",
    "--worker-class": "asyncio",
    "--root-path": "",
    "--lifespan": "auto",
    "--startup-timeout": "60",
    "--shutdown-timeout": "60",
    "--wsgi-max-body-size": str(16 << 20),
    "--loglevel": "info",
    "--errorlog": "-",
}
"""The options that an edge passes to every worker."""

WAIT = 20.0
"""Seconds after which a frame that does not come fails the test."""


@dataclass
class Frame:
    """A frame from the worker."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    descriptor: int | None = None
    """Of a part of a file; the link closes it at its end."""

    @property
    def cost(self) -> int:
        """Bytes of the response's window that the frame takes."""
        return FILE_COST if self.kind == FILE else len(self.payload) + PIECE_COST

    @property
    def is_end(self) -> bool:
        return bool(self.flags & END)


@dataclass
class Response:
    """A whole response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    def __getitem__(self, name: bytes) -> bytes:
        return dict(self.headers)[name]


def address(host: str, port: int) -> bytes:
    return struct.pack("<H", port) + host.encode()


def fields(items: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(struct.pack("<HI", len(name), len(value)) + name + value for name, value in items)


def request_head(
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    version: int = 20,
    tls: bool = True,
    body: bool = False,
    client: bytes = address("127.0.0.1", 54106),
    server: bytes = address("127.0.0.1", 8443),
    tls_number: int = 0,
    pushes: bool = False,
    websocket: bool = False,
    pathsend: bool = False,
) -> bytes:
    path, _, query = target.partition(b"?")
    headers = [(b"host", b"localhost")] if headers is None else headers
    fixed = struct.pack(
        "<BBBBHHIIHHB",
        version,
        int(tls),
        int(body) | 2 * int(websocket) | 4 * int(pushes) | 8 * int(pathsend),
        0,
        len(method),
        len(headers),
        len(path),
        len(query),
        len(client),
        len(server),
        tls_number,
    )
    return fixed + method + path + query + client + server + fields(headers)


def response_head(block: bytes) -> Response:
    status, count = struct.unpack_from("<HH", block)
    at, headers = 4, []
    for _ in range(count):
        name, value = struct.unpack_from("<HI", block, at)
        at += 6
        headers.append((block[at : at + name], block[at + name : at + name + value]))
        at += name + value
    assert at == len(block)
    return Response(status, headers)


@dataclass
class Link:
    """The edge's end of one link."""

    socket: socket.socket
    claims: mmap.mmap
    buffer: bytearray = field(default_factory=bytearray)
    kept: list[Frame] = field(default_factory=list)
    streams: int = 0
    arrived: deque[int] = field(default_factory=deque)
    """Descriptors that came before the rest of their frames."""
    files: list[int] = field(default_factory=list)

    def send(self, kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0, argument: int = 0) -> None:
        self.socket.sendall(frame(kind, stream, payload, flags, argument))

    def data(self, stream: int, piece: bytes, *, end: bool = False) -> None:
        self.socket.sendall(data_frame(stream, piece, end=end))

    def credit(self, stream: int, amount: int) -> None:
        self.send(EDGE["CREDIT"], stream, struct.pack("<I", amount))

    def reset(self, stream: int) -> None:
        self.send(EDGE["RESET"], stream)

    def half_close(self, stream: int) -> None:
        self.send(EDGE["HALF_CLOSE"], stream)

    def tls(self, number: int, facts: bytes) -> None:
        self.send(EDGE["TLS"], payload=facts, argument=number)

    def stopping(self, number: int) -> None:
        self.send(EDGE["STOPPING"], argument=number)

    def drain(self, left: float = 3.0) -> None:
        """``left`` are seconds for what the app still does."""
        self.send(EDGE["DRAIN"], payload=struct.pack("<I", round(left * 1000)))

    def word(self, slot: int) -> int:
        return int(struct.unpack_from("<Q", self.claims, slot * 8)[0])

    def set_word(self, slot: int, stream: int, state: int) -> None:
        struct.pack_into("<Q", self.claims, slot * 8, stream << 2 | state)

    def offer(self, slot: int, stream: int) -> None:
        self.set_word(slot, stream, OFFERED)

    def withdraw(self, slot: int) -> None:
        self.set_word(slot, self.word(slot) >> 2, WITHDRAWN)

    def is_begun(self, slot: int) -> bool:
        return self.word(slot) & 3 == CLAIMED

    def request(
        self,
        head: bytes,
        *,
        end: bool = True,
        slot: int | None = None,
        state: int = OFFERED,
        expects: bool = False,
        files: bool = True,
    ) -> int:
        """Offers and sends a request, and returns its stream. The client ``expects`` 100 (Continue), and takes ``files``."""
        self.streams += 1
        stream = self.streams
        slot = stream % SLOTS if slot is None else slot
        self.set_word(slot, stream, state)
        flags = END * end | EXPECT * expects | FILES * files
        self.socket.sendall(frame(EDGE["REQUEST"], stream, head, flags, slot))
        return stream

    def get(self, target: bytes = b"/", *, files: bool = True, **how: object) -> int:
        return self.request(request_head(target=target, **how), files=files)  # type: ignore[arg-type]

    def read(self, timeout: float = WAIT) -> Frame:
        """The next frame, whatever it is."""
        if self.kept:
            return self.kept.pop(0)
        return self._read(timeout)

    def _read(self, timeout: float) -> Frame:
        while True:
            if len(self.buffer) >= HEADER_LEN:
                length, kind, flags, _, stream = struct.unpack_from("<IBBHQ", self.buffer)
                if len(self.buffer) >= HEADER_LEN + length:
                    payload = bytes(self.buffer[HEADER_LEN : HEADER_LEN + length])
                    del self.buffer[: HEADER_LEN + length]
                    return Frame(kind, flags, stream, payload, self.arrived.popleft() if kind == FILE else None)
            self.socket.settimeout(timeout)
            try:
                piece, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 20, 4)
            finally:
                self.socket.settimeout(WAIT)
            if not piece:
                raise EOFError("the worker has closed the link")
            self.buffer += piece
            self.arrived += descriptors
            self.files += descriptors

    def finished(self) -> Frame:
        """The frame by which the worker reports that its shutdown begins."""
        while (frame := self.read()).kind != FINISHED:
            pass
        return frame

    def expect(self, stream: int, *kinds: int, timeout: float = WAIT) -> Frame:
        """The next frame of ``stream``, of one of ``kinds``; others are kept for later, Begun is dropped."""
        for at, kept in enumerate(self.kept):
            if kept.stream == stream:
                found = self.kept.pop(at)
                break
        else:
            while (found := self._read(timeout)).stream != stream:
                if found.kind != BEGUN:
                    self.kept.append(found)
        if found.kind == BEGUN and BEGUN not in kinds:
            return self.expect(stream, *kinds, timeout=timeout)
        assert found.kind in kinds, f"frame {found} instead of {kinds}"
        return found

    def quiet(self, seconds: float = 0.3) -> bool:
        """Whether nothing but Begun comes for that long: that the worker waits can only be seen over some time."""
        try:
            while True:
                found = self._read(seconds)
                if found.kind != BEGUN:
                    self.kept.append(found)
                    return False
        except TimeoutError:
            return not self.kept

    def ping(self) -> None:
        """Waits until the worker has come to what was sent before: it passes a request that is already withdrawn."""
        deadline = time.monotonic() + WAIT
        while (slot := next((n for n in range(SLOTS) if self.word(n) & 3 in (FREE, CLAIMED)), -1)) < 0:
            assert time.monotonic() < deadline, "the worker begins and passes nothing"
            time.sleep(0.001)  # the words change without an event
        before = self.word(slot)
        self.request(request_head(), slot=slot, state=WITHDRAWN)
        while self.word(slot) != FREE:
            assert time.monotonic() < deadline, "the worker has not passed a request that was withdrawn"
            try:
                found = self._read(0.002)
            except TimeoutError:
                continue
            if found.kind != BEGUN:
                self.kept.append(found)
        self.set_word(slot, before >> 2, before & 3)

    def response(self, stream: int, *, credit: bool = True) -> Response:
        """The whole response of ``stream``, its body credited as it comes."""
        while (head := self.expect(stream, RESPONSE, CREDIT, AWAITS_BODY)).kind != RESPONSE:
            pass
        response = response_head(head.payload)
        end = head.is_end
        body = []
        while not end:
            piece = self.expect(stream, DATA, CREDIT, AWAITS_BODY, FILE)
            if piece.kind not in (DATA, FILE):
                continue
            assert len(piece.payload) <= DATA_MAX
            body.append(self.file(piece) if piece.kind == FILE else piece.payload)
            end = piece.is_end
            if credit and not end:
                self.credit(stream, piece.cost)
        response.body = b"".join(body)
        return response

    def used_up_window(self, stream: int) -> bytes:
        """The bytes that the worker sends of a body until the response's window is used up."""
        received, left = b"", RESPONSE_WINDOW
        while left > PIECE_COST:
            piece = self.expect(stream, DATA)
            received, left = received + piece.payload, left - piece.cost
        return received

    def rest(self, stream: int) -> bytes:
        """The rest of a body of which nothing has to be credited."""
        received = b""
        while not (piece := self.expect(stream, DATA)).is_end:
            received += piece.payload
        return received + piece.payload

    def file(self, frame: Frame) -> bytes:
        """Reads the part of a file that came with a frame."""
        assert frame.descriptor is not None
        offset, length = part(frame)
        return os.pread(frame.descriptor, length, offset)

    def close(self) -> None:
        self.socket.close()
        while self.files:
            os.close(self.files.pop())

    def fetch(self, target: bytes = b"/", *, files: bool = True, **how: object) -> Response:
        return self.response(self.get(target, files=files, **how))

    def upload(self, stream: int, body: bytes, window: int = REQUEST_WINDOW) -> None:
        """Sends a body within its window."""
        sent = 0
        while sent < len(body):
            if window == 0:
                credit = self.expect(stream, CREDIT)
                window += struct.unpack("<I", credit.payload)[0]
                continue
            piece = body[sent : sent + min(window, DATA_MAX)]
            sent += len(piece)
            window -= len(piece)
            self.data(stream, piece, end=sent == len(body))


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0, argument: int = 0) -> bytes:
    return struct.pack("<IBBHQ", len(payload), kind, flags, argument, stream) + payload


def data_frame(stream: int, piece: bytes, *, end: bool = False) -> bytes:
    return frame(EDGE["DATA"], stream, piece, END if end else 0)


def part(frame: Frame) -> tuple[int, int]:
    """Offset and length of a part of a file."""
    offset, length = struct.unpack("<QQ", frame.payload)
    return offset, length


@dataclass
class Worker:
    """A worker process and the links to it."""

    process: subprocess.Popen[str]
    links: list[Link]
    stderr_path: Path

    @property
    def link(self) -> Link:
        return self.links[0]

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def drain(self, left: float = 3.0) -> int:
        """Drains the links and returns the exit code."""
        for link in self.links:
            link.drain(left)
        return self.process.wait(WAIT)

    def hang_up(self) -> int:
        """Closes the links as if the edge were gone, and returns the exit code."""
        for link in self.links:
            link.close()
        return self.process.wait(WAIT)


def command(app: str, links: str, *arguments: str) -> list[str]:
    """Returns the command line of a worker, whose ``arguments`` replace those of ``OPTIONS``."""
    options = [word for option in OPTIONS.items() for word in option]
    return [sys.executable, "-m", "hcrs.worker", app, "--links", links, *options, *arguments]


@contextmanager
def worker(
    tmp_path: Path,
    source: str,
    *arguments: str,
    app: str = "main:app",
    links: int = 1,
    ready: bool = True,
    version: int = LINK_VERSION,
) -> Iterator[Worker]:
    """Runs ``source`` as module ``main`` in a worker, whose edge speaks a ``version`` of the link."""
    (tmp_path / "main.py").write_text(textwrap.dedent(source))
    ends, inherited, names = [], [], []
    for _ in range(links):
        near, far = socket.socketpair()
        page = os.memfd_create("claims", os.MFD_CLOEXEC)
        # A word for each slot, and the version behind them.
        os.ftruncate(page, (SLOTS + 1) * 8)
        claims = mmap.mmap(page, (SLOTS + 1) * 8)
        struct.pack_into("<Q", claims, SLOTS * 8, version)
        ends.append(Link(near, claims))
        inherited += [far.detach(), page]
        names.append(f"{inherited[-2]}:{inherited[-1]}")
    stderr_path = tmp_path / "stderr"
    with stderr_path.open("w") as stderr:
        process = subprocess.Popen(
            command(app, ",".join(names), *arguments),
            cwd=tmp_path,
            stderr=stderr,
            pass_fds=inherited,
            text=True,
        )
    for descriptor in inherited:
        os.close(descriptor)
    running = Worker(process, ends, stderr_path)
    try:
        if ready:
            for link in ends:
                first = link.read()
                assert first.kind == READY, f"{first}\n{running.stderr}"
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(WAIT)
        for link in ends:
            link.close()
