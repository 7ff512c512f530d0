"""Speaks with a server and writes down what it answers, as facets that can be compared one by one.

What cannot be the same on two servers is replaced by a word in angle brackets, and nothing else: the date, the
server's own name, addresses and process ids.
"""

from __future__ import annotations

import ast
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import h2.exceptions
from aioquic.h3.connection import ErrorCode

from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client, Lost
from end_to_end.h3_client import H3Client
from end_to_end.server import DEADLINE, Listening

#: What a server answered, by facet.
Answer = dict[str, Any]

#: How long Hypercorn's silence is listened to where it is known to say nothing, in seconds.
PATIENCE = 0.5

_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")


@dataclass(frozen=True)
class Request:
    """One request, for every protocol."""

    method: str = "GET"
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    #: Over HTTP/1.1 the body is sent in chunks of this size; otherwise with its length.
    chunked: int = 0


Client: TypeAlias = H1Client | H2Client | H3Client


class Speaker:
    """A client of one listener of one server, which opens as many connections as it is asked to."""

    def __init__(
        self,
        where: Listening,
        trust: Callable[..., ssl.SSLContext],
        *,
        patience: float = DEADLINE,
        beside: Listening | None = None,
    ) -> None:
        """``beside`` is another listener of the same server, for connections over TCP."""
        self.where, self.trust, self.patience = where, trust, patience
        self.beside = beside or where
        self._open: list[Client] = []

    def h1(self, deadline: float = DEADLINE) -> H1Client:
        """A new connection for HTTP/1.1."""
        tls = self.trust("http/1.1") if self.beside.scheme == "https" else None
        self._open.append(client := H1Client(self.beside, tls=tls, deadline=deadline))
        return client

    def h2(self) -> H2Client:
        """A new connection for HTTP/2."""
        tls = self.trust("h2") if self.where.scheme == "https" else None
        self._open.append(client := H2Client(self.where, tls=tls))
        return client

    def multiplexed(self) -> H2Client | H3Client:
        """A new connection for HTTP/3 if the listener is for it, otherwise for HTTP/2."""
        if not self.where.quic:
            return self.h2()
        self._open.append(client := H3Client(self.where))
        return client

    @property
    def clients(self) -> list[Client]:
        """The connections so far."""
        return self._open

    def close(self) -> None:
        """Closes what was opened."""
        for client in self._open:
            client.close()

    def note(self, query: str) -> str:
        """The notes of an app."""
        return self.h1().get(f"/note?{query}").body.decode()


def same_words(value: Any, *clients: Client) -> Any:
    """A value in which dates, ports and process ids are words."""
    if isinstance(value, bytes):
        return same_words(value.decode("latin-1"), *clients).encode("latin-1")
    if isinstance(value, str):
        for client in clients:
            if client.where.port:
                value = re.sub(rf"(?<!\d){client.where.port}(?!\d)", "<port>", value)
                value = re.sub(rf"(?<!\d){client.socket.getsockname()[1]}(?!\d)", "<client>", value)
        return _DATE.sub("<date>", value)
    if isinstance(value, (list, tuple)):
        ports = {client.where.port: "<port>" for client in clients}
        ports |= {client.socket.getsockname()[1]: "<client>" for client in clients if client.where.port}
        if isinstance(value, tuple) and len(value) == 2 and value[1] in ports:
            return (value[0], ports[value[1]])
        return type(value)(same_words(item, *clients) for item in value)
    if isinstance(value, dict):
        return {
            same_words(name, *clients): "<pid>" if name == "started" else same_words(item, *clients)
            for name, item in value.items()
        }
    return value


def facets_of_head(headers: Sequence[tuple[str, str]]) -> Answer:
    """The fields of a response. The server's name stands apart: it says who answers."""
    names = [value for name, value in headers if name.lower() == "server" and re.match("hypercorn|hcrs", value)]
    shown = [(name, "<name>" if name.lower() == "server" and value in names else value) for name, value in headers]
    return {"headers": shown, **({"server": names} if names else {})}


def facets_of_body(body: bytes) -> Answer:
    """A body; a scope that an app has shown is taken apart, and its length is not compared."""
    if body.startswith(b"{'type': "):
        scope = ast.literal_eval(body.decode())
        return {f"scope.{name}": value for name, value in scope.items()} | {
            "scope.keys": sorted(scope),
            "framing": [],
        }
    return {"body": body}


# ---- HTTP/1.1 ----


def say_h1(
    speaker: Speaker, raw: bytes, *, responses: int = 1, head: bool = False, half_close: bool = False
) -> Answer:
    """Sends bytes as they are, reads this many ``responses``, and then checks whether the connection still serves."""
    client = speaker.h1()
    try:
        client.send(raw.replace(b"{host}", client.where.authority.encode()))
        if half_close:
            client.half_close()
    except OSError:
        pass  # the server may have answered and closed before all was sent
    client.socket.settimeout(speaker.patience)
    answer: Answer = {}
    for number in range(1, responses + 1):
        prefix = "" if responses == 1 else f"{number}."
        one = _response(client, head)
        answer |= {prefix + name: same_words(value, client) for name, value in one.items()}
        if one["end"] != "whole":
            break
    answer["after"] = _afterwards(client)
    return answer


def ask_h1(speaker: Speaker, request: Request) -> Answer:
    """Sends a request that follows the rules."""
    lines = [f"{request.method} {request.target} HTTP/1.1", "host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    body = request.body or b""
    if request.chunked:
        lines.append("transfer-encoding: chunked")
        pieces = [body[at : at + request.chunked] for at in range(0, len(body), request.chunked)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif request.body is not None:
        lines.append(f"content-length: {len(body)}")
    raw = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    return say_h1(speaker, raw, head=request.method == "HEAD")


def _response(client: H1Client, to_head: bool) -> Answer:
    """Reads one response, however wrong it is."""
    interim: list[Any] = []
    try:
        while (head := client.head()).status < 200 and head.status != 101:
            interim.append((head.status, head.reason, head.headers))
    except (Closed, ConnectionError, ssl.SSLError):
        return {"end": "closed", **({"interim": interim} if interim else {})}
    except TimeoutError:
        return {"end": "silent", **({"interim": interim} if interim else {})}
    answer: Answer = {"version": head.version, "status": head.status, "reason": head.reason, "end": "whole"}
    if interim:
        answer["interim"] = interim
    framing = [(name, value) for name, value in head.headers if name.lower() in FRAMING]
    answer["framing"] = sorted((name.lower(), value.lower()) for name, value in framing)
    answer |= facets_of_head([pair for pair in head.headers if pair not in framing])
    fields = {name.lower(): value for name, value in framing}
    body = b""
    try:
        if to_head or head.status in (101, 204, 304):
            pass
        elif "transfer-encoding" in fields:
            while chunk := client.chunk():
                body += chunk
            if client.trailers:
                answer["trailers"] = client.trailers
        elif "content-length" in fields:
            body = client.exactly(int(fields["content-length"]))
        else:
            body = client.until_closed()
    except (Closed, ConnectionError, ssl.SSLError):
        answer["end"] = "cut"
    except TimeoutError:
        answer["end"] = "silent"
    if answer["end"] != "whole":
        body += bytes(client._input)
    return answer | facets_of_body(body)


#: Fields that say where a message ends and whether another one may follow. They belong to no order.
FRAMING = ("connection", "content-length", "keep-alive", "transfer-encoding")


def _afterwards(client: H1Client) -> str:
    """Whether a connection still serves, was closed, or says nothing any more."""
    try:
        client.send(b"GET /after HTTP/1.1\r\nhost: after\r\nconnection: close\r\n\r\n")
        rest = bytes(client._input) + client.until_closed()
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"
    if not rest:
        return "closed"
    return "kept" if rest.startswith((b"HTTP/1.1 404", b"HTTP/1.1 500")) else f"more: {rest[:40]!r}"


# ---- HTTP/2 and HTTP/3 ----


def ask_h2(speaker: Speaker, request: Request) -> Answer:
    """Sends a request on a new connection, of HTTP/2 or HTTP/3."""
    client = speaker.multiplexed()
    headers = list(request.headers)
    if request.body is not None and not request.chunked:
        headers.append(("content-length", str(len(request.body))))
    stream = client.request(request.method, request.target, headers, end=request.body is None)
    try:
        if request.body is not None:
            client.send(stream, request.body, end=True)
    except (Lost, OSError, h2.exceptions.ProtocolError):
        pass  # the answer, or its absence, is seen below
    return answer_h2(speaker, client, stream)


def answer_h2(speaker: Speaker, client: H2Client | H3Client, stream: int) -> Answer:
    """The answer on a stream, and whether the connection still serves."""
    got = client.streams[stream]
    end = None
    try:
        client.response(stream, speaker.patience)
    except TimeoutError:
        end = "silent"
    except (Lost, OSError, h2.exceptions.ProtocolError):
        end = "connection lost"
    code = got.reset if isinstance(client, H2Client) or got.reset is None else ErrorCode(got.reset)
    answer: Answer = {"end": end or ("whole" if got.ended else f"reset {code!r}")}
    if got.headers:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in got.headers]
        answer["status"] = int(pairs[0][1])
        answer |= facets_of_head([pair for pair in pairs[1:] if pair[0] not in FRAMING])
        answer["framing"] = sorted(pair for pair in pairs[1:] if pair[0] in FRAMING)
        answer |= facets_of_body(got.body)
    if got.informational:
        answer["interim"] = [
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in one] for one in got.informational
        ]
    if got.trailers is not None:
        answer["trailers"] = [(name.decode(), value.decode()) for name, value in got.trailers]
    answer["after"] = _afterwards_h2(client, speaker.patience)
    return dict(same_words(answer, client))


def _afterwards_h2(client: H2Client | H3Client, patience: float) -> str:
    try:
        if client.goaway is not None:
            return _end_of(client)
        client.get("/after", deadline=patience)
    except TimeoutError:
        return "silent"
    except (Lost, OSError, h2.exceptions.ProtocolError):
        return _end_of(client)
    return "kept"


def _end_of(client: H2Client | H3Client) -> str:
    """How the server has ended a connection."""
    if isinstance(client, H2Client):
        return "closed" if client.goaway is None else f"GOAWAY {client.goaway.error_code!r}"
    return "closed" if client.termination is None else f"closed {ErrorCode(client.termination.error_code)!r}"
