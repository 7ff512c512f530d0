"""Bodies that are made of a number: a byte of another request, or at another place, is seen."""

import hashlib

# Numbers of files begin here; those of requests never come so far.
FIRST_FILE = 1 << 60
FILE_SIZES = (0, 1, 700, 16_384, 65_537, 300_000, 1 << 20)


def body(number: int, length: int) -> bytes:
    """``length`` bytes that belong to the number."""
    return hashlib.shake_128(b"%d" % number).digest(length)


def digest(data: bytes) -> str:
    """The app's answer to an upload."""
    return hashlib.sha256(data).hexdigest()[:32]


class Mixed(Exception):
    """Something belongs to another request, or is not whole."""


class Expected:
    """Compares a body with what it has to be while it comes."""

    def __init__(self, number: int, length: int) -> None:
        self.number, self.whole, self.at = number, memoryview(body(number, length)), 0

    def take(self, piece: bytes) -> None:
        """The next bytes that have come."""
        if self.whole[self.at : self.at + len(piece)] != piece:
            raise Mixed(f"a body of {len(self.whole)} bytes is another one at {self.at} or shortly after")
        self.at += len(piece)

    def end(self) -> None:
        """The body has ended."""
        if self.at != len(self.whole):
            raise Mixed(f"a body of {len(self.whole)} bytes has ended after {self.at}")
