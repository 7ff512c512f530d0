"""Says the same to a server behind each middleware, and writes down what has to be the same."""

from __future__ import annotations

import gzip
import json
import re
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import brotli

from end_to_end.server import Listening, wait_until
from end_to_end.ws_client import WsClient
from parity.conversation import Answer, Request, Speaker, ask_h1, ask_h2
from parity.test_websocket import handshake

FORM = (
    b'--b\r\ncontent-disposition: form-data; name="field"\r\n\r\nvalue\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    + b"x" * 100_000
    + b"\r\n--b--\r\n"
)
MULTIPART = (("content-type", "multipart/form-data; boundary=b"),)
FIELDS = (("content-type", "application/x-www-form-urlencoded"),)
COMPRESSED = (("accept-encoding", "gzip, br"),)
FROM_ONE = (("origin", "https://one.test"),)
PREFLIGHT = (*FROM_ONE, ("access-control-request-method", "POST"), ("access-control-request-headers", "x-own"))

#: What is asked of every site.
ALWAYS: dict[str, Request] = {
    "json": Request(target="/json?q=%C3%A9"),
    "large": Request(target="/large", headers=COMPRESSED),
    "stream": Request(target="/stream", headers=COMPRESSED),
    "events": Request(target="/events"),
    "file": Request(target="/file"),
    "file-range": Request(target="/file", headers=(("range", "bytes=10-99"),)),
    "file-head": Request("HEAD", "/file"),
    "upload": Request("POST", "/upload", MULTIPART, FORM),
    "upload-chunked": Request("POST", "/upload", MULTIPART, FORM, chunked=30_000),
    "form": Request("POST", "/form", FIELDS, b"a=1&b=%C3%A9"),
    "echo": Request("POST", "/echo", (), b"x" * 200_000),
    "error": Request(target="/error"),
    "missing": Request(target="/nowhere"),
    "method": Request("DELETE", "/json"),
    "session": Request(target="/session"),
}
ASGI = {
    "sync": Request(target="/sync"),
    "preflight": Request("OPTIONS", "/json", PREFLIGHT),
    "cross-origin": Request(target="/json", headers=FROM_ONE),
}

#: Fields that say who has answered and when.
OWN = ("date", "server")

#: A signed cookie, which holds the time.
_COOKIE = re.compile(r"session=[^;]+")


#: The client's and the server's ports, where a middleware has recorded them.
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")


def differences(ours: dict[str, Answer], theirs: dict[str, Answer]) -> dict[str, Any]:
    """The answers that differ, by request: ours and theirs."""
    assert list(ours) == list(theirs)
    return {
        name: {key: (ours[name][key], theirs[name][key]) for key in ours[name] if ours[name][key] != theirs[name][key]}
        for name in ours
        if ours[name] != theirs[name]
    }


def no_trust(*_: str) -> ssl.SSLContext:
    """No listener has TLS."""
    raise AssertionError("there is no TLS here")


class Talk:
    """A client of one server, which speaks one protocol and means one middleware."""

    def __init__(self, where: Listening, over: str, behind: str = "") -> None:
        self.where, self.over, self.behind = where, over, behind

    def _of(self, says: Callable[[Speaker], Any]) -> Any:
        speaker = Speaker(self.where, no_trust)
        try:
            return says(speaker)
        finally:
            speaker.close()

    @property
    def _fields(self) -> tuple[tuple[str, str], ...]:
        return (("x-behind", self.behind),) if self.behind else ()

    def _said(self, request: Request) -> Answer:
        answer: Answer = self._of(lambda speaker: (ask_h1 if self.over == "h1" else ask_h2)(speaker, request))
        return answer

    def ask(self, request: Request) -> Answer:
        """The significant part of the answer."""
        answer = self._said(replace(request, headers=(*self._fields, *request.headers)))
        fields = [
            (name.lower(), _COOKIE.sub("session=<signed>", value)) for name, value in answer.get("headers", ())
        ]
        coding = dict(fields).get("content-encoding")
        body = answer.get("body", b"")
        return {
            # Over HTTP/2 a response that is not whole is reset.
            "end": "cut" if answer["end"].startswith("reset") else answer["end"],
            "status": answer.get("status"),
            "headers": sorted(pair for pair in fields if pair[0] not in OWN),
            "body": gzip.decompress(body) if coding == "gzip" else brotli.decompress(body) if coding == "br" else body,
        }

    def told(self, path: str) -> Any:
        """The app's record of itself at a path."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in self._fields)
        body = self._of(lambda speaker: speaker.h1().get(path, fields)).body.decode()
        return json.loads(_PORT.sub("<port>", body))

    def visits(self, count: int) -> list[Any]:
        """The bodies of a page that counts in a session."""
        cookie: tuple[tuple[str, str], ...] = ()
        bodies = []
        for _ in range(count):
            answer = self._said(Request(target="/session", headers=(*self._fields, *cookie)))
            bodies.append(json.loads(answer["body"]))
            set_cookie = next(value for name, value in answer["headers"] if name.lower() == "set-cookie")
            cookie = (("cookie", set_cookie.partition(";")[0]),)
        return bodies

    def notes(self, name: str, count: int = 1) -> list[str]:
        """Waits until an app has written ``count`` notes under a name."""

        def enough() -> list[str] | None:
            noted: list[str] = self.told(f"/notes?{name}")
            return noted if len(noted) >= count else None

        found: list[str] = wait_until(enough, f"{count} notes of {name}")
        return found

    def leave(self, name: str) -> list[str]:
        """Leaves an endless response when its first piece has come, and returns the app's notes of its end."""

        def early(speaker: Speaker) -> None:
            target = f"/endless?name={name}"
            if self.over == "h1":
                client = speaker.h1()
                client.request("GET", target, "".join(f"{key}: {value}\r\n" for key, value in self._fields))
                assert client.head().status == 200
                client.chunk()
            else:
                multiplexed = speaker.h2()
                stream = multiplexed.request("GET", target, self._fields)
                multiplexed.wait(lambda: multiplexed.streams[stream].length, "the first piece")
                multiplexed.reset(stream)
                multiplexed.ping()

        self._of(early)
        return self.notes(name)

    def websocket(self, name: str) -> Answer:
        """A WebSocket from its handshake to its end, and what the app has noted of it."""

        def says(speaker: Speaker) -> Answer:
            answer, socket = handshake(speaker, f"/ws?name={name}", self._fields, self.over)
            told: Answer = {"opened": socket is not None}
            if socket is None:
                return told | {"status": answer["status"]}
            return told | self._exchange(socket, name)

        said: Answer = self._of(says)
        return said

    def _exchange(self, socket: WsClient, name: str) -> Answer:
        socket.send("text é")
        socket.send(b"bytes" * 20_000)
        messages, _, _ = socket.receive_all(2)
        socket.close(1001)
        return {"messages": messages, "code": socket.closed()[0], "notes": self.notes(name)}
