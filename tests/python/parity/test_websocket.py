"""WebSockets over HTTP/1.1 and HTTP/2: the handshake, messages, closing, and what the app is told."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import h2.exceptions
import pytest

from end_to_end import ws_client
from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import Lost
from end_to_end.ws_client import BINARY, CLOSE, PING, TEXT, WsClient
from parity.comparison import Case
from parity.conversation import FRAMING, Answer, Speaker, facets_of_head, same_words

#: What each server calls itself, and what no two handshakes share.
OWN = ("sec-websocket-accept", "date")


def handshake(
    speaker: Speaker, target: str, headers: tuple[tuple[str, str], ...], over: str
) -> tuple[Answer, WsClient | None]:
    """Opens a WebSocket. Returns the facts of the answer's head, and the WebSocket if there is one."""
    if over == "h1":
        client = speaker.h1(speaker.patience)
        head = ws_client.ask_over_h1(client, target, headers)
        fields = head.headers
        status, opened = head.status, head.status == 101
        transport: ws_client.Bytes = ws_client.OverH1(client)
    else:
        h2_client = speaker.h2()
        h2_client.deadline = speaker.patience
        stream = ws_client.ask_over_h2(h2_client, target, headers)
        got = h2_client.head(stream, speaker.patience)
        fields = [(name.decode(), value.decode()) for name, value in got.headers[1:]]
        status, opened = got.status or 0, got.status == 200
        transport = ws_client.OverH2(h2_client, stream)
        head = got  # type: ignore[assignment]
    answer = facets_of_head([pair for pair in fields if pair[0].lower() not in (*OWN, *FRAMING)]) | {"status": status}
    if opened:
        return answer, WsClient(transport, head)
    if over == "h1" and isinstance(transport, ws_client.OverH1):
        body = read_rest(transport.client, {name.lower(): value for name, value in fields})
        answer["body"] = body
    return answer, None


def read_rest(client: H1Client, fields: dict[str, str]) -> bytes:
    """A body that says how long it is."""
    if fields.get("transfer-encoding") == "chunked":
        return b"".join(iter(client.chunk, b""))
    return client.exactly(int(fields.get("content-length", "0")))


Talk = Callable[[WsClient, Answer], None]


def talk(
    speaker: Speaker,
    *,
    over: str,
    target: str,
    headers: tuple[tuple[str, str], ...] = (),
    talks: Talk | None = None,
    key: str = "",
) -> Answer:
    """A WebSocket from its handshake to its end, and what the app has noted."""
    key = f"{key}-{over}" if key else ""
    try:
        answer, socket = handshake(speaker, target + (f"?{key}" if key else ""), headers, over)
    except TimeoutError:
        return {"end": "silent"}
    except (Closed, Lost, OSError) as error:
        return {"end": type(error).__name__}
    if socket is not None:
        (talks or until_closed)(socket, answer)
    if key:
        answer["app"] = json.loads(speaker.note(key))
    return dict(same_words(answer, *speaker.clients))


def until_closed(socket: WsClient, answer: Answer) -> None:
    """Reads what comes until the server has closed; answers its Close frame."""
    frames: list[object] = []
    try:
        while (frame := socket.receive_frame()).opcode != CLOSE:
            frames.append((frame.opcode, frame.payload))
        answer["close"] = frame.close
        socket.close(frame.close[0] if frame.payload else 1000)
        socket.ended()
        answer["end"] = "ended"
    except ws_client.Ended:
        answer["end"] = "ended" if "close" in answer else "cut"
    except TimeoutError:
        answer["end"] = "silent"
    except (Lost, OSError, h2.exceptions.ProtocolError):
        answer["end"] = "connection lost"
    answer["frames"] = frames


def scope_shown(socket: WsClient, answer: Answer) -> None:
    """Takes the scope apart that the app sends."""
    until_closed(socket, answer)
    (_, text), *more = answer.pop("frames")
    scope = json.loads(text)
    for part in ("client", "server"):
        scope[part]["tuple"][1] = "<port>"
    scope["headers"] = [pair for pair in scope["headers"] if "sec-websocket-key" not in json.dumps(pair)]
    answer |= {f"scope.{name}": value for name, value in scope.items()} | {
        "scope.keys": sorted(scope),
        "frames": more,
    }


def closes(code: int | None, reason: str = "") -> Talk:
    """The client closes."""

    def talking(socket: WsClient, answer: Answer) -> None:
        if code is None:
            socket.send_frame(CLOSE)
        else:
            socket.close(code, reason)
        until_closed(socket, answer)

    return talking


def echoes(*messages: str | bytes) -> Talk:
    """Each message comes back; then the client closes."""

    def talking(socket: WsClient, answer: Answer) -> None:
        for number, message in enumerate(messages):
            socket.send(message)
            answer[f"message {number}"] = socket.receive() == message
        closes(1000)(socket, answer)

    return talking


def frames(*sent: tuple[Any, ...], rsv: int = 0, mask: bool = True) -> Talk:
    """Sends frames as they are, and reads until the end."""

    def talking(socket: WsClient, answer: Answer) -> None:
        try:
            for opcode, payload, *last in sent:
                socket.send_frame(opcode, payload, fin=last[0] if last else True, rsv=rsv, mask=mask)
        except OSError:
            pass  # it may have closed before all was sent
        until_closed(socket, answer)

    return talking


def fragments(socket: WsClient, answer: Answer) -> None:
    """A message in three frames with a ping between them."""
    socket.send_frame(TEXT, "é".encode()[:1], fin=False)
    socket.send_frame(PING, b"now")
    socket.send_frame(0, "é".encode()[1:] + b"b", fin=False)
    socket.send_frame(0, b"c")
    got = [socket.receive_frame(), socket.receive_frame()]
    answer["frames before"] = [(frame.opcode, frame.payload) for frame in got]
    closes(1000)(socket, answer)


SAID: dict[str, dict[str, object]] = {
    "scope": {"target": "/scope?a=%20b", "talks": scope_shown},
    "scope-protocols": {
        "target": "/scope",
        "talks": scope_shown,
        "headers": (("sec-websocket-protocol", "a, b"), ("cookie", "c=1")),
    },
    "echo": {"target": "/echo", "talks": echoes("hello", "é\N{SNOWMAN}", b"\x00\xff", "", b"")},
    "echo-large": {"target": "/echo", "talks": echoes("x" * 70_000, b"y" * 1_000_000)},
    "fragments": {"target": "/echo", "talks": fragments},
    "subprotocol": {"target": "/choose?b", "headers": (("sec-websocket-protocol", "a, b"),)},
    "subprotocol-not-offered": {"target": "/choose?c", "headers": (("sec-websocket-protocol", "a, b"),)},
    "compression-offered": {
        "target": "/echo",
        "headers": (("sec-websocket-extensions", "permessage-deflate"),),
        "talks": closes(1000),
    },
    "refuse": {"target": "/refuse"},
    "deny": {"target": "/deny"},
    "fail-before": {"target": "/fail-before"},
    "fail-after": {"target": "/fail-after"},
    "leave": {"target": "/leave"},
    "close": {"target": "/echo", "talks": closes(1000, "bye"), "key": "close"},
    "close-own-code": {"target": "/echo", "talks": closes(4005, "bye"), "key": "close-own-code"},
    "close-without-code": {"target": "/echo", "talks": closes(None), "key": "close-without-code"},
    "close-odd-code": {"target": "/echo", "talks": closes(1005)},
    "not-utf-8": {"target": "/echo", "talks": frames((TEXT, b"\xff"))},
    "unmasked": {"target": "/echo", "talks": frames((TEXT, b"a"), mask=False)},
    "reserved-bit": {"target": "/echo", "talks": frames((TEXT, b"a"), rsv=4)},
    "reserved-opcode": {"target": "/echo", "talks": frames((3, b"a"))},
    "continuation-of-nothing": {"target": "/echo", "talks": frames((0, b"a"))},
    "large-ping": {"target": "/echo", "talks": frames((PING, b"a" * 126))},
    "too-large": {
        "target": "/echo",
        "talks": frames(*[(BINARY if at == 0 else 0, bytes(6_000_000), at == 2) for at in range(3)]),
    },
    "version-12": {"target": "/echo", "headers": (("sec-websocket-version", "12"),)},
    "version-none": {"target": "/echo", "headers": (("sec-websocket-version", ""),)},
    "key-none": {"target": "/echo", "headers": (("sec-websocket-key", ""),)},
}

CASES = {
    f"websocket/{over}/{name}": Case("sockets.py:app", functools.partial(talk, over=over, **said), tls=False)  # type: ignore[arg-type]
    for over in ("h1", "h2c")
    for name, said in SAID.items()
    if over == "h1" or name != "key-none"
}


@pytest.mark.parametrize("name", CASES)
def test_both_answer_the_same(name: Any, pairs: Any) -> None:
    pairs.check(name, CASES[name])
