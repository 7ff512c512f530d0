"""The scope that the app is called with."""

from __future__ import annotations

import struct
from ast import literal_eval
from typing import Any

from worker.conftest import Serve
from worker.fake_edge import Worker, address, request_head

ECHO_SCOPE = """
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"]["shared"] = ["once"]
            return
        body = repr({key: (type(value).__name__, value) for key, value in scope.items()})
        scope["state"]["own"] = scope["asgi"]["version"] = scope["extensions"]["own"] = "changed by a request"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body.encode()})
"""


def scope_of(running: Worker, **head: Any) -> dict[str, Any]:
    scope = literal_eval(running.link.response(running.link.request(request_head(**head))).body.decode())
    assert all(kind == type(value).__name__ for kind, value in scope.values())
    return {key: value for key, (_, value) in scope.items()}


def test_scope_is_exactly_hypercorns(serve_on: Serve) -> None:
    running = serve_on(ECHO_SCOPE, "--root-path", "/mounted")
    for _ in range(2):  # the second time out of the caches
        assert scope_of(
            running,
            method=b"post",
            target=b"/caf%C3%A9/%2F%FF?q=%20&x",
            headers=[
                (b"host", b"example.org"),
                (b"x-twice", b"1"),
                (b"x-twice", b"2"),
                (b"cookie", b"a=b; c=d"),
            ],
        ) == {
            "type": "http",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "http_version": "2",
            "method": "POST",
            "scheme": "https",
            "path": "/café//\ufffd",
            "raw_path": b"/caf%C3%A9/%2F%FF",
            "query_string": b"q=%20&x",
            "root_path": "/mounted",
            "headers": [
                (b"host", b"example.org"),
                (b"x-twice", b"1"),
                (b"x-twice", b"2"),
                (b"cookie", b"a=b; c=d"),
            ],
            "client": ("127.0.0.1", 54106),
            "server": ("127.0.0.1", 8443),
            "state": {"shared": ["once"]},
            "extensions": {
                "http.response.trailers": {},
                "http.response.early_hint": {},
            },
        }


def test_files_are_offered_where_the_head_says_so(serve: Serve) -> None:
    running = serve(ECHO_SCOPE)
    files: dict[str, Any] = {"http.response.pathsend": {}, "http.response.zerocopysend": {}}
    for pathsend in (True, False, True):
        for pushes in (True, False):
            extensions = scope_of(running, pathsend=pathsend, pushes=pushes)["extensions"]
            assert {name: extensions[name] for name in files if name in extensions} == (files if pathsend else {})
            assert ("http.response.push" in extensions) == pushes


def test_scope_names_version_scheme_and_addresses(serve: Serve) -> None:
    running = serve(ECHO_SCOPE)
    for version, name in ((10, "1.0"), (11, "1.1"), (20, "2")):
        for tls, scheme in ((False, "http"), (True, "https")):
            scope = scope_of(running, version=version, tls=tls)
            assert (scope["http_version"], scope["scheme"]) == (name, scheme)
    scope = scope_of(running, client=address("::1", 1), server=b"")
    assert (scope["client"], scope["server"]) == (("::1", 1), None)


def test_fields_of_any_length_and_number_arrive_as_they_are(serve: Serve) -> None:
    running = serve(ECHO_SCOPE)
    headers = [(b"x-%d" % n, bytes([33 + n % 90]) * (n * 3)) for n in range(200)]
    headers += [(b"", b""), (b"x-latin", b"\xe9\xff"), (b"x" * 300, b"y" * 70_000)]
    for _ in range(2):
        assert scope_of(running, headers=headers)["headers"] == headers


def test_methods_that_clients_make_up_are_not_kept_for_ever(serve: Serve) -> None:
    running = serve(
        """
        import sys

        async def app(scope, receive, send):
            if scope["type"] == "http":
                same_text = "".join(list(scope["method"]))
                is_interned = sys.intern(same_text) is scope["method"]
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": b"%r %d" % (scope["method"].encode(), is_interned)})
        """
    )
    for method, answer in ((b"put", b"b'PUT' 1"), (b"Made-Up", b"b'MADE-UP' 0"), (b"GET", b"b'GET' 1")):
        assert running.link.response(running.link.request(request_head(method))).body == answer


def tls_facts(server: str, name: str | None, *chain: str, version: int = 0x0304, suite: int = 0x1301) -> bytes:
    def part(text: str | None) -> bytes:
        bytes_ = (text or "").encode()
        return struct.pack("<I", 0xFFFF_FFFF if text is None else len(bytes_)) + bytes_

    return struct.pack("<HH", version, suite) + b"".join(map(part, [server, name, *chain]))


def test_a_number_stands_for_the_tls_facts_that_were_sent_last(serve: Serve) -> None:
    running = serve(ECHO_SCOPE)
    assert "tls" not in scope_of(running)["extensions"]
    for number, name in ((1, "CN=é"), (255, None), (1, "CN=b"), (7, "CN=c")):
        chain = ["one", "two"][: 2 if name else 0]
        running.link.tls(number, tls_facts("server", name, *chain))
        for _ in range(2):
            assert scope_of(running, tls_number=number)["extensions"]["tls"] == {
                "server_cert": "server",
                "client_cert_chain": tuple(chain),
                "client_cert_name": name,
                "client_cert_error": None,
                "tls_version": 0x0304,
                "cipher_suite": 0x1301,
            }


def test_tls_facts_that_the_edge_cannot_have_sent_break_the_link(serve: Serve) -> None:
    for broken in (0, 256):
        running = serve(ECHO_SCOPE)
        running.link.tls(broken, tls_facts("server", None))
        assert running.process.wait(20) == 1
    running = serve(ECHO_SCOPE)
    running.link.get(tls_number=3)
    assert running.process.wait(20) == 1
    assert "TLS facts that the edge has not sent" in running.stderr
