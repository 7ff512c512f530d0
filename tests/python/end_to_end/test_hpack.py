"""HPACK against an implementation of others, PyPI's ``hpack``: what a client sends is what the app gets, and the same
back, whatever the tables hold. The fields are drawn by a generator with a fixed seed, so that a failure comes again."""

from __future__ import annotations

import ast
import random
import string
from collections.abc import Callable

import h2.settings
import pytest
from hpack import NeverIndexedHeaderTuple

from end_to_end.h2_client import H2Client
from end_to_end.server import Server

#: Requests of a connection.
REQUESTS = 60

#: Most fields of a request, and most bytes of a value.
FIELDS, VALUE = 40, 900

Field = tuple[bytes, bytes]

#: Bytes that may be inside a value, and those that may be at its ends as well.
_INSIDE = bytes([9, *range(32, 127), *range(128, 256)])
_ENDS = _INSIDE.replace(b"\t", b"").replace(b" ", b"")


@pytest.fixture(scope="module")
def server(share: Callable[..., Server]) -> Server:
    return share("mirror.py:app", tls=True, keep_alive_timeout=30)


def name(draw: random.Random) -> bytes:
    known = [b"x-frame-options", b"accept-language", b"user-agent", b"etag", b"authorization", b"x-a", b"content-type"]
    if draw.random() < 0.4:
        return draw.choice(known)
    letters = string.ascii_lowercase + string.digits + "-.!#$%&'*+^`|~"
    return b"x-" + "".join(draw.choices(letters, k=draw.randrange(1, 60))).encode()


def value(draw: random.Random) -> bytes:
    length = draw.choice([0, 1, 2, 3, draw.randrange(40), draw.randrange(VALUE)])
    if length == 0:
        return b""
    if draw.random() < 0.5:
        return "".join(draw.choices(string.printable[:62], k=length)).encode()  # short in Huffman's code
    inside = bytes(draw.choices(_INSIDE, k=length))
    return bytes([draw.choice(_ENDS)]) + inside[1:-1] + (bytes([draw.choice(_ENDS)]) if length > 1 else b"")


def fields(draw: random.Random, seen: list[Field]) -> list[Field]:
    """Fields, of which some were sent before, so that the tables are used."""
    drawn: list[Field] = []
    for _ in range(draw.randrange(FIELDS)):
        field = draw.choice(seen) if seen and draw.random() < 0.5 else (name(draw), value(draw))
        drawn.append(NeverIndexedHeaderTuple(*field) if draw.random() < 0.1 else field)
    return drawn


@pytest.mark.parametrize("seed", range(8))
def test_generated_fields_arrive_and_come_back(server: Server, seed: int) -> None:
    draw = random.Random(seed)
    seen: list[Field] = []
    with H2Client(server.listeners[1]) as client:
        for _ in range(REQUESTS):
            if draw.random() < 0.15:
                # The size of the table that the server decodes with, of which it allows 4,096 bytes.
                client.protocol.encoder.header_table_size = draw.choice([0, 33, 100, 1000, 4096])
            if draw.random() < 0.15:
                # And that of the table which it encodes with.
                size = draw.choice([0, 50, 500, 4096, 65_536])
                client.protocol.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: size})
                client.ping()
            sent = fields(draw, seen)
            seen += sent
            response = client.get("/", sent)
            assert response.status == 200, sent
            arrived = [field for field in ast.literal_eval(response.body.decode()) if field[0] != b"host"]
            assert arrived == [tuple(field) for field in sent]
            mirrored = [(name, value) for name, value in response.headers if name.startswith(b"x-")]
            assert mirrored == [tuple(field) for field in sent if field[0].startswith(b"x-")]
