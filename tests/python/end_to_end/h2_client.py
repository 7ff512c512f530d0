"""A blocking HTTP/2 client over hyper-h2 in which the test decides about windows, resets and when to read."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from end_to_end.server import DEADLINE, Listening

if TYPE_CHECKING:
    from typing_extensions import Self

Headers = list[tuple[bytes, bytes]]


@dataclass
class Stream:
    """The answer on one stream so far."""

    id: int
    informational: list[Headers] = field(default_factory=list)
    headers: Headers = field(default_factory=list)
    trailers: Headers | None = None
    length: int = 0
    pieces: list[bytes] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    #: Body bytes that the server has not been credited with.
    owed: int = 0
    #: Of the request that the server has promised, if it has begun the stream.
    promise: Headers | None = None
    #: Streams that were promised on this one.
    promised: list[int] = field(default_factory=list)

    @property
    def status(self) -> int | None:
        """The final status, once it is here."""
        return int(dict(self.headers)[b":status"]) if self.headers else None

    @property
    def body(self) -> bytes:
        """The body so far."""
        return b"".join(self.pieces)

    def header(self, name: bytes) -> bytes | None:
        """The one value of a field, if it has one."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.reset is not None


class Lost(Exception):
    """The server has closed the connection while something was expected."""


class H2Client:
    """A connection."""

    errors = h2.errors.ErrorCodes

    def __init__(
        self,
        where: Listening,
        *,
        tls: ssl.SSLContext | None = None,
        window: int = 1 << 20,
        deadline: float = DEADLINE,
        receive_buffer: int = 0,
        push: bool = False,
        connection_window: int = 1 << 30,
        name: str = "localhost",
    ) -> None:
        """``window`` is that of each stream; the connection's is ``connection_window`` larger than its first one.
        ``push``: promises are welcome."""
        self.where = where
        self.deadline = deadline
        if where.path is not None:
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket(socket.AF_INET)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(deadline)
        self.socket.connect(where.path or (where.host, where.port))
        self.scheme = b"http"
        if tls is not None:
            self.scheme = b"https"
            self.socket = tls.wrap_socket(self.socket, server_hostname=name)
            assert self.socket.selected_alpn_protocol() == "h2"
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.protocol = h2.connection.H2Connection(config)
        # Values that are set later would count only once the server has agreed to them.
        self.protocol.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: int(push),
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
            },
        )
        self.protocol.initiate_connection()
        if connection_window:
            self.protocol.increment_flow_control_window(connection_window)
        self.streams: dict[int, Stream] = {}
        #: Streams whose bytes are not credited to the server.
        self.held: set[int] = set()
        #: Streams whose bytes are counted and not kept.
        self.counted: set[int] = set()
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.closed = False
        self.pings = 0
        self._input = b""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection without a word."""
        self.socket.close()

    @property
    def port(self) -> int:
        """This end's port."""
        return int(self.socket.getsockname()[1])

    # ---- to the server ----

    def flush(self) -> None:
        """Writes what the protocol has to say."""
        data = self.protocol.data_to_send()
        if data:
            self.socket.sendall(data)

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Iterable[tuple[str, str] | tuple[bytes, bytes]] = (),
        body: bytes | None = None,
        *,
        end: bool = True,
    ) -> int:
        """Sends a request with as much of a body as fits the windows, and returns its stream. ``end`` ends it."""
        stream = self.protocol.get_next_available_stream_id()
        head = [
            (":method", method),
            (":scheme", self.scheme.decode()),
            (":authority", self.where.authority),
            (":path", path),
            *headers,
        ]
        self.streams[stream] = Stream(stream)
        self.protocol.send_headers(stream, head, end_stream=end and body is None)
        self.flush()
        if body is not None:
            self.send(stream, body, end=end)
        return stream

    def send(self, stream: int, body: bytes, *, end: bool = False) -> None:
        """Sends bytes of a body, and waits for windows where need be."""
        while body and not self.streams[stream].is_over:
            room = self.room(stream)
            if room == 0:
                self.pump()
                continue
            self.protocol.send_data(stream, body[:room])
            body = body[room:]
            self.flush()
        if end and not self.streams[stream].is_over:
            self.protocol.end_stream(stream)
            self.flush()

    def trailers(self, stream: int, headers: Iterable[tuple[str, str]]) -> None:
        """Ends a request with trailers."""
        self.protocol.send_headers(stream, list(headers), end_stream=True)
        self.flush()

    def send_what_fits(self, left: dict[int, int]) -> int:
        """Sends as much as the windows take of what is ``left`` of each stream's body, in bytes, until they take no more.
        Returns the number of bytes that were sent."""
        sent = 0
        while True:
            before = sent
            for stream in left:
                while piece := min(self.room(stream), left[stream]):
                    self.send(stream, bytes(piece))
                    left[stream] -= piece
                    sent += piece
            if sent == before:
                self.ping()  # what the server had to say before has come by then
                if not any(self.room(stream) for stream in left if left[stream]):
                    return sent

    def room(self, stream: int) -> int:
        """Body bytes that may be sent at once."""
        return min(self.protocol.local_flow_control_window(stream), self.protocol.max_outbound_frame_size)

    def window_left(self, stream: int) -> int:
        """Body bytes that the windows take."""
        return self.protocol.local_flow_control_window(stream)

    def reset(self, stream: int, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        """Resets a stream."""
        self.protocol.reset_stream(stream, code)
        self.flush()

    def release(self, stream: int) -> None:
        """Credits the server from now on, and with what was held back."""
        self.held.discard(stream)
        self._credit(self.streams[stream])
        self.flush()

    # ---- from the server ----

    def wait(self, condition: Callable[[], object], what: str = "", deadline: float | None = None) -> None:
        """Reads until the condition holds."""
        end = time.monotonic() + (deadline or self.deadline)
        while not condition():
            if self.closed:
                raise Lost(f"waiting for {what}: {self.goaway}")
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

    def get(self, path: str = "/", headers: Iterable[tuple[str, str] | tuple[bytes, bytes]] = (), deadline: float | None = None) -> Stream:
        """A whole exchange."""
        return self.response(self.request("GET", path, headers), deadline)

    def wait_for_goaway(self) -> h2.events.ConnectionTerminated:
        """Waits until the server says that no more streams will be served."""
        self.wait(lambda: self.goaway, "GOAWAY")
        assert self.goaway is not None
        return self.goaway

    def wait_for_close(self) -> None:
        """Waits until the server has closed the connection."""
        self.wait(lambda: self.closed, "the end of the connection")

    def ping(self, deadline: float = DEADLINE) -> float:
        """Seconds of a round trip to the server's HTTP/2."""
        before, began = self.pings, time.monotonic()
        self.protocol.ping(b"hcrs-e2e")
        self.flush()
        self.wait(lambda: self.pings > before, "PING's answer", deadline)
        return time.monotonic() - began

    def is_full(self, stream: int) -> bool:
        """Whether the server has used a stream's window, or the connection's."""
        return self.protocol.remote_flow_control_window(stream) == 0

    def offers_extended_connect(self) -> bool:
        """Whether the server takes WebSockets, once its settings have come."""
        self.ping()
        return bool(self.protocol.remote_settings.enable_connect_protocol)

    def pump(self, timeout: float | None = None) -> None:
        """Reads once, and takes in what has come."""
        self.flush()
        self.socket.settimeout(timeout or self.deadline)
        try:
            data = self.socket.recv(1 << 16)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""  # a client that is cut off sees this as well as an orderly end
        except TimeoutError:
            return
        finally:
            self.socket.settimeout(self.deadline)
        if not data:
            self.closed = True
            return
        self._input += data
        while len(self._input) >= 9:
            length = 9 + int.from_bytes(self._input[:3], "big")
            if len(self._input) < length:
                break
            frame, self._input = self._input[:length], self._input[length:]
            for event in self.protocol.receive_data(frame):
                self._take(event)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event
            # hyper-h2 takes GOAWAY for the end, but it only ends the making of streams (RFC 9113 section 6.8).
            self.protocol.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            return
        if isinstance(event, h2.events.PingAckReceived):
            self.pings += 1
            return
        if isinstance(event, h2.events.PushedStreamReceived):
            pushed, parent = event.pushed_stream_id, event.parent_stream_id
            assert pushed is not None and parent is not None and event.headers is not None
            self.streams[pushed] = Stream(pushed, promise=list(event.headers))
            self.streams[parent].promised.append(pushed)
            return
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            stream.informational.append(list(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            stream.headers = list(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = list(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            stream.length += len(event.data)
            if stream.id not in self.counted:
                stream.pieces.append(event.data)
            stream.owed += event.flow_controlled_length
            if stream.id not in self.held:
                self._credit(stream)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code

    def _credit(self, stream: Stream) -> None:
        if stream.owed:
            owed, stream.owed = stream.owed, 0
            self.protocol.acknowledge_received_data(owed, stream.id)

    def _summary(self) -> str:
        return ", ".join(
            f"{stream.id}: {stream.status} {stream.length} bytes, ended {stream.ended}, reset {stream.reset}"
            for stream in self.streams.values()
        )
