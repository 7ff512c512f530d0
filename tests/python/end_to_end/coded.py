"""Requests for responses in a content coding, over any protocol, and what decodes them."""

from __future__ import annotations

import gzip
import zlib
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import brotli
import zstandard

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client, Stream
from end_to_end.h3_client import H3Client
from end_to_end.server import APPS

APP = str(APPS / "compressed.py:app")
CODINGS = ["zstd", "br", "gzip"]
MIB = 1 << 20


class Answer(NamedTuple):
    """A response over any protocol, its body as it came."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def field(self, name: str) -> str | None:
        """The one value of a field, if it has one."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def coding(self) -> str | None:
        """Its ``content-encoding``."""
        return self.field("content-encoding")

    @property
    def decoded(self) -> bytes:
        """The body as the app has sent it."""
        return decoded(self.coding, self.body)


class Ask(Protocol):
    """A client."""

    def __call__(self, target: str, accept: str | None = "zstd, br, gzip", method: str = "GET", **fields: str) -> Answer:
        """Makes a request with ``accept-encoding`` and these fields."""


class Decoder(Protocol):
    """What decodes a body as it comes."""

    def __call__(self, data: bytes, /) -> bytes:
        """Decodes all that can be decoded so far."""


def decoder(coding: str | None) -> Decoder:
    if coding == "zstd":
        decompress: Decoder = zstandard.ZstdDecompressor().decompressobj().decompress
        return decompress
    if coding == "br":
        process: Decoder = brotli.Decompressor().process
        return process
    if coding == "gzip":
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress
    assert coding is None, coding
    return lambda data: data


def decoded(coding: str | None, body: bytes) -> bytes:
    """Decodes a whole body, and fails if its end is missing."""
    if coding == "zstd":
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        whole: bytes = decompressor.decompress(body)
        assert decompressor.eof and not decompressor.unused_data
        return whole
    if coding == "br":
        return bytes(brotli.decompress(body))
    return gzip.decompress(body) if coding == "gzip" else body


def target(path: str = "/", **query: Any) -> str:
    return f"{path}?{urlencode(query, doseq=True)}"


def over_h1(client: H1Client) -> Ask:
    def ask(target: str, accept: str | None = "zstd, br, gzip", method: str = "GET", **fields: str) -> Answer:
        named = {**({} if accept is None else {"accept-encoding": accept}), **fields}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
        client.request(method, target, lines)
        answer = client.response(to_head=method == "HEAD")
        return Answer(answer.status, [(name.lower(), value) for name, value in answer.headers], answer.body)

    return ask


def over_streams(client: H2Client | H3Client) -> Ask:
    def ask(target: str, accept: str | None = "zstd, br, gzip", method: str = "GET", **fields: str) -> Answer:
        named = {**({} if accept is None else {"accept-encoding": accept}), **fields}
        stream = client.request(method, target, [(name.replace("_", "-"), value) for name, value in named.items()])
        answer = client.response(stream)
        assert answer.status is not None and answer.reset is None
        return Answer(answer.status, [(name.decode(), value.decode()) for name, value in answer.headers], answer.body)

    return ask


def has_come(stream: Stream, coding: str, expected: bytes) -> bool:
    """Whether what is to be expected can be decoded from what has come of a body."""
    return decoder(coding)(stream.body) == expected
