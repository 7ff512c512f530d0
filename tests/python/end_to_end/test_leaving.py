"""Apps whose client has left: what they receive, and that other requests do not notice."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.server import Server, wait_until
from end_to_end.ws_client import CLOSE, TEXT, WsClient, frame, open_over_h1, open_over_h2

Serve = Callable[..., Server]
Seen = Callable[[Server], list[str]]
OpenWs = Callable[[Server, str], WsClient]
Leave = Callable[[WsClient], None]

#: How an app may be served.
WAYS = {
    "asyncio": {"app": "leaving.py:app", "worker_class": "asyncio"},
    "trio": {"app": "leaving.py:app", "worker_class": "trio"},
    "asgi2": {"app": "leaving.py:version_2", "worker_class": "asyncio"},
}


@pytest.fixture(params=list(WAYS))
def leaving(request: pytest.FixtureRequest, serve: Serve) -> Server:
    """One worker, so that a task that keeps its loop keeps it from all others."""
    return start(serve, **WAYS[request.param])


@pytest.fixture
def asyncio_only(serve: Serve) -> Server:
    return start(serve, **WAYS["asyncio"])


@pytest.fixture
def starlette(serve: Serve) -> Server:
    return start(serve, "leaving_starlette.py:app", "asyncio")


def start(serve: Serve, app: str, worker_class: str) -> Server:
    options = {"workers": 1, "loglevel": "debug", "graceful_timeout": 0.5, "hcrs": {"lifespan": "off"}}
    return serve(app, worker_class=worker_class, **options)


@pytest.fixture
def seen(key: str) -> Seen:
    """The app's notes under the test's key, asked for by another client."""

    def seen(server: Server) -> list[str]:
        with H1Client(server.listener) as client:
            return client.get(f"/note?{key}").body.decode().splitlines()

    return seen


class Clients:
    """Connections to a server, which are all closed before it is asked whether it has anything to complain of."""

    def __init__(self) -> None:
        self._open: list[H1Client | H2Client | H3Client] = []

    def h1(self, server: Server) -> H1Client:
        client = H1Client(server.listener)
        self._open.append(client)
        return client

    def multiplexed(self, server: Server, version: str) -> H2Client | H3Client:
        client = H3Client(server.quic) if version == "h3" else H2Client(server.listener)
        self._open.append(client)
        return client

    def close(self) -> None:
        for client in self._open:
            client.close()

    def leave_quietly(self, server: Server) -> None:
        """Closes the connections and stops the server, whose log says nothing of errors."""
        self.close()
        assert server.stop() == 0
        assert not re.search(r"\[(ERROR|WARNING|CRITICAL)\]|Traceback", server.log), server.log


@pytest.fixture
def clients() -> Iterator[Clients]:
    clients = Clients()
    yield clients
    clients.close()


class Asking:
    """A request that its client abandons, over any protocol."""

    def __init__(self, clients: Clients, server: Server, target: str, version: str) -> None:
        self.version = version
        if version == "h1":
            self.h1 = clients.h1(server)
            self.h1.request("GET", target)
        else:
            self.multiplexed = clients.multiplexed(server, version)
            self.stream = self.multiplexed.request("GET", target)

    def status(self) -> int | None:
        """Waits for the head of the response and returns its status."""
        return self.h1.head().status if self.version == "h1" else self.multiplexed.head(self.stream).status

    def leave(self) -> None:
        if self.version == "h1":
            self.h1.close()
        else:
            self.multiplexed.reset(self.stream)


Ask = Callable[[Server, str], Asking]


@pytest.fixture(params=["h1", "h2", "h3"])
def ask(request: pytest.FixtureRequest, clients: Clients) -> Ask:
    """Sends a request over any protocol."""
    return lambda server, target: Asking(clients, server, target, request.param)


@pytest.mark.parametrize("target", ["spin-on-receive", "spin-on-send", "spin-after-the-response"])
def test_an_app_that_ignores_the_end_leaves_turns_to_other_requests(
    leaving: Server,
    clients: Clients,
    seen: Seen,
    ask: Ask,
    target: str,
    key: str,
) -> None:
    asking = ask(leaving, f"/{target}?{key}")
    wait_until(lambda: seen(leaving), "the app to begin")
    asking.leave()
    if target == "spin-on-receive":
        wait_until(
            lambda: seen(leaving) == ["http.request", *["http.disconnect"] * 99], "the end to be told each time"
        )
        # Over HTTP/1.1 nobody knows whether a client that has closed its side still reads: it is owed a response.
        clients.close()
        assert leaving.stop() == (3 if asking.version == "h1" else 0)
    elif target == "spin-on-send":
        before = seen(leaving)
        wait_until(lambda: seen(leaving) != before, "the app to go on sending nowhere")
    else:
        assert seen(leaving) == ["UnexpectedMessageError"]


def test_an_app_that_never_notices_uses_next_to_no_cpu(
    asyncio_only: Server, clients: Clients, seen: Seen, key: str
) -> None:
    asking = Asking(clients, asyncio_only, f"/spin-on-send?{key}", "h2")
    wait_until(lambda: seen(asyncio_only), "the app to begin")
    asking.leave()
    worker = asyncio_only.worker_pids()[0]

    def used() -> float:
        fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rests() -> bool:
        before = used()
        time.sleep(0.5)  # CPU is used over some time
        return used() - before < 0.25

    wait_until(rests, "the app to be paced")
    before = seen(asyncio_only)
    wait_until(lambda: seen(asyncio_only) != before, "the app to go on all the same")


@pytest.mark.parametrize("target", ["returns-when-told", "returns-before-the-response"])
def test_a_client_that_leaves_is_no_error_of_the_app(
    leaving: Server,
    clients: Clients,
    seen: Seen,
    ask: Ask,
    target: str,
    key: str,
) -> None:
    asking = ask(leaving, f"/{target}?{key}")
    if target == "returns-before-the-response":
        wait_until(lambda: seen(leaving), "the app to begin")
    else:
        assert asking.status() == 200
    asking.leave()
    wait_until(lambda: "told" in seen(leaving), "the app to be told")
    clients.leave_quietly(leaving)


def test_a_client_that_has_closed_its_side_sees_what_the_app_leaves_out(
    asyncio_only: Server, clients: Clients, key: str
) -> None:
    client = clients.h1(asyncio_only)
    client.request("GET", f"/returns-when-told?{key}")
    assert client.head().status == 200
    assert client.chunk() == b"tick\n"
    client.half_close()
    client.assert_cut()
    clients.leave_quietly(asyncio_only)


def test_an_error_of_the_app_after_the_client_has_left_is_logged(asyncio_only: Server, clients: Clients, key: str) -> None:
    asking = Asking(clients, asyncio_only, f"/raises-when-told?{key}", "h1")
    assert asking.status() == 200
    asking.leave()
    asyncio_only.wait_for_log("LookupError: a mistake of the app")


@pytest.mark.parametrize("version", ["h1", "h2", "h3"])
def test_a_response_is_complete_when_nothing_of_it_is_missing(
    asyncio_only: Server, clients: Clients, version: str
) -> None:
    def answers(method: str, target: str) -> tuple[int | None, bytes]:
        if version == "h1":
            client = clients.h1(asyncio_only)
            client.request(method, target)
            response = client.response(to_head=method == "HEAD")
            assert client.get("/complete-by-length").body == b"whole", "the connection goes on"
            return response.status, response.body
        multiplexed = clients.multiplexed(asyncio_only, version)
        stream = multiplexed.response(multiplexed.request(method, target))
        assert stream.ended, stream
        return stream.status, stream.body

    assert answers("GET", "/complete-by-length") == (200, b"whole")
    for status in (200, 404, 204, 304):
        assert answers("GET", f"/head-only?{status}") == (status, b"")
        assert answers("HEAD", f"/head-only?{status}") == (status, b"")
    assert answers("HEAD", "/head-for-head") == (200, b"")
    clients.leave_quietly(asyncio_only)


def test_a_response_that_is_short_of_its_length_is_an_error(asyncio_only: Server, clients: Clients) -> None:
    client = clients.h1(asyncio_only)
    client.request("GET", "/short-of-its-length")
    asyncio_only.wait_for_log(
        r"\[ERROR\] Error in ASGI Framework: the app has returned without completing its response"
    )


# ---- WebSockets ----


@pytest.fixture(params=["h1", "h2", "h3"])
def open_ws(request: pytest.FixtureRequest, clients: Clients) -> OpenWs:
    """Opens a WebSocket over any protocol."""

    def open_ws(server: Server, target: str) -> WsClient:
        if request.param == "h1":
            return open_over_h1(clients.h1(server), target)
        return open_over_h2(clients.multiplexed(server, request.param), target)

    return open_ws


@pytest.fixture(params=["well", "badly"])
def leave(request: pytest.FixtureRequest) -> Leave:
    """Leaves a WebSocket with a Close frame, or without a word."""

    def leave(client: WsClient) -> None:
        if request.param == "well":
            client.close(1000)
        else:
            client.transport.end()

    return leave


@pytest.mark.parametrize("target", ["blind-echo", "only-sends"])
def test_send_after_the_client_has_left_raises_and_is_no_error_of_the_app(
    leaving: Server,
    clients: Clients,
    open_ws: OpenWs,
    leave: Leave,
    seen: Seen,
    target: str,
    key: str,
) -> None:
    client = open_ws(leaving, f"/{target}?{key}")
    if target == "blind-echo":
        client.send("hello")
        assert client.receive() == "hello"
    leave(client)
    wait_until(lambda: "ClientGoneError" in "".join(seen(leaving)), "send to raise")
    if target == "blind-echo":
        expected = ["websocket.receive", "websocket.disconnect", "ClientGoneError True"]
        assert seen(leaving) == expected
    leaving.wait_for_log(r"\[DEBUG\] The app has ended because its client has disconnected: ClientGoneError")
    clients.leave_quietly(leaving)


def test_close_after_the_client_has_left_neither_waits_nor_raises(
    asyncio_only: Server,
    clients: Clients,
    open_ws: OpenWs,
    leave: Leave,
    seen: Seen,
    key: str,
) -> None:
    client = open_ws(asyncio_only, f"/closes-behind-what-is-unsent?{key}")

    def is_stuck() -> bool:
        before = seen(asyncio_only)
        time.sleep(0.2)  # that nothing goes on shows over some time
        return bool(before) and seen(asyncio_only) == before

    wait_until(is_stuck, "a message to wait for the client's window")
    leave(client)
    wait_until(lambda: seen(asyncio_only)[-2:] == ["gone", "closed"], "the app to close")
    clients.leave_quietly(asyncio_only)


def test_the_end_of_a_websocket_is_received_once(
    leaving: Server,
    clients: Clients,
    open_ws: OpenWs,
    leave: Leave,
    seen: Seen,
    key: str,
) -> None:
    client = open_ws(leaving, f"/hears-twice?{key}")
    client.send("hello")
    wait_until(lambda: seen(leaving), "the message")
    leave(client)
    wait_until(lambda: len(seen(leaving)) == 3, "the app to be told")
    for _ in range(20):
        with H1Client(leaving.listener) as other:
            assert other.get(f"/note?{key}").body.count(b"websocket.disconnect") == 1
    clients.leave_quietly(leaving)  # what still waits is cancelled


def test_messages_before_a_clients_close_are_received_and_then_its_own_code(
    asyncio_only: Server,
    clients: Clients,
    open_ws: OpenWs,
    seen: Seen,
    key: str,
) -> None:
    client = open_ws(asyncio_only, f"/answers-late?{key}")
    count = 200
    client.send_bytes(b"".join(frame(TEXT, b"%d" % number) for number in range(count)) + frame(CLOSE, b"\x0f\xa1bye"))
    expected = [*(f"{number}" for number in range(count)), "4001 bye"]
    wait_until(lambda: seen(asyncio_only) == expected, "every message and the client's own code")
    clients.leave_quietly(asyncio_only)


def test_close_after_the_clients_close_does_nothing(
    leaving: Server,
    clients: Clients,
    open_ws: OpenWs,
    seen: Seen,
    key: str,
) -> None:
    client = open_ws(leaving, f"/closes-what-is-closed?{key}")
    client.close(1000)
    wait_until(lambda: seen(leaving) == ["websocket.disconnect", "closed"], "the app to close")
    clients.leave_quietly(leaving)


# ---- frameworks ----


def test_an_export_that_never_waits_ends_with_its_client(
    starlette: Server, clients: Clients, seen: Seen, ask: Ask, key: str
) -> None:
    asking = ask(starlette, f"/rows?{key}")
    wait_until(lambda: seen(starlette) == ["begun"], "the export to begin")
    asking.leave()
    wait_until(lambda: seen(starlette) == ["ended"], "the export to end")
    clients.leave_quietly(starlette)


def test_middleware_and_endpoint_both_learn_that_the_client_has_left(
    starlette: Server, clients: Clients, seen: Seen, ask: Ask, key: str
) -> None:
    asking = ask(starlette, f"/asks-twice?{key}")
    wait_until(lambda: seen(starlette) == ["begun"], "the request to begin")
    asking.leave()
    wait_until(lambda: seen(starlette) == ["begun", "middleware", "endpoint"], "both to be told")
    clients.leave_quietly(starlette)


@pytest.mark.parametrize("version", ["h1", "h2", "h3"])
def test_an_upload_that_is_given_up_is_no_error(
    starlette: Server, clients: Clients, seen: Seen, version: str, key: str
) -> None:
    if version == "h1":
        h1 = clients.h1(starlette)
        h1.send(f"POST /upload?{key} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
        wait_until(lambda: seen(starlette), "the request to begin")
        h1.close()
    else:
        multiplexed = clients.multiplexed(starlette, version)
        stream = multiplexed.request("POST", f"/upload?{key}", body=b"abc", end=False)
        wait_until(lambda: seen(starlette), "the request to begin")
        multiplexed.reset(stream)
    starlette.wait_for_log(r"\[DEBUG\] The app has ended because its client has disconnected: ClientDisconnect")
    clients.leave_quietly(starlette)


@pytest.mark.parametrize("target", ["receives", "sends"])
def test_a_websocket_of_starlette_ends_with_its_client(
    starlette: Server,
    clients: Clients,
    open_ws: OpenWs,
    leave: Leave,
    seen: Seen,
    target: str,
    key: str,
) -> None:
    client = open_ws(starlette, f"/{target}?{key}")
    if target == "receives":
        client.send("hello")
        wait_until(lambda: seen(starlette) == ["hello"], "the message")
    leave(client)
    starlette.wait_for_log(r"\[DEBUG\] The app has ended because its client has disconnected: WebSocketDisconnect")
    clients.leave_quietly(starlette)


def test_a_wsgi_app_that_writes_after_its_client_has_left_is_no_error(serve: Serve, clients: Clients, ask: Ask) -> None:
    server = serve("wsgi:leaving.py:wsgi", workers=1, loglevel="debug", graceful_timeout=0.5)
    asking = ask(server, "/")
    assert asking.status() == 200
    asking.leave()
    server.wait_for_log(r"\[DEBUG\] The app has ended because its client has disconnected: ClientGoneError")
    clients.leave_quietly(server)
