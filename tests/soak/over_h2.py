"""A connection of HTTP/2 that many tasks share, with TLS or without."""

import asyncio
import ssl

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tally import Lost, Refused

WINDOW = 1 << 18


class Stream:
    """One exchange; what has come waits to be taken."""

    def __init__(self, connection: "H2", number: int) -> None:
        self.connection, self.id = connection, number
        self.status = 0
        self.fields: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.owed = 0
        self.ended = False
        self.failure: Exception | None = None
        self.changed = asyncio.Event()

    def change(self) -> None:
        self.changed.set()

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
        self.give_back()
        return data

    def give_back(self) -> None:
        """Opens the windows again by what has come. The connection's is every stream's, so that what a stream that was given up
        has not given back would stop the others one day."""
        owed, self.owed = self.owed, 0
        if owed and not self.connection.is_over:
            self.connection.protocol.acknowledge_received_data(owed, self.id)
            self.connection.flush()

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Body bytes, as the windows take them."""
        protocol = self.connection.protocol
        while data:
            if self.failure:
                raise self.failure
            if self.ended:
                return  # it was answered already
            room = min(protocol.local_flow_control_window(self.id), protocol.max_outbound_frame_size, len(data))
            if room <= 0:
                await self.wait()
                continue
            protocol.send_data(self.id, data[:room])
            data = data[room:]
            self.connection.flush()
            await self.connection.drained()
        if end and not self.ended and not self.failure:
            protocol.end_stream(self.id)
            self.connection.flush()

    def reset(self) -> None:
        """Gives it up."""
        self.give_back()
        if not self.ended and not self.failure and not self.connection.is_over:
            self.connection.protocol.reset_stream(self.id, h2.errors.ErrorCodes.CANCEL)
            self.connection.flush()
        self.failure = self.failure or Lost("given up")
        self.connection.forget(self)


class H2(asyncio.Protocol):
    """The connection. Takes no new streams once the server has said GOAWAY."""

    def __init__(self) -> None:
        self.protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.protocol.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            },
        )
        self.streams: dict[int, Stream] = {}
        self.scheme = "http"
        self.is_over = False
        self.leaves = False
        self._input = b""
        self.extended = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None) -> "H2":
        """Connects, and waits for the server's settings."""
        loop, name = asyncio.get_running_loop(), "localhost" if tls else None
        _, made = await loop.create_connection(cls, "127.0.0.1", port, ssl=tls, server_hostname=name)
        if tls:
            made.scheme = "https"
        await made.extended.wait()
        return made

    # ---- the transport ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.protocol.initiate_connection()
        self.protocol.increment_flow_control_window(1 << 24)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(Lost(f"the connection has ended: {error!r}"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def drained(self) -> None:
        """Waits while the socket is full."""
        await self._writable.wait()

    def flush(self) -> None:
        data = self.protocol.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def close(self, *, abort: bool = False) -> None:
        """Without a word."""
        self._end(Lost("closed"))
        self.transport.abort() if abort else self.transport.close()

    def _end(self, why: Exception) -> None:
        self.is_over = self.leaves = True
        self._writable.set()
        self.extended.set()
        for stream in list(self.streams.values()):
            self._fail(stream, why)

    # ---- streams ----

    def ask(self, method: str, path: str, number: int, headers=(), *, end: bool = True) -> Stream:
        """Sends a request's head."""
        if self.leaves:
            raise Refused("GOAWAY")
        stream = Stream(self, self.protocol.get_next_available_stream_id())
        head = [(":method", method), (":scheme", self.scheme), (":authority", "localhost"), (":path", path)]
        pseudo = [field for field in headers if field[0].startswith(":")]
        rest = [field for field in headers if not field[0].startswith(":")]
        self.streams[stream.id] = stream
        self.protocol.send_headers(stream.id, [*head, *pseudo, ("x-number", str(number)), *rest], end_stream=end)
        self.flush()
        return stream

    def forget(self, stream: Stream) -> None:
        self.streams.pop(stream.id, None)
        if self.leaves and not self.streams and not self.is_over:
            self.close()

    def _fail(self, stream: Stream, why: Exception) -> None:
        stream.give_back()
        if not stream.ended:
            stream.failure = stream.failure or why
        stream.change()
        self.streams.pop(stream.id, None)

    def data_received(self, data: bytes) -> None:
        # hyper-h2 takes GOAWAY for the end, but only new streams end with it (RFC 9113 section 6.8): frames after it
        # would be refused, so that each is given by itself.
        self._input += data
        at = 0
        try:
            while len(self._input) - at >= 9:
                length = 9 + int.from_bytes(self._input[at : at + 3], "big")
                if len(self._input) - at < length:
                    break
                for event in self.protocol.receive_data(self._input[at : at + length]):
                    self._take(event)
                at += length
        except h2.exceptions.ProtocolError as error:
            self._end(Lost(f"what the server says is against the protocol: {error!r}"))
            self.transport.abort()
            return
        self._input = self._input[at:]
        if not self.is_over:
            self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.leaves = True
            self.protocol.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            for stream in list(self.streams.values()):
                if stream.id > event.last_stream_id:
                    self._fail(stream, Refused("GOAWAY"))
            if event.error_code:
                self._end(Lost(f"GOAWAY with {event.error_code!r}"))
            return
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.extended.set()
        if isinstance(event, (h2.events.RemoteSettingsChanged, h2.events.WindowUpdated)):
            for waiting in self.streams.values():
                waiting.change()
            return
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.fields = dict(event.headers)
            stream.status = int(stream.fields[":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.pieces.append(event.data)
            stream.owed += event.flow_controlled_length
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
            self.forget(stream)
        elif isinstance(event, h2.events.StreamReset):
            if event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM:
                self._fail(stream, Refused("REFUSED_STREAM"))
            else:
                self._fail(stream, Lost(f"reset with {event.error_code!r}"))
        stream.change()
