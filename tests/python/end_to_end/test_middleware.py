"""``hcrs.middleware`` with real requests; the trio variants without a server of their own."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server
from hcrs.middleware import (
    HTTPToHTTPSRedirectMiddleware,
    ProxyFixMiddleware,
    TrioDispatcherMiddleware,
    TrioWSGIMiddleware,
)


@pytest.fixture
def mounted(serve: Callable[..., Server]) -> Callable[..., Server]:
    return lambda name, **keys: serve(f"middleware.py:{name}", **keys)


def scope_of(response: Any) -> Any:
    assert response.status == 200, response
    return ast.literal_eval(response.body.decode())


# ---- ProxyFixMiddleware ----

FIELDS = "x-forwarded-for: 6.6.6.6, 192.0.2.1\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https, http\r\n"


def test_proxy_fix_counts_from_the_right(mounted: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(mounted("proxy_fix").listener)
    scope = scope_of(client.get("/", FIELDS + "x-forwarded-host: example.test\r\n"))
    assert (scope["client"], scope["scheme"]) == (("10.0.0.1", 0), "http")
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"example.test"]
    client = connect_h1(mounted("proxy_fix_2").listener)
    scope = scope_of(client.get("/", FIELDS))
    assert (scope["client"], scope["scheme"]) == (("192.0.2.1", 0), "https")
    assert scope_of(client.get("/", "x-forwarded-for: 6.6.6.6\r\n"))["client"] == client.socket.getsockname()


def test_proxy_fix_of_no_hops_believes_no_field(
    mounted: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    client = connect_h1(mounted("proxy_fix_0").listener)
    assert scope_of(client.get("/", FIELDS))["client"] == client.socket.getsockname()


@pytest.mark.parametrize(
    ("value", "client", "scheme", "host"),
    [
        ('for=6.6.6.6, For="[2001:db8::1]:4711";Proto=https;host="a.test:8443"', ("2001:db8::1", 4711), "https", "a.test:8443"),
        ('for="6.6.6.6, for=192.0.2.1; proto=https', ("192.0.2.1", 0), "https", None),
        ('for="x\\\\", for=192.0.2.1:80', ("192.0.2.1", 80), "http", None),
        ("for=_hidden;proto=gopher;host=a/b", ("_hidden", 0), "http", None),
        ("for=192.0.2.1;for=192.0.2.2", None, "http", None),
        ("nonsense", None, "http", None),
    ],
)
def test_proxy_fix_reads_forwarded(
    mounted: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    value: str,
    client: Any,
    scheme: str,
    host: str | None,
) -> None:
    connection = connect_h1(mounted("proxy_fix_modern").listener)
    scope = scope_of(connection.get("/", f"forwarded: {value}\r\nx-forwarded-for: 9.9.9.9\r\n"))
    assert scope["client"] == (client or connection.socket.getsockname())
    assert scope["scheme"] == scheme
    hosts = [value.decode() for name, value in scope["headers"] if name == b"host"]
    assert hosts == [host or connection.where.authority]


def test_proxy_fix_falls_back_to_the_old_fields(
    mounted: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    client = connect_h1(mounted("proxy_fix_modern").listener)
    assert scope_of(client.get("/", "x-forwarded-for: 192.0.2.1\r\n"))["client"] == ("192.0.2.1", 0)


def run(app: Any, scope: Any, *messages: Any) -> Any:
    """Runs an app to its end without a server or a loop: nothing in it waits."""
    sent, left = [], list(messages)

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(StopIteration):
        app(scope, receive, send).send(None)
    return sent


def websocket_scope(**changes: Any) -> Any:
    return {
        "type": "websocket", "scheme": "ws", "http_version": "1.1", "path": "/a b", "raw_path": b"/a%20b",
        "query_string": b"q=1", "root_path": "", "headers": [(b"host", b"h.test")], "extensions": {}, **changes,
    }


def test_proxy_fix_of_websockets_is_wss_and_copies_no_state() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    lock = threading.Lock()  # cannot be copied
    headers = [(b"x-forwarded-proto", b"https"), (b"host", b"a")]
    scope = websocket_scope(headers=headers, state={"lock": lock})
    run(ProxyFixMiddleware(app), scope)
    assert seen[0]["scheme"] == "wss" and seen[0]["state"]["lock"] is lock
    assert scope["scheme"] == "ws", "the server's scope is left alone"
    with pytest.raises(ValueError, match="legacy"):
        ProxyFixMiddleware(app, mode="new")  # type: ignore[arg-type]


def test_forwarded_of_any_length_is_read_in_little_time() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    for value in (b',"' * 30_000, b',"\\' * 20_000, b',\\"' * 20_000, b";=" * 30_000, b'"' * 60_000):
        run(ProxyFixMiddleware(app, "modern"), websocket_scope(headers=[(b"forwarded", value)]))


# ---- HTTPToHTTPSRedirectMiddleware ----


def test_redirect_keeps_path_and_query(
    mounted: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = mounted("redirect", tls=True, insecure_bind="127.0.0.1:0")
    for connect in (connect_h1, connect_h2):
        client = connect(server.listeners[1])
        answer = client.get("/a%20b/%C3%A9?q=%20&r")
        location = answer.header("location") if connect is connect_h1 else answer.header(b"location").decode()
        assert (answer.status, location) == (307, "https://example.test/a%20b/%C3%A9?q=%20&r")
    assert connect_h1(server.listeners[0]).get("/").status == 200


def test_redirect_to_the_named_host(mounted: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = mounted("redirect_to_named", root_path="/root")
    client = connect_h1(server.listener)
    client.send("GET /x HTTP/1.1\r\nhost: named.test:8000\r\n\r\n")
    answer = client.response()
    assert (answer.status, answer.header("location")) == (307, "https://named.test:8000/root/x")
    client.send("GET /root/x HTTP/1.1\r\nhost: named.test\r\n\r\n")
    assert client.response().header("location") == "https://named.test/root/x"
    client.send("GET / HTTP/1.0\r\n\r\n")
    assert client.response().status == 400


def test_redirect_of_websockets() -> None:
    app = HTTPToHTTPSRedirectMiddleware(None, None)  # type: ignore[arg-type]
    connect = {"type": "websocket.connect"}
    assert run(app, websocket_scope(), connect) == [{"type": "websocket.close"}]
    denial: dict[str, dict[str, Any]] = {"websocket.http.response": {}}
    start, _ = run(app, websocket_scope(extensions=denial), connect)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 307)
    assert dict(start["headers"])[b"location"] == b"wss://h.test/a%20b?q=1"
    start, _ = run(app, websocket_scope(extensions=denial, http_version="2"), connect)
    assert dict(start["headers"])[b"location"] == b"https://h.test/a%20b?q=1"


# ---- DispatcherMiddleware ----


def test_dispatcher_mounts_at_the_boundary_of_a_segment(
    mounted: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    client = connect_h1(mounted("dispatcher").listener)
    for path, root in [("/foo", "/foo"), ("/foo/x", "/foo"), ("/foobar", "/foobar"), ("/plain/", "/plain"),
                       ("/nested/inner/y", "/nested/inner")]:
        scope = scope_of(client.get(path))
        assert (scope["root_path"], scope["path"]) == (root, path)
    for path in ("/", "/foob", "/nested", "/nested/innermost"):
        assert client.get(path).status == 404
    assert client.get("/redirect/x?y").header("location") == "https://example.test/redirect/x?y"
    assert "'SCRIPT_NAME': '/wsgi'" in client.get("/wsgi/environ").body.decode()


def test_dispatcher_below_a_root_path(mounted: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(mounted("dispatcher", root_path="/root").listener)
    assert scope_of(client.get("/foo/x"))["root_path"] == "/root/foo"
    assert scope_of(client.get("/root/foo/x"))["root_path"] == "/root/foo"


def test_dispatcher_closes_websockets_of_unknown_paths() -> None:
    from hcrs.middleware import DispatcherMiddleware

    connect = {"type": "websocket.connect"}
    assert run(DispatcherMiddleware({}), websocket_scope(), connect) == [{"type": "websocket.close"}]


def test_dispatcher_starts_and_stops_every_mount_that_has_a_lifespan(
    mounted: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = mounted("dispatcher")
    state = scope_of(connect_h1(server.listener).get("/foo"))["state"]
    assert state == {"foo": "startup", "foobar": "startup", "inner": "startup"}
    assert server.stop() == 0
    for name in state:
        assert server.log.count(f"{name} startup") == server.log.count(f"{name} shutdown") == 1


def test_dispatcher_says_when_a_mount_fails(launch: Callable[..., Server], mounted: Callable[..., Server]) -> None:
    server = launch("middleware.py:failing")
    assert server.wait_for_exit() != 0
    assert "/b: as it was told to" in server.log
    server = mounted("failing_end")
    assert server.stop() != 0
    assert "/b: as it was told to" in server.log


def test_dispatcher_on_trio() -> None:
    trio = pytest.importorskip("trio")
    said = []

    async def with_lifespan(scope: Any, receive: Any, send: Any) -> None:
        for stage in ("startup", "shutdown"):
            said.append((await receive())["type"])
            await send({"type": f"lifespan.{stage}.complete"})

    async def without(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError(scope["type"])

    sent = []
    asked = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return asked.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def main() -> None:
        with trio.fail_after(10):
            app = TrioDispatcherMiddleware({"/a": with_lifespan, "/b": without})
            await app({"type": "lifespan"}, receive, send)

    trio.run(main)
    assert said == ["lifespan.startup", "lifespan.shutdown"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# ---- WSGI ----


@pytest.fixture
def wsgi(mounted: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> Any:
    server = mounted("mounted_wsgi")
    client: Any = connect_h1(server.listener)
    client.server = server
    return client


def test_wsgi_environ_is_to_the_letter(wsgi: Any) -> None:
    wsgi.request("GET", "/environ?a=%20", "x-a: 1\r\nx-a: 2\r\nx_a: 3\r\nproxy: evil\r\n")
    environ = ast.literal_eval(wsgi.response().body.decode())
    host, port = wsgi.socket.getsockname()
    for key, value in {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/environ", "QUERY_STRING": "a=%20",
        "SERVER_NAME": wsgi.where.host, "SERVER_PORT": str(wsgi.where.port), "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": host, "REMOTE_PORT": str(port), "HTTP_X_A": "1,2", "wsgi.url_scheme": "http",
    }.items():
        assert environ[key] == value
    assert "HTTP_PROXY" not in environ


def test_wsgi_protocol_has_two_numbers(wsgi: Any, connect_h2: Callable[..., Any]) -> None:
    environ = ast.literal_eval(connect_h2(wsgi.server.listener).get("/environ").body.decode())
    assert environ["SERVER_PROTOCOL"] == "HTTP/2.0"  # RFC 3875 §4.1.16


def test_wsgi_answers(wsgi: Any) -> None:
    assert (wsgi.get("/empty").status, wsgi.get("/none").status) == (204, 404)
    assert wsgi.get("/write").body == b"written and returned"
    replaced = wsgi.get("/replaced")
    assert (replaced.status, replaced.body) == (503, b"replaced")
    assert wsgi.get("/silent").status == 500


def test_wsgi_body_has_a_greatest_length(wsgi: Any) -> None:
    wsgi.request("POST", "/echo", body=b"x" * 100)
    assert wsgi.response().body == b"x" * 100
    wsgi.request("POST", "/echo", body=b"x" * 101)
    assert wsgi.response().status == 413


def test_wsgi_result_is_closed_when_it_fails(wsgi: Any) -> None:
    wsgi.request("GET", "/closed")
    wsgi.assert_cut()
    wsgi.server.wait_for_log("^closed$")


def test_wsgi_on_trio() -> None:
    trio = pytest.importorskip("trio")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [environ["wsgi.input"].read(), threading.current_thread().name.encode()]

    sent = []
    body = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"}]

    async def receive() -> Any:
        return body.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = websocket_scope(type="http", method="POST", scheme="http")

    async def main() -> None:
        with trio.fail_after(10):
            await TrioWSGIMiddleware(app)(scope, receive, send)

    trio.run(main)
    assert [message.get("body") for message in sent][1] == b"ab"
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
