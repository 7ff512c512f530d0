"""Many idle connections of HTTP/2 or HTTP/3: each has had one request answered, then waits."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
STREAM = 1
TIMEOUT_S = 10


class Refused(Exception):
    """A connection could not be brought to rest; says which and why."""


class HeldOverH3:
    """The same over HTTP/3, by h3_load."""

    def __init__(self, h3_load: Path, port: int, count: int):
        self.command = [h3_load, "-n", str(count), "-c", str(count), "--hold", f"https://127.0.0.1:{port}/"]
        self.count = count

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line != f"holding {self.count} connections\n":
            self.__exit__()
            raise Refused(f"h3_load: {line!r}")
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()

    def lost(self) -> int:
        """How many of them the server has closed since. Closes the others."""
        said, _ = self.process.communicate(timeout=TIMEOUT_S)
        lost = next(line for line in said.splitlines() if line.startswith("lost "))
        return int(lost.removeprefix("lost "))


class Held:
    """`count` connections to a port of this machine, open until the end of the `with`."""

    def __init__(self, port: int, count: int):
        self.context = ssl._create_unverified_context()
        self.context.set_alpn_protocols(["h2"])
        self.port, self.count = port, count
        self.links: list[ssl.SSLSocket] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(self.count):
                self.links.append(self._open())
        except (OSError, Refused) as error:
            self.__exit__()
            raise Refused(f"connection {len(self.links) + 1} of {self.count}: {error}") from error
        return self

    def __exit__(self, *_) -> None:
        for link in self.links:
            link.close()

    def lost(self) -> int:
        """How many of them the server has closed since."""
        return sum(_closed(link) for link in self.links)

    def _open(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
        link = self.context.wrap_socket(plain, server_hostname="localhost")
        if link.selected_alpn_protocol() != "h2":
            raise Refused(f"ALPN chose {link.selected_alpn_protocol()}")
        # :method GET, :path /, :scheme https from HPACK's static table; :authority spelled out.
        head = b"\x82\x84\x87\x41\x09localhost"
        settings = _frame(SETTINGS, 0, 0, b"")
        link.sendall(PREFACE + settings + _frame(HEADERS, END_STREAM | END_HEADERS, STREAM, head))
        _read_answer(link)
        return link


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    length = struct.pack(">I", len(payload))[1:]
    return length + struct.pack(">BBI", kind, flags, stream) + payload


def _read_answer(link: ssl.SSLSocket) -> None:
    """Reads frames to the end of the response, acknowledging the server's SETTINGS."""
    ended, acknowledged = False, False
    while not (ended and acknowledged):
        length, kind, flags, stream = struct.unpack(">IBBI", b"\0" + _exactly(link, 9))
        _exactly(link, length)
        if kind == SETTINGS and not flags & ACK:
            link.sendall(_frame(SETTINGS, ACK, 0, b""))
            acknowledged = True
        elif kind in (RST_STREAM, GOAWAY):
            raise Refused(f"the server sent a frame of type {kind}")
        elif kind in (DATA, HEADERS) and stream == STREAM and flags & END_STREAM:
            ended = True


def _exactly(link: ssl.SSLSocket, length: int) -> bytes:
    held = b""
    while len(held) < length:
        more = link.recv(length - len(held))
        if not more:
            raise Refused("the server closed it")
        held += more
    return held


def _closed(link: ssl.SSLSocket) -> bool:
    link.setblocking(False)
    try:
        while link.recv(4096):
            pass
        return True
    except ssl.SSLWantReadError:
        return False
    except OSError:
        return True
