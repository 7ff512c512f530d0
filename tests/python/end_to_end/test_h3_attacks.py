"""What hostile clients of HTTP/3 send: the server answers no more than it owes, holds no more than it has room for, and serves
others. Floods of frames, streams, sections and instructions are tried in ``crates/hcrs-h3/tests/it``."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aioquic._buffer import Buffer
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, StreamType, encode_frame
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.tls import Epoch

from end_to_end.h2_client import Lost
from end_to_end.h3_client import H3Client, first_datagrams
from end_to_end.server import DEADLINE, Listening, Server, wait_until

Serve = Callable[..., Server]
Connect = Callable[..., H3Client]

MIB = 1 << 20

#: What an attack may make the edge hold beyond what it held before, in bytes.
BOUND = 16 * MIB

#: Frames beside those of RFC 9114.
PRIORITY_UPDATE, GREASE = 0xF0700, 0x1F * 1000 + 0x21


@pytest.fixture(scope="module")
def quic(share: Serve) -> Server:
    return share(
        "plain.py:app", tls=True, quic_bind="127.0.0.1:0", keep_alive_timeout=30, hcrs={"io_threads": 2}
    )


@pytest.fixture
def bounded(quic: Server, connect_h3: Connect) -> Iterator[None]:
    """Asserts that the edge has not grown by the test, and that another client is served as before."""
    other = connect_h3(quic.quic)
    assert other.get().body == b"hello"
    before = quic.memory()[0]
    yield
    assert other.get().body == b"hello"
    assert connect_h3(quic.quic).get().body == b"hello"
    grown = quic.memory()[1] - before
    print(f"\nthe edge grew by {grown / MIB:.1f} MiB at most")
    assert grown < BOUND
    assert "panicked" not in quic.log


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A socket that nobody has heard of."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        opened.bind(("127.0.0.1", 0))
        yield opened


def heard(at: socket.socket, silence: float) -> list[bytes]:
    """The datagrams that come, until there is silence for so many seconds."""
    came = []
    at.settimeout(silence)
    with contextlib.suppress(TimeoutError):
        while True:
            came.append(at.recv(1 << 16))
    return came


def address(where: Listening) -> tuple[str, int]:
    return where.host, where.port


# ---- without a connection ----


@pytest.mark.usefixtures("bounded")
def test_a_flood_of_first_datagrams_is_answered_with_retries(quic: Server, stranger: socket.socket) -> None:
    first = list(first_datagrams(50))
    place = first[0].index(first[0][6 : 6 + first[0][5]])
    assert place == 6
    answers: list[bytes] = []
    stranger.setblocking(False)
    # Ids of clients are part of the keys, so that only genuine ones get further than to a Retry.
    for number in range(20_000):
        datagram = first[number % len(first)]
        with contextlib.suppress(BlockingIOError):
            stranger.sendto(datagram[:6] + number.to_bytes(8, "big") + datagram[14:], address(quic.quic))
            answers.append(stranger.recv(1 << 16))
    for datagram in first_datagrams(700):
        with contextlib.suppress(BlockingIOError):
            stranger.sendto(datagram, address(quic.quic))
            answers.append(stranger.recv(1 << 16))
    answers += heard(stranger, 0.3)
    retries = [answer for answer in answers if answer[0] & 0xF0 == 0xF0 and answer[1:5] == b"\0\0\0\1"]
    assert retries, f"{len(answers)} answers, none of them a Retry"


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("length", [1200, 1300, 1452])
def test_an_address_that_is_not_proven_gets_three_times_its_bytes(
    quic: Server, stranger: socket.socket, length: int
) -> None:
    (datagram,) = first_datagrams(1)
    stranger.sendto(datagram.ljust(length, b"\0"), address(quic.quic))
    # The server repeats its answer for some seconds, as far as it may.
    answers = heard(stranger, 2.0)
    assert answers and sum(map(len, answers)) <= 3 * length, list(map(len, answers))


@pytest.mark.usefixtures("bounded")
def test_no_answer_is_longer_than_what_it_answers(quic: Server, stranger: socket.socket) -> None:
    for size in range(60):
        stranger.sendto(b"\x40" + os.urandom(size), address(quic.quic))
        stranger.sendto(b"\xc0\0\0\0\1" + os.urandom(size), address(quic.quic))
        stranger.sendto(b"\xc0\x1a\x2a\x3a\x4a\x08" + os.urandom(size), address(quic.quic))
    assert heard(stranger, 0.3) == []


@pytest.mark.usefixtures("bounded")
def test_a_flood_of_unknown_versions_leaves_nothing(quic: Server, stranger: socket.socket) -> None:
    stranger.setblocking(False)
    answers: list[bytes] = []
    for number in range(20_000):
        datagram = b"\xc0\x1a\x2a\x3a\x4a\x08" + number.to_bytes(8, "big") + b"\0" + bytes(1200)
        with contextlib.suppress(BlockingIOError):
            stranger.sendto(datagram, address(quic.quic))
            answers.append(stranger.recv(1 << 16))
    answers += heard(stranger, 0.3)
    assert answers and all(answer[1:5] == bytes(4) and len(answer) < 100 for answer in answers)


@pytest.mark.usefixtures("bounded")
def test_datagrams_of_connections_that_never_were_get_no_answer(quic: Server, stranger: socket.socket) -> None:
    stranger.setblocking(False)
    for _ in range(20_000):
        with contextlib.suppress(BlockingIOError):
            stranger.sendto(b"\x40" + os.urandom(1100), address(quic.quic))
    assert heard(stranger, 0.3) == []


# ---- addresses of connections ----


@pytest.mark.usefixtures("bounded")
def test_an_address_that_a_client_has_not_proven_gets_three_times_its_bytes(
    quic: Server, connect_h3: Connect, stranger: socket.socket
) -> None:
    """Its datagrams seem to come from a victim, while it asks for a large response."""
    client = connect_h3(quic.quic, window=8 << 20)
    assert client.get().body == b"hello"
    genuine, client.socket = client.socket, stranger
    stream = client.request("GET", "/download?size=8000000")
    client.counted.add(stream)
    # It is asked for a sign of life for some round trips; then the address before is taken again.
    victim = sum(map(len, heard(stranger, 1.0)))
    assert 0 < victim <= 3 * client.quic._network_paths[0].bytes_sent
    client.socket = genuine
    assert client.response(stream).length == 8_000_000


#: Victims of which a client pretends to be one after the other. Another host has another path, whose limit is looked for.
VICTIMS = {"ports": ["127.0.0.1"], "hosts": ["127.0.0.2", "127.0.0.3", "127.0.0.4"]}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", VICTIMS)
def test_a_client_that_seems_to_move_again_and_again_is_no_amplifier(
    quic: Server, connect_h3: Connect, name: str
) -> None:
    """All that it has sent on its connection is answered with three times as much, whatever comes of its datagrams."""
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    client.ping()
    sent = client.quic._network_paths[0].bytes_sent
    with contextlib.ExitStack() as opened:
        victims = [opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(12)]
        for victim, host in zip(victims, itertools.cycle(VICTIMS[name])):
            victim.bind((host, 0))
        answers: list[bytes] = []
        for victim in victims * 16:
            for datagram in Raw(client).alone(b"\1"):
                victim.sendto(datagram, address(quic.quic))
                sent += len(datagram)
            answers += heard(victim, 0.001)
        for victim in victims:
            answers += heard(victim, 0.05)
    assert 0 < sum(map(len, answers)) <= 3 * sent, (len(answers), sum(map(len, answers)) / sent)


def test_a_request_has_no_address_that_its_client_has_not_proven(quic: Server, connect_h3: Connect) -> None:
    """Rules of addresses would be of no use otherwise: its response comes where the client is."""
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    client.ping()
    genuine = client.socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.2", 0))
        client.socket = victim
        stream = client.request("GET", "/scope")
        client.socket = genuine
        scope = client.response(stream).body.decode()
    assert f"'client': ('127.0.0.1', {client.port})" in scope, scope


@pytest.mark.usefixtures("bounded")
def test_a_client_that_seemed_to_move_is_found_where_it_was(
    quic: Server, connect_h3: Connect, stranger: socket.socket
) -> None:
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    client.ping()
    genuine, client.socket = client.socket, stranger
    client.quic.send_ping(1)
    client.flush()
    client.socket = genuine
    # In this time the server gives up the new address, and what was in flight to it.
    assert heard(stranger, 1.5)
    assert client.get().body == b"hello"


@pytest.mark.parametrize("there_and_back", [False, True])
def test_a_move_while_the_server_stands_still_loses_nothing(
    serve: Serve, connect_h3: Connect, stranger: socket.socket, there_and_back: bool
) -> None:
    """It notices the move, and that what was in flight is late, at about the same time."""
    server = serve("plain.py:app", tls=True, quic_bind="127.0.0.1:0", hcrs={"io_threads": 1})
    size = 3_000_000
    for round_ in range(4):
        client = connect_h3(server.quic)
        stream = client.request("GET", f"/download?size={size}&byte=7")
        client.head(stream)
        time.sleep(0.004 * round_)  # what comes in this time is not acknowledged
        server.signal(signal.SIGSTOP)
        genuine = client.socket
        if there_and_back:
            client.socket = stranger
        else:
            client.move()
        client.quic.send_ping(1)
        client.flush()
        if there_and_back:
            client.socket = genuine
            client.quic.send_ping(2)
            client.flush()
        time.sleep(0.3)  # longer than anything may be in flight
        server.signal(signal.SIGCONT)
        assert client.response(stream).body == b"\7" * size
        client.close()
    assert "panicked" not in server.log


# ---- frames of QUIC ----


class Raw:
    """Sends frames of QUIC that aioquic would not send."""

    def __init__(self, client: H3Client) -> None:
        self.client = client

    def send(self, frames: bytes) -> None:
        """In one packet. ``frames`` are written as they are."""
        client = self.client
        quic = client.quic
        write = quic._write_application

        def with_frames(builder: Any, path: Any, now: float) -> None:
            quic._write_application = write  # type: ignore[method-assign]
            builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[Epoch.ONE_RTT])
            kind = Buffer(data=frames).pull_uint_var()
            buffer = builder.start_frame(kind, capacity=len(frames))
            buffer.push_bytes(frames[len(encode_uint_var(kind)) :])
            write(builder, path, now)

        quic._write_application = with_frames  # type: ignore[method-assign, assignment]
        client.flush()
        client.pump(0.0005)

    def alone(self, frames: bytes) -> list[bytes]:
        """The datagrams with a packet of these frames and nothing else. They are not sent."""
        quic = self.client.quic
        write = quic._write_application

        def only_frames(builder: Any, path: Any, now: float) -> None:
            builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[Epoch.ONE_RTT])
            kind = Buffer(data=frames).pull_uint_var()
            buffer = builder.start_frame(kind, capacity=len(frames))
            buffer.push_bytes(frames[len(encode_uint_var(kind)) :])

        quic._write_application = only_frames  # type: ignore[method-assign, assignment]
        datagrams = [datagram for datagram, _ in quic.datagrams_to_send(time.time())]
        quic._write_application = write  # type: ignore[method-assign]
        return datagrams


def flood(client: H3Client, frames: Iterator[bytes], packets: int) -> None:
    """Sends that many packets, or as many as the server takes."""
    raw = Raw(client)
    with contextlib.suppress(Lost):
        for _ in range(packets):
            if client.closed:
                return
            raw.send(next(frames))


def path_challenges() -> Iterator[bytes]:
    while True:
        yield b"".join(encode_uint_var(QuicFrameType.PATH_CHALLENGE) + os.urandom(8) for _ in range(100))


def retirements() -> Iterator[bytes]:
    """Each lets the server issue another id."""
    numbers = itertools.count()
    while True:
        yield encode_uint_var(QuicFrameType.RETIRE_CONNECTION_ID) + encode_uint_var(next(numbers))


def new_ids() -> Iterator[bytes]:
    """Each asks the server to retire those before."""
    for number in itertools.count(8):
        name = os.urandom(8)
        head = encode_uint_var(QuicFrameType.NEW_CONNECTION_ID) + encode_uint_var(number) + encode_uint_var(number)
        yield head + bytes([len(name)]) + name + os.urandom(16)


def pings() -> Iterator[bytes]:
    while True:
        yield b"\1" * 1000


def gaps() -> Iterator[bytes]:
    """Every second byte of a stream, each in a frame of its own."""
    stream = encode_uint_var(40)
    for packet in itertools.count():
        places = range(1 + 240 * packet, 1 + 240 * (packet + 1), 2)
        yield b"".join(b"\x0e" + stream + encode_uint_var(place) + b"\x01x" for place in places)


def late_handshakes() -> Iterator[bytes]:
    """Pieces of a handshake that is over, with gaps."""
    for number in itertools.count():
        yield encode_uint_var(QuicFrameType.CRYPTO) + encode_uint_var(2_000 * number + 1) + b"\x43\xe8" + bytes(1000)


FRAMES = {
    "PATH_CHALLENGE": path_challenges,
    "RETIRE_CONNECTION_ID": retirements,
    "NEW_CONNECTION_ID": new_ids,
    "PING": pings,
    "STREAM": gaps,
    "CRYPTO": late_handshakes,
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("kind", FRAMES)
def test_a_flood_of_frames_of_quic_is_no_burden(quic: Server, connect_h3: Connect, kind: str) -> None:
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    flood(client, FRAMES[kind](), 1500)
    # With ids that aioquic knows nothing of, it does not understand the answers.
    if not client.closed and kind != "NEW_CONNECTION_ID":
        assert client.get().body == b"hello"


# ---- frames of HTTP/3 ----


def control(client: H3Client) -> int:
    """The client's control stream."""
    assert client.protocol is not None and client.protocol._local_control_stream_id is not None
    return client.protocol._local_control_stream_id


def say(client: H3Client, stream: int, data: bytes, *, end: bool = False) -> None:
    """Sends bytes on a stream, whatever HTTP says of them."""
    client.quic.send_stream_data(stream, data, end_stream=end)
    client.flush()


#: What a client may not say on its control stream, and the error that it owes.
CONTROL = {
    "second SETTINGS": (encode_frame(FrameType.SETTINGS, b""), ErrorCode.H3_FRAME_UNEXPECTED),
    "DATA": (encode_frame(FrameType.DATA, b"x"), ErrorCode.H3_FRAME_UNEXPECTED),
    "MAX_PUSH_ID lowered": (
        encode_frame(FrameType.MAX_PUSH_ID, b"\x08") + encode_frame(FrameType.MAX_PUSH_ID, b"\x07"),
        ErrorCode.H3_ID_ERROR,
    ),
    "CANCEL_PUSH of no push": (encode_frame(FrameType.CANCEL_PUSH, b"\x01"), ErrorCode.H3_ID_ERROR),
    "PRIORITY_UPDATE of no request": (encode_frame(PRIORITY_UPDATE, b"\x01u=1"), ErrorCode.H3_ID_ERROR),
}


@pytest.mark.parametrize("name", CONTROL)
def test_what_is_not_for_the_control_stream_ends_the_connection(quic: Server, connect_h3: Connect, name: str) -> None:
    client, other = connect_h3(quic.quic), connect_h3(quic.quic)
    assert client.get().body == b"hello"
    data, code = CONTROL[name]
    say(client, control(client), data)
    assert client.wait_for_close().error_code == code
    assert other.get().body == b"hello"


@pytest.mark.parametrize("how", ["ended", "reset"])
def test_a_control_stream_stays_open(quic: Server, connect_h3: Connect, how: str) -> None:
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    if how == "ended":
        say(client, control(client), b"", end=True)
    else:
        client.quic.reset_stream(control(client), ErrorCode.H3_NO_ERROR)
        client.flush()
    assert client.wait_for_close().error_code == ErrorCode.H3_CLOSED_CRITICAL_STREAM


FLOODS = {
    "GREASE": encode_frame(GREASE, b""),
    "PRIORITY_UPDATE": encode_frame(PRIORITY_UPDATE, b"\x00u=1"),
    "MAX_PUSH_ID": encode_frame(FrameType.MAX_PUSH_ID, b"\x08"),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", FLOODS)
def test_floods_of_the_control_stream_end_the_connection(quic: Server, connect_h3: Connect, name: str) -> None:
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    frames = FLOODS[name] * max(1, 12_000 // len(FLOODS[name]))
    with contextlib.suppress(Lost):
        for _ in range(1500):
            say(client, control(client), frames)
            client.ping()
            if client.closed:
                break
    assert client.wait_for_close().error_code == ErrorCode.H3_EXCESSIVE_LOAD


@pytest.mark.usefixtures("bounded")
def test_a_flood_of_encoder_instructions_ends_the_connection(quic: Server, connect_h3: Connect) -> None:
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    assert client.protocol is not None
    encoder = client.protocol._local_encoder_stream_id
    assert encoder is not None
    # Inserts with literal names, of a table that is as large as the server allows.
    insert = b"\x41x\x01y"
    client.protocol = None  # it would not believe that all this is acknowledged
    say(client, encoder, b"\x3f\xe1\x1f")
    with contextlib.suppress(Lost):
        for _ in range(1500):
            say(client, encoder, insert * 3000)
            client.ping()
            if client.closed:
                break
    code = client.wait_for_close().error_code
    assert code in (ErrorCode.H3_EXCESSIVE_LOAD, ErrorCode.QPACK_ENCODER_STREAM_ERROR)


@pytest.mark.usefixtures("bounded")
def test_a_section_that_repeats_a_large_entry_is_refused(quic: Server, connect_h3: Connect) -> None:
    """Each byte of it stands for a field of 3 KiB."""
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    assert client.protocol is not None
    encoder = client.protocol._local_encoder_stream_id
    assert encoder is not None
    value = b"v" * 3000
    client.protocol = None  # it would not believe that the entry is acknowledged
    say(client, encoder, b"\x3f\xe1\x1f" + b"\x41x" + b"\x7f\xb9\x16" + value)
    client.ping()
    stream = client.quic.get_next_available_stream_id()
    # Required insert count 1, base 1; GET, https, /, an authority, and then the entry again and again.
    head = b"\x02\x00" + b"\xd1\xd7\xc1" + b"\x50\x01a" + b"\x80" * 15_000
    say(client, stream, encode_frame(FrameType.HEADERS, head), end=True)
    client.wait(lambda: client.closed or client.quic._streams[stream].receiver.is_finished, "the refusal")
    if client.closed:
        assert client.termination is not None
        assert client.termination.error_code == ErrorCode.H3_EXCESSIVE_LOAD, client.termination
    else:
        assert client.get().body == b"hello"


@pytest.mark.usefixtures("bounded")
def test_streams_of_unknown_types_are_no_burden(quic: Server, connect_h3: Connect) -> None:
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    for _ in range(500):
        stream = client.quic.get_next_available_stream_id(is_unidirectional=True)
        say(client, stream, encode_uint_var(GREASE) + bytes(1000), end=True)
        client.pump(0.0001)
    assert client.get().body == b"hello"


def test_a_client_opens_no_push_stream(quic: Server, connect_h3: Connect) -> None:
    client = connect_h3(quic.quic)
    assert client.get().body == b"hello"
    stream = client.quic.get_next_available_stream_id(is_unidirectional=True)
    say(client, stream, encode_uint_var(StreamType.PUSH) + b"\0")
    assert client.wait_for_close().error_code == ErrorCode.H3_STREAM_CREATION_ERROR


# ---- slowness ----


def test_slow_heads_and_bodies_and_readers_have_deadlines(serve: Serve, connect_h3: Connect) -> None:
    server = serve(
        "plain.py:app",
        tls=True,
        quic_bind="127.0.0.1:0",
        keep_alive_timeout=30,
        read_timeout=1,
        hcrs={"head_timeout": 1, "write_timeout": 1},
    )
    client = connect_h3(server.quic, window=65_536)
    client.ping()
    head = client.quic.get_next_available_stream_id()
    say(client, head, encode_frame(FrameType.HEADERS, b"\0\0\xd1")[:3])
    body = client.request("POST", "/digest", end=False)
    client.send(body, b"x")
    read = client.request("GET", "/download?size=10000000")
    client.held.add(read)
    client.counted.add(read)
    assert client.get().body == b"hello"
    late = client.response(body)
    assert late.status == 408 or late.reset is not None, late
    client.response(read)
    assert client.streams[read].reset is not None
    assert client.get().body == b"hello"


def test_clients_that_acknowledge_nothing_share_room_for_responses(serve: Serve, connect_h3: Connect) -> None:
    """The server has to keep what it may have to send again, for as long as they are there."""
    server = serve("plain.py:app", tls=True, quic_bind="127.0.0.1:0", keep_alive_timeout=60, hcrs={"io_threads": 1})
    assert connect_h3(server.quic).get().body == b"hello"
    before = server.memory()[0]
    clients = [connect_h3(server.quic, window=4 << 20) for _ in range(100)]
    for client in clients:
        assert client.get().body == b"hello"
        client.quic._write_ack_frame = lambda *_, **__: None  # type: ignore[method-assign]
        client.request("GET", "/download?size=1800000")
        client.pump(0.01)
    time.sleep(1)
    grown = server.memory()[0] - before
    print(f"\n{len(clients)} clients hold {grown / MIB:.1f} MiB")
    # 2 MiB of 32 and 256 KiB of all others may be on their way, and 256 KiB of each response wait for that.
    assert grown < 130 * MIB
    assert connect_h3(server.quic).get("/download?size=3000000").length == 3_000_000


def test_a_handshake_that_is_not_continued_has_a_deadline(serve: Serve, connect_h3: Connect) -> None:
    server = serve(
        "plain.py:app", tls=True, quic_bind="127.0.0.1:0", ssl_handshake_timeout=0.5,
        hcrs={"io_threads": 1, "max_connections": 3},
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        for datagram in first_datagrams(3):
            silent.sendto(datagram, address(server.quic))

        def has_room() -> bool:
            with contextlib.suppress(Lost):
                return connect_h3(server.quic).get().body == b"hello"
            return False

        wait_until(has_room, "the places of handshakes that went no further", DEADLINE)
