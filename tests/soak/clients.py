"""The clients: each asks one question after the other, of every kind, and checks each answer."""

import asyncio
import itertools
import random
import ssl
import time
from collections.abc import Awaitable, Callable

from bodies import FILE_SIZES, FIRST_FILE, Expected, Mixed, digest
from bodies import body as body_of
from over_h1 import H1
from over_h2 import H2, Stream
from over_h3 import H3, Stream3
from sockets import WebSocket
from tally import Cancelled, Lost, Overloaded, Refused, Tally

# No answer may take longer, in seconds.
DEADLINE_S = 30.0
PIECE = 30_000
# How often each question is asked, beside the others.
WEIGHTS = {
    "whole": 40,
    "large": 3,
    "stream": 8,
    "upload": 10,
    "echo": 6,
    "file": 6,
    "nap": 6,
    "slow reader": 1,
    "cancelled at once": 3,
    "cancelled in the response": 3,
    "cancelled in the upload": 3,
}
numbers = itertools.count(1)


class Channel:
    """One exchange as the questions need it, over any protocol."""

    def __init__(self, h1: H1 | None, shared: H2 | H3 | None) -> None:
        self.h1, self.shared = h1, shared
        self.stream: Stream | Stream3 | None = None

    async def ask(self, method: str, target: str, number: int, length: int | None = None) -> None:
        """Sends the head; with ``length`` a body of that size follows."""
        if self.shared is not None:
            fields = [] if length is None else [("content-length", str(length))]
            self.stream = self.shared.ask(method, target, number, fields, end=length is None)
            return
        await self.h1.open()
        await self.h1.send_head(method, target, number, "" if length is None else f"content-length: {length}\r\n")

    async def send(self, data: bytes, *, end: bool = False) -> None:
        if self.stream is not None:
            await self.stream.send(data, end=end)
        else:
            await self.h1.send(data)

    async def answer(self, number: int, expected: Expected | None, pause: float = 0.0) -> bytes:
        """The whole answer, compared as it comes, or given if nothing is expected."""
        status, fields = await (self.stream.head() if self.stream is not None else self.h1.head())
        kept = []
        own = fields.get("x-number")
        if status == 200 and own != str(number):
            raise Mixed(f"the answer of {own} came to {number}")
        async for piece in self._pieces(fields):
            if status == 200 and expected is not None:
                expected.take(piece)
            elif len(kept) < 100:
                kept.append(piece)
            if pause:
                await asyncio.sleep(pause)
        if status == 503:
            raise Overloaded
        if status != 200:
            raise Lost(f"status {status}: {b''.join(kept)[:100]!r}")
        if expected is not None:
            expected.end()
        return b"".join(kept)

    async def _pieces(self, fields: dict[str, str]):
        if self.stream is None:
            async for piece in self.h1.pieces(fields):
                yield piece
        else:
            while piece := await self.stream.receive():
                yield piece

    async def some(self, number: int, expected: Expected, enough: int) -> None:
        """The answer until ``enough`` bytes have come, or it has ended."""
        status, fields = await (self.stream.head() if self.stream is not None else self.h1.head())
        if status == 503:
            raise Overloaded
        if status != 200:
            raise Lost(f"status {status}")
        if fields.get("x-number") != str(number):
            raise Mixed(f"the answer of {fields.get('x-number')} came to {number}")
        async for piece in self._pieces(fields):
            expected.take(piece)
            if expected.at >= enough:
                return

    def give_up(self) -> None:
        """Cancels the exchange: a reset of the stream, or the end of the connection, in order or not."""
        if self.stream is not None:
            self.stream.reset()
        elif self.h1 is not None:
            self.h1.close(abort=random.random() < 0.5)


# ---- the questions ----


async def whole(channel: Channel, number: int) -> None:
    size = random.choice((0, 1, 12, 300, 5_000, 20_000))
    await channel.ask("GET", f"/whole?size={size}", number)
    await channel.answer(number, Expected(number, size))


async def large(channel: Channel, number: int) -> None:
    size = random.choice((200_000, 1 << 20))
    await channel.ask("GET", f"/whole?size={size}", number)
    await channel.answer(number, Expected(number, size))


async def stream(channel: Channel, number: int) -> None:
    size = random.choice((0, 50_000, 300_000))
    await channel.ask("GET", f"/stream?size={size}", number)
    await channel.answer(number, Expected(number, size))


async def slow_reader(channel: Channel, number: int) -> None:
    size = 400_000
    await channel.ask("GET", f"/stream?size={size}", number)
    await channel.answer(number, Expected(number, size), pause=0.05)


async def upload(channel: Channel, number: int) -> None:
    data = body_of(number, random.choice((1, 3_000, 100_000, 500_000)))
    await channel.ask("POST", "/upload", number, len(data))
    for at in range(0, len(data), PIECE):
        await channel.send(data[at : at + PIECE], end=at + PIECE >= len(data))
    told = (await channel.answer(number, None)).decode()
    if told != f"{number} {len(data)} {digest(data)}":
        raise Mixed(f"of an upload of {len(data)} bytes came {told!r}")


async def echo(channel: Channel, number: int) -> None:
    """Sends and reads at the same time."""
    data = body_of(number, random.choice((1, 10_000, 200_000)))
    await channel.ask("POST", "/echo", number, len(data))

    async def send() -> None:
        for at in range(0, len(data), PIECE):
            await channel.send(data[at : at + PIECE], end=at + PIECE >= len(data))

    sending = asyncio.create_task(send())
    try:
        await channel.answer(number, Expected(number, len(data)))
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def file(channel: Channel, number: int) -> None:
    place = random.randrange(len(FILE_SIZES))
    await channel.ask("GET", f"/file?name={place}", number)
    await channel.answer(number, Expected(FIRST_FILE + place, FILE_SIZES[place]))


async def nap(channel: Channel, number: int) -> None:
    await channel.ask("GET", f"/nap?size=100&seconds={random.uniform(0, 0.5):.3f}", number)
    await channel.answer(number, Expected(number, 100))


async def block(channel: Channel, number: int) -> None:
    await channel.ask("GET", f"/block?size=100&seconds={random.uniform(0.05, 0.8):.3f}", number)
    await channel.answer(number, Expected(number, 100))


async def cancelled_at_once(channel: Channel, number: int) -> None:
    await channel.ask("GET", f"/nap?size=100&seconds={random.choice((0, 0.3))}", number)
    if random.random() < 0.7:
        await asyncio.sleep(random.uniform(0, 0.02))
    channel.give_up()
    raise Cancelled


async def cancelled_in_the_response(channel: Channel, number: int) -> None:
    size = random.choice((100_000, 1 << 20))
    await channel.ask("GET", f"/{random.choice(('whole', 'stream'))}?size={size}", number)
    await channel.some(number, Expected(number, size), random.choice((1, 70_000)))
    channel.give_up()
    raise Cancelled


async def cancelled_in_the_upload(channel: Channel, number: int) -> None:
    data = body_of(number, 400_000)
    await channel.ask("POST", f"/{random.choice(('upload', 'echo'))}", number, len(data))
    await channel.send(data[: random.choice((0, 1, 90_000, 300_000))])
    channel.give_up()
    raise Cancelled


QUESTIONS: dict[str, Callable[[Channel, int], Awaitable[None]]] = {
    "whole": whole,
    "large": large,
    "stream": stream,
    "slow reader": slow_reader,
    "upload": upload,
    "echo": echo,
    "file": file,
    "nap": nap,
    "block": block,
    "cancelled at once": cancelled_at_once,
    "cancelled in the response": cancelled_in_the_response,
    "cancelled in the upload": cancelled_in_the_upload,
}


async def talk(socket: WebSocket, number: int) -> None:
    """Sends messages of the number and its place ahead of their echoes; ends in order or not."""
    sizes = [random.choice((0, 1, 100, 4_000, 70_000)) for _ in range(random.randrange(1, 30))]

    async def send() -> None:
        for place, size in enumerate(sizes):
            await socket.send(body_of(number + place, size))

    sending = asyncio.create_task(send())
    try:
        stop = random.randrange(len(sizes)) if random.random() < 0.25 else None
        for place, size in enumerate(sizes):
            if place == stop:
                socket.over.leave(abort=random.random() < 0.5)
                raise Cancelled
            if await socket.receive() != body_of(number + place, size):
                raise Mixed(f"message {place} of {size} bytes is another one")
        await sending
        await socket.close()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def listen(socket: WebSocket, number: int, count: int, size: int) -> None:
    """Takes ``count`` messages; then the server closes."""
    for place in range(count):
        if await socket.receive() != body_of(number + place, size):
            raise Mixed(f"message {place} of {size} bytes is another one")
    if await socket.receive() is not None:
        raise Mixed("there is a message more")


# ---- who asks ----


class Clients:
    """All of them, until they are told to stop."""

    def __init__(
        self, ports: dict[str, int], trust: Callable[[str], ssl.SSLContext], cafile: str, tally: Tally
    ) -> None:
        self.ports, self.cafile, self.tally = ports, cafile, tally
        self.tls = {"h1": trust("http/1.1"), "h2": trust("h2")}
        self.stopped = asyncio.Event()

    async def run(self, scale: float) -> None:
        """As many of each kind as the scale says, until they are stopped."""

        def times(count: int) -> range:
            return range(max(1, round(count * scale)))

        async with asyncio.TaskGroup() as group:
            for where in ("tls", "cleartext"):
                for _ in times(6):
                    group.create_task(self.over_h1(where))
                for _ in times(2):
                    group.create_task(self.over_h2(where, 12))
                for _ in times(2):
                    group.create_task(self.sockets_over_h1(where))
            for _ in times(2):
                group.create_task(self.over_h3(10))
            group.create_task(self.blocker())

    def _tls(self, where: str, version: str) -> ssl.SSLContext | None:
        return self.tls[version] if where == "tls" else None

    async def over_h1(self, where: str) -> None:
        """One connection after the other."""
        connection = H1(self.ports[where], self._tls(where, "h1"))
        while not self.stopped.is_set():
            question = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            channel = Channel(connection, None)
            if not await self.judge(f"{question}, h1 {where}", QUESTIONS[question], channel):
                connection.close(abort=True)
        connection.close()

    async def over_h2(self, where: str, streams: int) -> None:
        """One connection after the other."""
        while not self.stopped.is_set():
            connection = await H2.open(self.ports[where], self._tls(where, "h2"))
            await self.share(connection, f"h2 {where}", streams)

    async def over_h3(self, streams: int) -> None:
        """One connection after the other; each moves to other ports from time to time."""
        while not self.stopped.is_set():
            connection = await H3.open(self.ports["quic"], self.cafile)
            moving = asyncio.create_task(self.move(connection))
            try:
                await self.share(connection, "h3", streams)
            finally:
                moving.cancel()
                await asyncio.gather(moving, return_exceptions=True)

    async def move(self, connection: H3) -> None:
        """As a client that changes its network, or is behind a NAT that forgets it."""
        while True:
            await asyncio.sleep(random.uniform(0.2, 3))
            connection.move(new_id=random.random() < 0.5)
            self.tally.count("moves of clients, h3", "right")

    async def share(self, connection: H2 | H3, where: str, streams: int) -> None:
        """Has a connection shared by many questions and now and then by WebSockets; some are closed in the middle."""
        dropped = random.random() < 0.3
        until = time.monotonic() + random.uniform(1, 8)

        async def one() -> None:
            while not self.stopped.is_set() and not connection.leaves:
                if dropped and time.monotonic() > until:
                    return
                if random.random() < 0.05:
                    await self.socket(where, lambda target, number: WebSocket.over_stream(connection, target, number))
                    continue
                question = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
                channel = Channel(None, connection)
                if not await self.judge(f"{question}, {where}", QUESTIONS[question], channel):
                    channel.give_up()

        async def one_more(place: int) -> None:
            # Left alone when the connection is closed beneath them.
            if dropped and place >= streams // 2:
                number = next(numbers)
                while not self.stopped.is_set() and not connection.leaves and time.monotonic() < until:
                    await asyncio.sleep(0.05)
                if not connection.leaves:
                    connection.ask("GET", "/nap?size=100&seconds=0.5", number)
                    self.tally.count(f"left behind, {where}", "cancelled")
            else:
                await one()

        async with asyncio.TaskGroup() as group:
            for place in range(streams):
                group.create_task(one_more(place))
        if not connection.is_over:
            connection.close(abort=random.random() < 0.5)

    async def sockets_over_h1(self, where: str) -> None:
        """One connection for each WebSocket."""
        while not self.stopped.is_set():
            connection = H1(self.ports[where], self._tls(where, "h1"))
            await connection.open()
            await self.socket(
                f"h1 {where}", lambda target, number: WebSocket.over_h1(connection, target, number)
            )
            connection.close()

    async def socket(self, where: str, make: Callable[[str, int], Awaitable[WebSocket]]) -> None:
        """A conversation of either kind."""
        tells = random.random() < 0.3
        count, size = random.randrange(1, 40), random.choice((0, 10, 30_000))

        async def converse(_: None, number: int) -> None:
            target = f"/socket-tell?count={count}&size={size}" if tells else "/socket-echo"
            socket = await make(target, number)
            try:
                if tells:
                    await listen(socket, number, count, size)
                else:
                    await talk(socket, number)
            except BaseException:
                socket.over.leave(abort=True)
                raise

        await self.judge(f"websocket, {where}", converse, None)

    async def blocker(self) -> None:
        """Blocks a worker's loop now and then."""
        while not self.stopped.is_set():
            connection = H1(self.ports["cleartext"], None)
            await self.judge("block, h1 cleartext", block, Channel(connection, None))
            connection.close()
            await asyncio.sleep(random.uniform(0.5, 2.5))

    async def judge(self, kind: str, question, channel) -> bool:
        """Asks, and counts how it ended. False: the connection or stream is not what it was."""
        number, began, tally = next(numbers), time.monotonic(), self.tally
        try:
            async with asyncio.timeout(DEADLINE_S):
                await question(channel, number)
        except Cancelled:
            tally.count(kind, "cancelled")
        except Refused:
            tally.count(kind, "not looked at, may be asked again")
        except Overloaded:
            tally.count(kind, "503")
        except TimeoutError:
            tally.fail(kind, f"question {number} has had no answer, or not all of it, in {DEADLINE_S:g} s")
        except (Lost, ConnectionError) as error:
            if tally.was_killed(began):
                tally.count(kind, "lost with a killed worker")
            else:
                tally.fail(kind, f"question {number}, {time.monotonic() - began:.2f} s after it was asked: {error!r}")
        except Exception as error:
            tally.fail(kind, f"question {number}: {error!r}")
        else:
            tally.count(kind, "right")
            tally.longest = max(tally.longest, time.monotonic() - began)
            return True
        return False
