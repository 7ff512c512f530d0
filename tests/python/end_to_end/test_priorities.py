"""Priorities over HTTP/2 (RFC 9218): which of the responses that wait is sent first.

The window of these clients' connections is that of a new one, 65,535 bytes, and is opened by the test. Once it is used
up, responses wait, so that their order does not depend on the speed of anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h2.errors
import h2.events
import pytest

from end_to_end.h2_client import H2Client, Lost
from end_to_end.server import Server

#: Most bytes of a body in one frame.
FRAME = 16_384

#: The length of each response, in frames: what the edge takes of an app's response before its client reads.
LENGTH = 3

PRIORITY_UPDATE = 0x10
SETTINGS_NO_RFC7540_PRIORITIES = 0x9


class Watching(H2Client):
    """A client that notes in which order bodies arrive."""

    def __init__(self, where: Any, **options: Any) -> None:
        self.arrivals: list[int] = []
        super().__init__(where, window=64 << 20, connection_window=0, **options)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived) and event.data:
            self.arrivals.append(event.stream_id)
        super()._take(event)

    def begin(self, path: str, priority: str | None = None) -> int:
        """Makes a request whose response waits."""
        stream = self.request("GET", path, [] if priority is None else [("priority", priority)])
        self.held.add(stream)
        return stream

    def exhaust(self) -> None:
        """Uses the window of the connection up."""
        stream = self.begin("/download?size=200000")
        self.wait(lambda: self.streams[stream].length == 65_535, "the first window")
        self.reset(stream)
        self.ping()
        self.arrivals.clear()

    def open(self, frames: int) -> list[int]:
        """Opens the window of the connection by a number of frames. Returns the streams that these are of."""
        before = sum(stream.length for stream in self.streams.values())
        self.arrivals.clear()
        self.protocol.increment_flow_control_window(frames * FRAME)
        self.flush()
        self.wait(
            lambda: sum(stream.length for stream in self.streams.values()) == before + frames * FRAME,
            "the window's bytes",
        )
        return list(self.arrivals)

    def send_frame(self, kind: int, stream: int, payload: bytes) -> None:
        """Sends a frame that hyper-h2 does not know."""
        self.socket.sendall(len(payload).to_bytes(3, "big") + bytes((kind, 0)) + stream.to_bytes(4, "big") + payload)

    def update(self, stream: int, priority: str) -> None:
        """Sends a new priority, and waits until the server has it."""
        self.send_frame(PRIORITY_UPDATE, 0, stream.to_bytes(4, "big") + priority.encode())
        self.ping()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "large").write_bytes(bytes(LENGTH * FRAME))
    return folder


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], folder: Path) -> Server:
    routes = [
        {"path": "/files", "files": str(folder)},
        {"path": "/urgent", "files": str(folder), "set_headers": {"priority": "u=0"}},
    ]
    return share("plain.py:app", tls=True, keep_alive_timeout=30, hcrs={"write_timeout": 1, "routes": routes})


@pytest.fixture(params=["app", "file"])
def path(request: pytest.FixtureRequest) -> str:
    """A response of so many frames."""
    return "/files/large" if request.param == "file" else f"/download?size={LENGTH * FRAME}&piece={LENGTH * FRAME}"


@pytest.fixture
def client(server: Server) -> Iterator[Watching]:
    with Watching(server.listeners[1]) as client:
        client.exhaust()
        yield client


def ready(client: Watching, streams: list[int]) -> None:
    """Waits until the responses wait at the server's HTTP/2."""
    for stream in streams:
        client.head(stream)
    client.ping()


def test_what_waits_is_sent_by_urgency(client: Watching, path: str) -> None:
    late, default, soon, first = (client.begin(path, priority) for priority in ("u=6", None, "u=1", "u=0"))
    ready(client, [late, default, soon, first])
    arrivals = client.open(4 * LENGTH)
    ends = [len(arrivals) - arrivals[::-1].index(stream) for stream in (first, soon, default, late)]
    assert ends == sorted(ends), arrivals
    assert arrivals[0] == first


def test_without_priorities_the_order_is_that_of_the_requests(client: Watching, path: str) -> None:
    client.update(1, "u=3")  # a client that knows them
    streams = [client.begin(path) for _ in range(3)]
    ready(client, streams)
    assert client.open(LENGTH) == [streams[0]] * LENGTH
    assert client.open(LENGTH) == [streams[1]] * LENGTH


def test_responses_to_clients_that_know_no_priorities_take_turns(client: Watching, path: str) -> None:
    streams = [client.begin(path) for _ in range(3)]
    ready(client, streams)
    assert client.open(LENGTH) == streams


def test_incremental_responses_take_turns(client: Watching, path: str) -> None:
    streams = [client.begin(path, "u=3, i") for _ in range(3)]
    ready(client, streams)
    arrivals = client.open(LENGTH)
    assert arrivals == streams


def test_a_frame_overtakes_while_a_response_flows(client: Watching, path: str) -> None:
    one, other = client.begin(path, "u=3"), client.begin(path, "u=3")
    ready(client, [one, other])
    assert client.open(2) == [one, one]
    client.update(other, "u=1")
    assert client.open(2) == [other, other]
    client.update(other, "u=5")
    assert client.open(1) == [one]


def test_a_frame_may_come_before_its_request(client: Watching, path: str) -> None:
    first = client.protocol.get_next_available_stream_id()
    client.update(first + 2, "u=0")
    streams = [client.begin(path, "u=2"), client.begin(path, "u=7")]
    ready(client, streams)
    assert client.open(3) == [streams[1]] * 3


def test_a_late_urgent_response_overtakes_large_ones(client: Watching, path: str) -> None:
    large = [client.begin(path, "u=2, i") for _ in range(8)]
    ready(client, large)
    client.open(8)
    style = client.begin(path, "u=0")
    ready(client, [style])
    assert client.open(LENGTH + 1).count(style) == LENGTH
    assert client.response(style).length == LENGTH * FRAME


def test_the_app_and_a_route_change_the_priority(server: Server) -> None:
    with Watching(server.listeners[1]) as client:
        client.exhaust()
        streams = [client.begin("/files/large", "u=2"), client.begin("/urgent/large", "u=6")]
        ready(client, streams)
        assert client.open(LENGTH) == [streams[1]] * LENGTH
        assert client.streams[streams[1]].header(b"priority") == b"u=0", "the client gets it too"


def test_few_bytes_are_ahead_of_an_urgent_response(server: Server, folder: Path) -> None:
    """What the system holds for the socket cannot be overtaken; by itself it holds 3 MiB for this client."""
    (folder / "huge").write_bytes(bytes(32 << 20))
    with H2Client(server.listeners[1], window=64 << 20, receive_buffer=32_768) as client:
        huge = [client.request("GET", "/files/huge", [("priority", "u=5, i")]) for _ in range(4)]
        client.counted.update(huge)
        for stream in huge:
            client.head(stream)
        time.sleep(0.3)  # the client's own doing: it does not read, so that all is full
        urgent = client.request("GET", "/files/large", [("priority", "u=0")])
        before = sum(client.streams[stream].length for stream in huge)
        client.response(urgent)
        ahead = sum(client.streams[stream].length for stream in huge) - before
        assert ahead < 1 << 20, ahead


@pytest.mark.slow
def test_a_response_that_waits_for_others_is_not_cut_off(client: Watching, path: str) -> None:
    """``write_timeout`` is one second."""
    size = 64 * FRAME
    low = client.begin(path, "u=7")
    high = client.begin(f"/download?size={size}&piece={size}", "u=0")
    ready(client, [low, high])
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        client.open(1)
        time.sleep(0.2)
    assert client.streams[low].reset is None and client.streams[high].reset is None
    # Once the client opens no window at all, both have stalled.
    client.wait(lambda: client.streams[low].is_over and client.streams[high].is_over, "the write timeout")
    assert client.streams[low].reset == client.streams[high].reset == h2.errors.ErrorCodes.CANCEL


def test_the_first_settings_announce_the_scheme(server: Server) -> None:
    with H2Client(server.listeners[1]) as client:
        client.get()
        assert client.protocol.remote_settings[SETTINGS_NO_RFC7540_PRIORITIES] == 1


@pytest.mark.parametrize(
    ("stream", "payload", "code"),
    [
        (1, bytes((0, 0, 0, 1)), h2.errors.ErrorCodes.PROTOCOL_ERROR),
        (0, bytes((0, 0, 0, 0)), h2.errors.ErrorCodes.PROTOCOL_ERROR),
        (0, bytes((0, 0, 0, 2)), h2.errors.ErrorCodes.PROTOCOL_ERROR),
        (0, b"u=1", h2.errors.ErrorCodes.FRAME_SIZE_ERROR),
    ],
    ids=["on a stream", "for the connection", "for a promise that was not made", "too short"],
)
def test_frames_that_are_none_end_the_connection(server: Server, stream: int, payload: bytes, code: int) -> None:
    with Watching(server.listeners[1]) as client:
        client.head(client.begin("/"))
        client.send_frame(PRIORITY_UPDATE, stream, payload)
        assert client.wait_for_goaway().error_code == code
        client.wait_for_close()


def test_more_streams_than_may_be_open_end_the_connection(server: Server) -> None:
    with Watching(server.listeners[1]) as client:
        for number in range(100):
            client.send_frame(PRIORITY_UPDATE, 0, (1 + 2 * number).to_bytes(4, "big") + b"u=1")
        client.ping()
        assert client.get().body == b"hello"
        for number in range(2):
            client.send_frame(PRIORITY_UPDATE, 0, (301 + 2 * number).to_bytes(4, "big") + b"u=1")
        assert client.wait_for_goaway().error_code == h2.errors.ErrorCodes.PROTOCOL_ERROR


def test_a_flood_ends_the_connection_and_no_other(server: Server) -> None:
    with Watching(server.listeners[1]) as flooding, H2Client(server.listeners[1]) as other:
        stream = flooding.begin("/")
        flooding.head(stream)
        frame = (5).to_bytes(3, "big") + bytes((PRIORITY_UPDATE, 0)) + bytes(4) + stream.to_bytes(4, "big") + b"i"
        with pytest.raises((Lost, ConnectionError)):
            for _ in range(200):
                flooding.socket.sendall(frame * 100)
                flooding.ping()
        assert flooding.goaway is not None
        assert flooding.goaway.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
        assert other.get().body == b"hello"
