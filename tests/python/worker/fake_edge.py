"""An edge made of a socket pair and struct packing, which drives a real worker process, frame by frame."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

REQUEST, DATA, RESPONSE, CREDIT, RESET, DONE, BEGUN, READY, FAILED, DRAIN, PING, PONG, BLOCK, TLS = range(1, 15)
TEXT, BINARY, CLOSE = range(20, 23)
TRAILERS, INTERIM, FILE, OPENED, PUSH = range(30, 35)
END = 1
HALF = 4
REQUEST_WINDOW = 128 << 10
RESPONSE_WINDOW = 64 << 10
DATA_MAX = 64 << 10
SLOTS = 64
WAIT = 20.0
"""Seconds after which a frame that does not come fails the test."""


@dataclass
class Frame:
    """A frame from the worker."""

    kind: int
    flags: int
    stream: int
    payload: bytes

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
) -> bytes:
    path, _, query = target.partition(b"?")
    headers = [(b"host", b"localhost")] if headers is None else headers
    fixed = struct.pack(
        "<BBBBHHIIHHB",
        version,
        int(tls),
        int(body) | 2 * int(websocket) | 4 * int(pushes),
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

    def send(self, kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0, slot: int = 0) -> None:
        self.socket.sendall(frame(kind, stream, payload, flags, slot))

    def offer(self, slot: int, stream: int) -> None:
        struct.pack_into("<Q", self.claims, slot * 8, stream << 2 | 1)

    def withdraw(self, slot: int) -> None:
        struct.pack_into("<Q", self.claims, slot * 8, 0)

    def is_begun(self, slot: int) -> bool:
        return int(struct.unpack_from("<Q", self.claims, slot * 8)[0]) & 3 == 2

    def request(self, head: bytes, *, end: bool = True, slot: int | None = None, offer: bool = True) -> int:
        """Offers and sends a request; gives its stream."""
        self.streams += 1
        stream = self.streams
        slot = stream % SLOTS if slot is None else slot
        if offer:
            self.offer(slot, stream)
        self.send(REQUEST, stream, head, END if end else 0, slot)
        return stream

    def get(self, target: bytes = b"/", **how: object) -> int:
        return self.request(request_head(target=target, **how))  # type: ignore[arg-type]

    def read(self, timeout: float = WAIT) -> Frame:
        """The next frame, whatever it is."""
        if self.kept:
            return self.kept.pop(0)
        return self._read(timeout)

    def _read(self, timeout: float) -> Frame:
        while True:
            if len(self.buffer) >= 12:
                length, kind, flags, _, stream = struct.unpack_from("<IBBHI", self.buffer)
                if len(self.buffer) >= 12 + length:
                    payload = bytes(self.buffer[12 : 12 + length])
                    del self.buffer[: 12 + length]
                    return Frame(kind, flags, stream, payload)
            self.socket.settimeout(timeout)
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise EOFError("the worker has closed the link")
            self.buffer += piece

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
        """Whether nothing but Begun comes for so long: the proof that somebody waits has to take some time."""
        try:
            while True:
                found = self._read(seconds)
                if found.kind != BEGUN:
                    self.kept.append(found)
                    return False
        except TimeoutError:
            return not self.kept

    def ping(self) -> None:
        """Waits until the worker has come to what was sent before."""
        self.send(PING)
        self.expect(0, PONG)

    def response(self, stream: int, *, credit: bool = True) -> Response:
        """The whole response of ``stream``, its body credited as it comes."""
        head = self.expect(stream, RESPONSE, CREDIT)
        while head.kind == CREDIT:
            head = self.expect(stream, RESPONSE, CREDIT)
        response = response_head(head.payload)
        end = head.is_end
        body = []
        while not end:
            piece = self.expect(stream, DATA, CREDIT, FILE)
            if piece.kind == CREDIT:
                continue
            if piece.kind == FILE:
                body.append(self.file(piece))
                end = piece.is_end
                continue
            assert len(piece.payload) <= DATA_MAX
            body.append(piece.payload)
            end = piece.is_end
            if credit and piece.payload and not end:
                self.send(CREDIT, stream, struct.pack("<I", len(piece.payload)))
        response.body = b"".join(body)
        return response

    def file(self, frame: Frame) -> bytes:
        """Reads the part of a file that a frame names, and says that it was opened."""
        offset, length, process, descriptor = struct.unpack("<QQII", frame.payload)
        with open(f"/proc/{process}/fd/{descriptor}", "rb") as file:
            self.send(OPENED, payload=struct.pack("<I", descriptor))
            file.seek(offset)
            return file.read(length)

    def fetch(self, target: bytes = b"/", **how: object) -> Response:
        return self.response(self.get(target, **how))

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
            self.send(DATA, stream, piece, END if sent == len(body) else 0)


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0, slot: int = 0) -> bytes:
    return struct.pack("<IBBHI", len(payload), kind, flags, slot, stream) + payload


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

    def drain(self) -> int:
        """Says that nothing more comes; gives the exit code."""
        for link in self.links:
            link.send(DRAIN)
        return self.process.wait(WAIT)

    def hang_up(self) -> int:
        """Closes the links as if the edge were gone; gives the exit code."""
        for link in self.links:
            link.socket.close()
        return self.process.wait(WAIT)


@contextmanager
def worker(
    tmp_path: Path, source: str, *arguments: str, app: str = "main:app", links: int = 1, ready: bool = True
) -> Iterator[Worker]:
    """Runs ``source`` as module ``main`` in a worker."""
    (tmp_path / "main.py").write_text(textwrap.dedent(source))
    ends, inherited, names = [], [], []
    for _ in range(links):
        near, far = socket.socketpair()
        page = os.memfd_create("claims", os.MFD_CLOEXEC)
        os.ftruncate(page, SLOTS * 8)
        ends.append(Link(near, mmap.mmap(page, SLOTS * 8)))
        inherited += [far.detach(), page]
        names.append(f"{inherited[-2]}:{inherited[-1]}")
    stderr_path = tmp_path / "stderr"
    with stderr_path.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "hcrs.worker", app, "--links", ",".join(names), *arguments],
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
            link.socket.close()
