"""A blocking HTTP/3 client over aioquic in which the test decides about windows, resets, addresses and when to read.

It has the face of ``h2_client.H2Client``. The socket is read, and timers run, only while the test waits for something.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from aioquic._buffer import Buffer, BufferReadError
from aioquic.h3 import events as h3_events
from aioquic.h3.connection import ErrorCode, FrameType, H3Connection, H3Stream, Setting, StreamType
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from end_to_end.h2_client import Lost, Stream
from end_to_end.server import DEADLINE, Listening

if TYPE_CHECKING:
    from aioquic.h3.events import Headers
    from aioquic.quic.packet_builder import QuicPacketBuilder
    from aioquic.quic.recovery import QuicPacketSpace
    from aioquic.quic.stream import QuicStream
    from typing_extensions import Self

#: What a connection allows the server to send beside what is credited, in bytes.
_ALL = 1 << 40


class Goaway(NamedTuple):
    """The server will not process requests on streams from ``last_stream_id`` on. A code is part of the close."""

    last_stream_id: int


class _Quic(QuicConnection):
    """A connection that credits the server only as the client says."""

    client: H3Client

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        is_response = stream.stream_id is not None and stream.stream_id in self.client.streams
        if is_response and stream.max_stream_data_local:
            # As large as the window beyond what was taken, and not twice as large each time.
            if stream.stream_id not in self.client.held:
                stream.max_stream_data_local = max(
                    stream.max_stream_data_local, stream.receiver.starting_offset() + self.client.window
                )
            doubled_from, stream.receiver.highest_offset = stream.receiver.highest_offset, 0
            super()._write_stream_limits(builder, space, stream)
            stream.receiver.highest_offset = doubled_from
        else:
            super()._write_stream_limits(builder, space, stream)


class _Http(H3Connection):
    """A connection that takes ``content-length`` of a response to HEAD, and of 304, for what another would have."""

    client: H3Client

    def _decode_headers(self, stream_id: int, frame_data: bytes | None) -> Headers:
        headers = super()._decode_headers(stream_id, frame_data)
        if (b":status", b"304") in headers:
            self.client.heads.add(stream_id)
        return headers

    def _check_content_length(self, stream: H3Stream) -> None:
        if stream.stream_id not in self.client.heads:
            super()._check_content_length(stream)


class _Control:
    """The GOAWAY frames of the server's control stream, which aioquic drops."""

    def __init__(self) -> None:
        #: The bytes of streams of the server. They are few, and read from the beginning each time.
        self._streams: dict[int, bytes] = {}

    def goaways(self, event: quic_events.StreamDataReceived) -> list[Goaway]:
        """All that have come, with what has come now on a stream of the server's."""
        held = self._streams[event.stream_id] = self._streams.get(event.stream_id, b"") + event.data
        buffer, found = Buffer(data=held), []
        with contextlib.suppress(BufferReadError):
            if buffer.pull_uint_var() == StreamType.CONTROL:
                while not buffer.eof():
                    kind, content = buffer.pull_uint_var(), buffer.pull_bytes(buffer.pull_uint_var())
                    if kind == FrameType.GOAWAY:
                        found.append(Goaway(Buffer(data=content).pull_uint_var()))
        return found


class Errors(IntEnum):
    """Codes under the names that those of HTTP/2 have."""

    NO_ERROR = ErrorCode.H3_NO_ERROR
    CANCEL = ErrorCode.H3_REQUEST_CANCELLED
    INTERNAL_ERROR = ErrorCode.H3_INTERNAL_ERROR
    PROTOCOL_ERROR = ErrorCode.H3_MESSAGE_ERROR


class H3Client:
    """A connection."""

    errors = Errors
    scheme = b"https"

    def __init__(
        self,
        where: Listening,
        *,
        tls: ssl.SSLContext | None = None,
        window: int = 1 << 20,
        deadline: float = DEADLINE,
        cafile: str | None = None,
        certificate: tuple[str, str] | None = None,
        server_name: str = "localhost",
        alpn: tuple[str, ...] = ("h3",),
        large_hello: bool = False,
        versions: list[int] | None = None,
        idle_timeout: float = 60.0,
        receive_buffer: int = 4 << 20,
    ) -> None:
        """``window`` is that of each stream; the connection's is always large. The server's certificate is verified if there
        is a ``cafile``. ``large_hello``: the first message takes two datagrams, as with post-quantum keys."""
        assert where.path is None
        del tls  # the face of H2Client; QUIC has a configuration of its own
        self.where = where
        self.deadline = deadline
        self.window = window
        self.server = (where.host, where.port)
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=list(alpn),
            server_name=server_name,
            max_data=_ALL,
            max_stream_data=window,
            quantum_readiness_test=large_hello,
            idle_timeout=idle_timeout,
            verify_mode=ssl.CERT_REQUIRED if cafile else ssl.CERT_NONE,
        )
        if versions is not None:
            configuration.supported_versions = versions
            configuration.original_version = versions[0]
        if cafile is not None:
            configuration.load_verify_locations(cafile)
        if certificate is not None:
            configuration.load_cert_chain(*certificate)
        self.streams: dict[int, Stream] = {}
        #: Streams whose bytes are not credited to the server.
        self.held: set[int] = set()
        #: Streams whose bytes are counted and not kept.
        self.counted: set[int] = set()
        #: Streams whose responses have no body.
        self.heads: set[int] = set()
        self.goaways: list[Goaway] = []
        self._control = _Control()
        self.termination: quic_events.ConnectionTerminated | None = None
        self.handshaken: quic_events.HandshakeCompleted | None = None
        self.closed = False
        self.pings = 0
        self.socket = self._new_socket(receive_buffer)
        self.quic = _Quic(configuration=configuration)
        self.quic.client = self
        self.protocol: _Http | None = None
        self.quic.connect(self.server, time.time())
        self.flush()
        self.wait(lambda: self.handshaken, "the handshake")
        self.protocol = _Http(self.quic)
        self.protocol.client = self
        self._take_events()
        self.flush()

    @staticmethod
    def _new_socket(receive_buffer: int = 4 << 20) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.bind(("127.0.0.1", 0))
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection, as a client does that has what it wants."""
        if self.socket.fileno() >= 0:
            if not self.closed:
                self.quic.close(error_code=ErrorCode.H3_NO_ERROR)
                with contextlib.suppress(OSError):
                    self.flush()
            self.socket.close()

    def vanish(self) -> None:
        """Ends without a word, as a client whose network is gone."""
        self.socket.close()

    @property
    def goaway(self) -> Goaway | None:
        """The last GOAWAY."""
        return self.goaways[-1] if self.goaways else None

    @property
    def retries(self) -> int:
        """How often the server has asked for a proof of the address."""
        return int(self.quic._retry_count)

    @property
    def port(self) -> int:
        """This end's port."""
        return int(self.socket.getsockname()[1])

    def move(self) -> None:
        """Continues from another port, as a client behind a NAT that has forgotten it."""
        before, self.socket = self.socket, self._new_socket()
        before.close()

    def migrate(self) -> None:
        """Continues from another port with another connection id, as a client that has changed its network."""
        self.move()
        self.quic.change_connection_id()

    # ---- to the server ----

    def flush(self) -> None:
        """Sends what the protocol has to say."""
        for data, address in self.quic.datagrams_to_send(time.time()):
            with contextlib.suppress(ConnectionRefusedError):
                self.socket.sendto(data, address)

    def request(
        self,
        method: str = "GET",
        path: str | None = "/",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        *,
        end: bool = True,
    ) -> int:
        """Sends a request with a body, and returns its stream. ``end`` ends it. Without a ``path`` there is no ``:path``,
        nor a ``:scheme``."""
        assert self.protocol is not None
        stream = self.quic.get_next_available_stream_id()
        target = [] if path is None else [(":scheme", self.scheme.decode()), (":path", path)]
        head = [(":method", method), (":authority", self.where.authority), *target, *headers]
        self.streams[stream] = Stream(stream)
        if method == "HEAD":
            self.heads.add(stream)
        encoded = [(name.lower().encode(), value.encode()) for name, value in head]
        self.protocol.send_headers(stream, encoded, end_stream=end and body is None)
        self.flush()
        if body is not None:
            self.send(stream, body, end=end)
        return stream

    def send(self, stream: int, body: bytes, *, end: bool = False) -> None:
        """Sends bytes of a body, and waits for windows where need be, and until all is on its way."""
        assert self.protocol is not None
        while body and not self.streams[stream].is_over:
            room = self.room(stream)
            if room == 0:
                self.pump()
                continue
            self.protocol.send_data(stream, body[:room], end_stream=False)
            body = body[room:]
            self.flush()
        if end and not self.streams[stream].is_over:
            self.protocol.send_data(stream, b"", end_stream=True)
            self.flush()
        # The congestion window may have no room for it: no datagram leaves while the test waits for something else.
        self.wait(lambda: self._is_sent(stream) or self.streams[stream].is_over, f"stream {stream} to be sent")

    def trailers(self, stream: int, headers: Iterable[tuple[str, str]]) -> None:
        """Ends a request with trailers."""
        assert self.protocol is not None
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        self.protocol.send_headers(stream, encoded, end_stream=True)
        self.flush()

    def send_what_fits(self, left: dict[int, int]) -> int:
        """Sends as much as the windows take of what is ``left`` of each stream's body, in bytes, until they take no more.
        Returns the number of bytes that were sent."""
        sent = 0
        while True:
            before = sent
            for stream in left:
                while (piece := min(self.room(stream), left[stream])) > 0:
                    self.send(stream, bytes(piece))
                    left[stream] -= piece
                    sent += piece
            if sent == before:
                self.ping()  # what the server had to say before has come by then
                if not any(self.room(stream) > 0 for stream in left if left[stream]):
                    return sent

    def room(self, stream: int) -> int:
        """Body bytes that may be given to the protocol at once, without the frames around them: as many as the server's
        windows allow, and no more than a little beyond what it has not acknowledged."""
        return max(0, min(self.window_left(stream), (1 << 16) - self._unsent() - 16))

    def window_left(self, stream: int) -> int:
        """Body bytes that the windows take, without the frames around them."""
        known = self.quic._streams[stream]
        of_stream = known.max_stream_data_remote - known.sender._buffer_stop
        of_connection = self.quic._remote_max_data - self.quic._remote_max_data_used - self._unsent()
        return min(of_stream, of_connection) - 16

    def _is_sent(self, stream: int) -> bool:
        known = self.quic._streams.get(stream)
        return known is None or (len(known.sender._pending) == 0 and not known.sender._pending_eof)

    def _unsent(self) -> int:
        """Bytes that the server has not acknowledged."""
        return sum(len(it.sender._buffer) for it in self.quic._streams.values())

    def reset(self, stream: int, code: int = ErrorCode.H3_REQUEST_CANCELLED) -> None:
        """Resets a stream in both directions."""
        self.quic.reset_stream(stream, code)
        self.quic.stop_stream(stream, code)
        self.flush()

    def release(self, stream: int) -> None:
        """Credits the server from now on, and with what was held back."""
        self.held.discard(stream)
        self.flush()

    # ---- from the server ----

    def wait(self, condition: Callable[[], object], what: str = "", deadline: float | None = None) -> None:
        """Reads until the condition holds."""
        end = time.monotonic() + (deadline or self.deadline)
        while not condition():
            if self.closed:
                raise Lost(f"waiting for {what}: {self.termination}, {self.goaway}")
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"waited in vain for {what}; streams: {self._summary()}")
            self.pump(left)
        self.flush()

    def response(self, stream: int, deadline: float | None = None) -> Stream:
        """Waits until a stream is over."""
        self.wait(lambda: self.streams[stream].is_over, f"the end of stream {stream}", deadline)
        return self.streams[stream]

    def head(self, stream: int, deadline: float | None = None) -> Stream:
        """Waits for a response's head."""
        self.wait(
            lambda: self.streams[stream].headers or self.streams[stream].is_over, f"the head of {stream}", deadline
        )
        return self.streams[stream]

    def get(self, path: str = "/", headers: Iterable[tuple[str, str]] = (), deadline: float | None = None) -> Stream:
        """A whole exchange."""
        return self.response(self.request("GET", path, headers), deadline)

    def wait_for_goaway(self) -> Goaway:
        """Waits until the server says that no more streams will be served."""
        self.wait(lambda: self.goaways, "GOAWAY")
        return self.goaways[-1]

    def wait_for_close(self) -> quic_events.ConnectionTerminated:
        """Waits until the server has closed the connection. Returns how."""
        self.wait(lambda: self.closed, "the end of the connection")
        assert self.termination is not None
        return self.termination

    def ping(self, deadline: float = DEADLINE) -> float:
        """Seconds of a round trip to the server."""
        before, began = self.pings, time.monotonic()
        self.quic.send_ping(before)
        self.flush()
        self.wait(lambda: self.pings > before, "PING's answer", deadline)
        return time.monotonic() - began

    @property
    def settings(self) -> dict[int, int]:
        """What the server has announced, once it has."""
        assert self.protocol is not None
        return dict(self.protocol.received_settings or {})

    def wait_for_settings(self) -> dict[int, int]:
        """Waits for the server's settings."""
        self.wait(lambda: self.settings, "SETTINGS")
        return self.settings

    def is_full(self, stream: int) -> bool:
        """Whether the server has used a stream's window, but for bytes that no frame fits in."""
        known = self.quic._streams.get(stream)
        return known is not None and known.receiver.highest_offset > known.max_stream_data_local - 16

    def offers_extended_connect(self) -> bool:
        """Whether the server takes WebSockets, once its settings have come."""
        return self.wait_for_settings().get(Setting.ENABLE_CONNECT_PROTOCOL) == 1

    def pump(self, timeout: float | None = None) -> None:
        """Waits for datagrams or a timer, and takes in what has come."""
        self.flush()
        end = time.monotonic() + (timeout or self.deadline)
        timer = self.quic.get_timer()
        until_timer = self.deadline if timer is None else timer - time.time()
        left = max(0.0001, min(end - time.monotonic(), until_timer))
        self.socket.settimeout(left)
        try:
            data, address = self.socket.recvfrom(1 << 16)
        except (TimeoutError, BlockingIOError):
            pass
        except ConnectionRefusedError:
            pass  # of a server that is gone, which QUIC finds out by its timers
        else:
            self.quic.receive_datagram(data, address, time.time())
            self._receive_more()
        timer = self.quic.get_timer()
        if timer is not None and timer <= time.time():
            self.quic.handle_timer(time.time())
        self._take_events()
        self.flush()

    def _receive_more(self) -> None:
        """Takes in what is there already."""
        self.socket.settimeout(0)
        for _ in range(64):
            try:
                data, address = self.socket.recvfrom(1 << 16)
            except OSError:
                return
            self.quic.receive_datagram(data, address, time.time())

    def _take_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, quic_events.HandshakeCompleted):
                self.handshaken = event
                return  # HTTP begins before other events are taken
            if isinstance(event, quic_events.ConnectionTerminated):
                self.termination, self.closed = event, True
            elif isinstance(event, quic_events.PingAcknowledged):
                self.pings += 1
            elif isinstance(event, quic_events.StreamReset) and event.stream_id in self.streams:
                self.streams[event.stream_id].reset = event.error_code
            elif isinstance(event, quic_events.StreamDataReceived) and event.stream_id % 4 == 3:
                self.goaways = self._control.goaways(event) or self.goaways
            if self.protocol is not None:
                for of_http in self.protocol.handle_event(event):
                    self._take(of_http)
        if self.quic._close_event is not None:
            # The event itself comes only after some round trips, in which late datagrams are awaited.
            self.termination, self.closed = self.quic._close_event, True

    def _take(self, event: h3_events.H3Event) -> None:
        if isinstance(event, h3_events.HeadersReceived):
            stream = self.streams.get(event.stream_id)
            if stream is None:
                return
            status = dict(event.headers).get(b":status")
            if stream.headers:
                stream.trailers = list(event.headers)
            elif status is not None and status.startswith(b"1"):
                stream.informational.append(list(event.headers))
            else:
                stream.headers = list(event.headers)
            stream.ended |= event.stream_ended
        elif isinstance(event, h3_events.DataReceived):
            stream = self.streams.get(event.stream_id)
            if stream is None:
                return
            stream.length += len(event.data)
            if stream.id not in self.counted:
                stream.pieces.append(event.data)
            stream.ended |= event.stream_ended

    def _summary(self) -> str:
        return ", ".join(
            f"{stream.id}: {stream.status} {stream.length} bytes, ended {stream.ended}, reset {stream.reset}"
            for stream in self.streams.values()
        )


def first_datagrams(count: int) -> Iterator[bytes]:
    """The first datagrams of that many connections, which their clients do not continue."""
    for _ in range(count):
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
        quic = QuicConnection(configuration=configuration)
        quic.connect(("127.0.0.1", 443), time.time())
        yield quic.datagrams_to_send(time.time())[0][0]
