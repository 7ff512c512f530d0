"""A connection of HTTP/3 that many tasks share, and that moves to other ports now and then."""

import asyncio
import contextlib
import socket
import time

from aioquic.h3 import events as h3_events
from aioquic.h3.connection import ErrorCode, H3Connection
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from tally import Lost, Refused

CONNECT_S = 20
# What a stream's send may have given to the protocol beyond what the server has acknowledged, in bytes.
AHEAD = 1 << 16


class Stream3:
    """One exchange; what has come waits to be taken. It has the face of over_h2's."""

    def __init__(self, connection: "H3", number: int) -> None:
        self.connection, self.id = connection, number
        self.status = 0
        self.fields: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.ended = False
        self.failure: Exception | None = None
        self.changed = asyncio.Event()

    async def wait(self) -> None:
        """For anything new."""
        self.changed.clear()
        await self.changed.wait()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The response's head."""
        while not self.status:
            if self.failure:
                raise self.failure
            await self.wait()
        return self.status, self.fields

    async def receive(self) -> bytes:
        """The next bytes of the body; none at its end."""
        while not self.pieces:
            if self.ended:
                return b""
            if self.failure:
                raise self.failure
            await self.wait()
        data, self.pieces = b"".join(self.pieces), []
        return data

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Body bytes, as far as the server acknowledges them."""
        while data:
            if self.failure:
                raise self.failure
            if self.ended:
                return  # it was answered already
            room = AHEAD - self.connection.unacknowledged(self.id)
            if room <= 0:
                await self.wait()
                continue
            self.connection.http.send_data(self.id, bytes(data[:room]), end_stream=False)
            data = data[room:]
            self.connection.flush()
        if end and not self.ended and not self.failure:
            self.connection.http.send_data(self.id, b"", end_stream=True)
            self.connection.flush()

    def reset(self) -> None:
        """Gives it up."""
        if not self.ended and not self.failure and not self.connection.is_over:
            self.connection.cancel(self.id)
        self.failure = self.failure or Lost("given up")
        self.connection.forget(self)


class H3:
    """The connection. Takes no new streams once the server has closed it or said GOAWAY."""

    def __init__(self, port: int, cafile: str) -> None:
        self.server = ("127.0.0.1", port)
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost", idle_timeout=120)
        configuration.load_verify_locations(cafile)
        self.quic = QuicConnection(configuration=configuration)
        self.http: H3Connection | None = None
        self.streams: dict[int, Stream3] = {}
        self.is_over = False
        self.leaves = False
        self.moves = 0
        self._connected = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._goaway = b""
        self._bind()

    @classmethod
    async def open(cls, port: int, cafile: str) -> "H3":
        """Connects."""
        made = cls(port, cafile)
        made.quic.connect(made.server, time.time())
        made.flush()
        async with asyncio.timeout(CONNECT_S):
            await made._connected.wait()
        if made.is_over:
            raise Lost("the handshake has failed")
        return made

    # ---- the transport ----

    def _bind(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self._loop.add_reader(self.socket, self._readable)

    def _unbind(self) -> None:
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def move(self, *, new_id: bool) -> None:
        """Goes on from another port: with another connection id as a client in another network, or without as one behind a NAT
        that has forgotten it. What is on its way to the port before is lost."""
        if self.is_over:
            return
        self._unbind()
        self._bind()
        self.moves += 1
        if new_id:
            self.quic.change_connection_id()
        self.quic.send_ping(self.moves)
        self.flush()

    def _readable(self) -> None:
        for _ in range(64):
            try:
                data, address = self.socket.recvfrom(1 << 16)
            except ConnectionRefusedError:
                continue
            except OSError:
                break
            self.quic.receive_datagram(data, address, time.time())
        self._take()
        self.flush()

    def _timed(self) -> None:
        self._timer = None
        self.quic.handle_timer(time.time())
        self._take()
        self.flush()

    def flush(self) -> None:
        """Sends what there is, and sets the timer."""
        if self.socket.fileno() < 0:
            return
        for data, address in self.quic.datagrams_to_send(time.time()):
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                self.socket.sendto(data, address)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.quic.get_timer()
        if due is not None:
            self._timer = self._loop.call_later(max(0.001, due - time.time()), self._timed)

    def close(self, *, abort: bool = False) -> None:
        """With a word or without."""
        if not abort and not self.is_over:
            self.quic.close(error_code=ErrorCode.H3_NO_ERROR)
            self.flush()
        self._end(Lost("closed"))

    def _end(self, why: Exception) -> None:
        self.is_over = self.leaves = True
        self._connected.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.socket.fileno() >= 0:
            self._unbind()
        for stream in list(self.streams.values()):
            self._fail(stream, why)

    # ---- streams ----

    def unacknowledged(self, number: int) -> int:
        """Bytes of a stream that the server may not have."""
        stream = self.quic._streams.get(number)
        return len(stream.sender._buffer) if stream is not None else 0

    def ask(self, method: str, path: str, number: int, headers=(), *, end: bool = True) -> Stream3:
        """Sends a request's head."""
        if self.leaves:
            raise Refused("GOAWAY")
        stream = Stream3(self, self.quic.get_next_available_stream_id())
        head = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
        pseudo = [field for field in headers if field[0].startswith(":")]
        rest = [field for field in headers if not field[0].startswith(":")]
        self.streams[stream.id] = stream
        fields = [*head, *pseudo, ("x-number", str(number)), *rest]
        self.http.send_headers(stream.id, [(name.encode(), value.encode()) for name, value in fields], end_stream=end)
        self.flush()
        return stream

    def cancel(self, number: int) -> None:
        """Resets both directions of a stream."""
        with contextlib.suppress(ValueError, AssertionError):
            self.quic.stop_stream(number, ErrorCode.H3_REQUEST_CANCELLED)
        stream = self.quic._streams.get(number)
        if stream is not None and not stream.sender.is_finished:
            self.quic.reset_stream(number, ErrorCode.H3_REQUEST_CANCELLED)
        self.flush()

    def forget(self, stream: Stream3) -> None:
        self.streams.pop(stream.id, None)
        if self.leaves and not self.streams and not self.is_over:
            self.close()

    def _fail(self, stream: Stream3, why: Exception) -> None:
        if not stream.ended:
            stream.failure = stream.failure or why
        stream.changed.set()
        self.streams.pop(stream.id, None)

    def _take(self) -> None:
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, quic_events.HandshakeCompleted):
                self.http = H3Connection(self.quic)
                self._connected.set()
                continue
            if isinstance(event, quic_events.StreamReset):
                self._reset(event)
            elif isinstance(event, quic_events.StreamDataReceived) and event.stream_id % 4 == 3:
                # The settings come first, so that any later frame on the server's control stream is GOAWAY.
                self.leaves |= self._says_goaway(event)
            if self.http is not None:
                for of_http in self.http.handle_event(event):
                    self._take_http(of_http)
        closed = self.quic._close_event
        if closed is not None and not self.is_over:
            code = closed.error_code
            in_order = code == ErrorCode.H3_NO_ERROR and closed.frame_type is None
            self._end(Refused("closed") if in_order else Lost(f"closed with {code:#x} {closed.reason_phrase!r}"))
            return
        for stream in self.streams.values():
            stream.changed.set()  # what was acknowledged makes room

    def _says_goaway(self, event: quic_events.StreamDataReceived) -> bool:
        held = self._goaway = self._goaway + event.data if event.stream_id == 3 else self._goaway
        if len(held) < 3 or held[0] != 0:
            return False
        at = 1
        while at + 1 < len(held):
            kind, length = held[at], held[at + 1]  # both are short in what hcrs says
            if kind == 7:
                return True
            at += 2 + length
        return False

    def _reset(self, event: quic_events.StreamReset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        if event.error_code == ErrorCode.H3_REQUEST_REJECTED:
            self._fail(stream, Refused("H3_REQUEST_REJECTED"))
        else:
            self._fail(stream, Lost(f"reset with {event.error_code:#x}"))

    def _take_http(self, event: h3_events.H3Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", -1))
        if stream is None:
            return
        if isinstance(event, h3_events.HeadersReceived) and not stream.status:
            stream.fields = {name.decode(): value.decode() for name, value in event.headers}
            stream.status = int(stream.fields[":status"])
            stream.ended |= event.stream_ended
        elif isinstance(event, h3_events.DataReceived):
            if event.data:
                stream.pieces.append(event.data)
            stream.ended |= event.stream_ended
        if stream.ended:
            self.forget(stream)
        stream.changed.set()
