"""HTTP/2 and HTTP/3 beyond plain requests: odd heads, trailers, errors in the middle, clients that leave, and what they
do to the connection."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h2_client import H2Client, Stream
from parity.comparison import Case
from parity.conversation import Answer, Request, Speaker, answer_h2, ask_h2

Fields = list[tuple[str, str]]


def with_head(speaker: Speaker, fields: Callable[[H2Client], Fields], end: bool = True) -> Answer:
    """Sends a head as it is."""
    client = speaker.h2()
    client.protocol.config.validate_outbound_headers = False
    client.protocol.config.normalize_outbound_headers = False
    stream = client.protocol.get_next_available_stream_id()
    client.streams[stream] = Stream(stream)
    client.protocol.send_headers(stream, fields(client), end_stream=end)
    client.flush()
    return answer_h2(speaker, client, stream)


def head(
    method: str | None = "GET",
    scheme: str | None = "http",
    authority: str | None = "",
    path: str | None = "/scope",
    *more: tuple[str, str],
) -> Callable[[H2Client], Fields]:
    """A head with all pseudo fields but those that are None; an empty authority is the server's."""

    def fields(client: H2Client) -> Fields:
        pseudo = [
            (":method", method),
            (":scheme", scheme),
            (":authority", client.where.authority if authority == "" else authority),
            (":path", path),
        ]
        return [(name, value) for name, value in pseudo if value is not None] + list(more)

    return fields


def gated(speaker: Speaker, behaviour: str, key: str) -> Answer:
    """A response whose head has come before the app goes on."""
    client = speaker.multiplexed()
    stream = client.request("GET", f"/{behaviour}&key={key}")
    client.head(stream)
    speaker.h1().get(f"/go?key={key}")
    return answer_h2(speaker, client, stream)


def with_trailers(speaker: Speaker) -> Answer:
    """A request with trailers."""
    client = speaker.multiplexed()
    stream = client.request("POST", "/echo", body=b"abc", end=False)
    client.trailers(stream, [("x-a", "b")])
    return answer_h2(speaker, client, stream)


def shorter_body(speaker: Speaker) -> Answer:
    """A body of another length than was said."""
    client = speaker.multiplexed()
    stream = client.request("POST", "/digest", [("content-length", "5")], b"abc")
    return answer_h2(speaker, client, stream)


def many_streams(speaker: Speaker) -> Answer:
    """As many streams at once as are allowed."""
    client = speaker.multiplexed()
    streams = [client.request("GET", "/scope") for _ in range(100)]
    got = [client.response(stream) for stream in streams]
    return {"statuses": {stream.status for stream in got}, "ended": all(stream.ended for stream in got)}


def reset_and_go_on(speaker: Speaker) -> Answer:
    """A reset stream beside a good one."""
    client = speaker.multiplexed()
    first = client.request("GET", "/gate?key=never")
    client.reset(first)
    return answer_h2(speaker, client, client.request("GET", "/"))


def leave(speaker: Speaker, start: str) -> Answer:
    """What the app is told of a client that resets its stream."""
    client = speaker.multiplexed()
    key = f"leave-{client.port}"
    stream = client.request("GET", f"/until-disconnect?key={key}{start}")
    speaker.h1().get(f"/note?key={key}-begun")
    client.reset(stream)
    client.ping()
    try:
        return {"end": "told", "app": speaker.h1(speaker.patience).get(f"/note?key={key}-told").body}
    except TimeoutError:
        return {"end": "silent"}


def stream_in_pieces(speaker: Speaker) -> Answer:
    """A response whose first piece has come before the app goes on."""
    client = speaker.multiplexed()
    key = f"pieces-{client.port}"
    stream = client.request("GET", f"/events?key={key}")
    client.wait(lambda: client.streams[stream].length, "the first piece", speaker.patience)
    first = client.streams[stream].body
    speaker.h1().get(f"/go?key={key}")
    return {"first": first, **answer_h2(speaker, client, stream)}


SAID: dict[str, tuple[str, Callable[[Speaker], Answer]]] = {
    "scope-host-only": (
        "plain.py",
        functools.partial(with_head, fields=head("GET", "http", None, "/scope", ("host", "a.test"))),
    ),
    "scope-two-names": (
        "plain.py",
        functools.partial(with_head, fields=head("GET", "http", "a.test", "/scope", ("host", "b.test"))),
    ),
    "scope-no-name": ("plain.py", functools.partial(with_head, fields=head("GET", "http", None))),
    "scope-crumbs": (
        "plain.py",
        functools.partial(with_head, fields=head("GET", "http", "", "/scope", ("cookie", "a=1"), ("cookie", "b=2"))),
    ),
    "scope-other-scheme": ("plain.py", functools.partial(with_head, fields=head("GET", "https"))),
    "no-path": ("plain.py", functools.partial(with_head, fields=head(path=None))),
    "empty-path": ("plain.py", functools.partial(with_head, fields=head(path=""))),
    "path-without-slash": ("plain.py", functools.partial(with_head, fields=head(path="scope"))),
    "path-not-ascii": ("plain.py", functools.partial(with_head, fields=head(path="/scope/\u00e9"))),
    "no-method": ("plain.py", functools.partial(with_head, fields=head(method=None))),
    "options-asterisk": ("plain.py", functools.partial(with_head, fields=head("OPTIONS", path="*"))),
    "connect": ("plain.py", functools.partial(with_head, fields=head("CONNECT", None, "a.test:80", None), end=False)),
    "upper-case-name": (
        "plain.py",
        functools.partial(with_head, fields=head("GET", "http", "", "/scope", ("X-A", "b"))),
    ),
    "connection-field": (
        "plain.py",
        functools.partial(with_head, fields=head("GET", "http", "", "/scope", ("connection", "close"))),
    ),
    "te-gzip": ("plain.py", functools.partial(with_head, fields=head("GET", "http", "", "/scope", ("te", "gzip")))),
    "unknown-pseudo-field": (
        "plain.py",
        functools.partial(with_head, fields=head("GET", "http", "", "/scope", (":odd", "1"))),
    ),
    "request-trailers": ("plain.py", with_trailers),
    "shorter-body": ("plain.py", shorter_body),
    "many-streams": ("plain.py", many_streams),
    "reset": ("plain.py", reset_and_go_on),
    "leave-before-the-response": ("plain.py", functools.partial(leave, start="")),
    "leave-in-the-response": ("plain.py", functools.partial(leave, start="&start=1")),
    "pieces": ("plain.py", stream_in_pieces),
    "fail-later": ("plain.py", functools.partial(gated, behaviour="fail?after=start", key="fail-later")),
    "trailers": (
        "extensions.py",
        functools.partial(ask_h2, request=Request(target="/trailers", headers=(("te", "trailers"),))),
    ),
    "trailers-unwanted": ("extensions.py", functools.partial(ask_h2, request=Request(target="/trailers"))),
    "trailers-forgotten": (
        "extensions.py",
        functools.partial(ask_h2, request=Request(target="/trailers_forgotten", headers=(("te", "trailers"),))),
    ),
    "hints": ("extensions.py", functools.partial(ask_h2, request=Request(target="/hints?count=2"))),
}

#: Those that are said by means that HTTP/3 has too.
OVER_BOTH = (
    "shorter-body", "many-streams", "reset", "leave-before-the-response", "leave-in-the-response",
    "pieces", "fail-later", "trailers", "trailers-unwanted", "trailers-forgotten", "hints",
)

CASES = {f"raw/h2c/{name}": Case(f"{app}:app", says) for name, (app, says) in SAID.items()} | {
    f"raw/h3/{name}": Case(f"{SAID[name][0]}:app", SAID[name][1], quic=True) for name in OVER_BOTH
}


@pytest.mark.parametrize("name", CASES)
def test_both_answer_the_same(name: Any, pairs: Any) -> None:
    pairs.check(name, CASES[name])
