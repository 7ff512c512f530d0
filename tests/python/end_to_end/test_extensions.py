"""ASGI's HTTP extensions, over every protocol."""

from __future__ import annotations

import ast
import os
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from end_to_end.apps.extensions import LINKS
from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until
from source_numbers import numbers

TRAILERS = [("te", "trailers")]
FILES = {"http.response.pathsend", "http.response.zerocopysend"}


CREDIT = numbers("hcrs-link/src/credit.rs")

#: Responses of a connection that may have files open, and the most files of one.
PERMITS = numbers("hcrs-server/src/exchange/file_permits.rs")["CONNECTION_MAX"]
FILES_MAX = (CREDIT["RESPONSE_WINDOW"] + CREDIT["RESPONSE_WINDOW_GROWTH"]) // CREDIT["FILE_COST"]


@dataclass
class Answer:
    """A response, whatever its protocol."""

    status: int
    headers: dict[str, str]
    body: bytes
    trailers: list[tuple[str, str]] = field(default_factory=list)
    #: The fields of each interim response.
    interim: list[list[tuple[str, str]]] = field(default_factory=list)


@pytest.fixture(scope="module")
def server(share: Callable[..., Server]) -> Server:
    """The app, which may name files to be sent."""
    return share("extensions.py:app", tls=True, hcrs={"pathsend": True})


@pytest.fixture
def fetch(server: Server, protocol: str, connect_h1: Any, connect_multiplexed: Any) -> Callable[..., Answer]:
    """Sends a request over the protocol of the test."""
    where = server.listener_for(protocol)

    def over_h1(path: str, headers: list[tuple[str, str]] | None = None, method: str = "GET") -> Answer:
        client = connect_h1(where)
        client.request(method, path, "".join(f"{name}: {value}\r\n" for name, value in headers or []))
        interim = []
        while (response := client.response(to_head=method == "HEAD")).status < 200:
            assert response.status == 103
            interim.append(response.headers)
        if response.header("connection") != "close":
            client.request("GET", "/hints?count=0")
            assert client.response().body == b"hinted", "the connection lives on"
        fields = {name.lower(): value for name, value in response.headers}
        return Answer(response.status, fields, response.body, response.trailers, interim)

    def over_h2(path: str, headers: list[tuple[str, str]] | None = None, method: str = "GET") -> Answer:
        client = connect_multiplexed(where)
        stream = client.response(client.request(method, path, headers or []))
        assert stream.reset is None

        def fields(items: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
            return [(name.decode(), value.decode()) for name, value in items]

        interim = [fields(head) for head in stream.informational]
        assert all(head.pop(0) == (":status", "103") for head in interim)
        return Answer(
            stream.status, dict(fields(stream.headers)), stream.body, fields(stream.trailers or []), interim
        )

    return over_h1 if protocol.startswith("h1") else over_h2


def lower(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in fields]


# ---- what is offered ----


def test_a_scope_names_the_extensions_and_each_request_has_its_own(fetch: Callable[..., Answer], protocol: str) -> None:
    for _ in range(2):
        extensions = ast.literal_eval(fetch("/show").body.decode())
        assert FILES | {"http.response.trailers", "http.response.early_hint"} <= set(extensions)
        assert "http.response.debug" not in extensions


def test_http_1_0_is_offered_none_that_it_has_no_means_for(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listeners[1])
    client.send("GET /show HTTP/1.0\r\n\r\n")
    extensions = ast.literal_eval(client.response().body.decode())
    assert set(extensions) == FILES


@pytest.mark.parametrize("pathsend", [False, True])
def test_files_are_offered_where_that_is_asked_for(
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    connect_h2: Callable[..., H2Client],
    pathsend: bool,
) -> None:
    server = serve("extensions.py:app", **({"hcrs": {"pathsend": True}} if pathsend else {}))
    for connect in (connect_h1, connect_h2):
        extensions = ast.literal_eval(connect(server.listener).get("/show").body.decode())
        assert FILES & set(extensions) == (FILES if pathsend else set())


def test_debug_information_is_taken_and_goes_nowhere(fetch: Callable[..., Answer]) -> None:
    assert fetch("/debug").body == b"shown"


# ---- trailers ----


@pytest.mark.parametrize("query", ["", "?pieces=3&size=100000", "?pieces=1&size=400000"])
def test_trailers_follow_the_body(fetch: Callable[..., Answer], query: str) -> None:
    answer = fetch("/trailers" + query, TRAILERS)
    assert answer.status == 200
    assert set(answer.body) == {ord("x")}
    assert lower(answer.trailers) == [("x-first", "1"), ("x-second", "2"), ("x-second", "3")]


def test_trailers_follow_a_response_without_body(fetch: Callable[..., Answer]) -> None:
    answer = fetch("/trailers_alone", TRAILERS)
    assert answer.body == b"" and answer.trailers == [("x-only", "1")]


def test_trailers_are_for_clients_that_take_them(fetch: Callable[..., Answer]) -> None:
    answer = fetch("/trailers")
    assert answer.body == b"xxxxx" and answer.trailers == []


def test_trailers_beside_a_length_have_no_place_in_http_1(fetch: Callable[..., Answer], protocol: str) -> None:
    answer = fetch("/trailers?length=5", TRAILERS)
    assert answer.body == b"xxxxx" and answer.headers["content-length"] == "5"
    assert bool(answer.trailers) == (not protocol.startswith("h1"))


def test_no_trailers_and_no_body_answer_head(fetch: Callable[..., Answer]) -> None:
    answer = fetch("/trailers", TRAILERS, method="HEAD")
    assert (answer.status, answer.body, answer.trailers) == (200, b"", [])


def test_a_last_message_without_trailers_ends_the_response(fetch: Callable[..., Answer]) -> None:
    answer = fetch("/trailers_empty", TRAILERS)
    assert answer.body == b"body" and answer.trailers == []


def test_trailers_that_were_announced_and_not_sent_leave_the_response_unfinished(
    server: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any]
) -> None:
    where = server.listener_for(protocol)
    if protocol.startswith("h1"):
        client = connect_h1(where)
        client.request("GET", "/trailers_forgotten", "te: trailers\r\n")
        client.head()
        assert client.chunk() == b"body"
        client.assert_closed()
    else:
        client = connect_multiplexed(where)
        stream = client.response(client.request("GET", "/trailers_forgotten", TRAILERS))
        assert stream.reset is not None and not stream.ended


def test_http_1_0_gets_the_body_without_trailers(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listeners[1])
    client.send("GET /trailers HTTP/1.0\r\nte: trailers\r\n\r\n")
    assert client.response().body == b"xxxxx"


# ---- early hints ----


def test_early_hints_come_before_the_response(fetch: Callable[..., Answer]) -> None:
    answer = fetch("/hints?count=2")
    assert answer.interim == [[("link", link.decode())] for link in LINKS]
    assert (answer.status, answer.body) == (200, b"hinted")


def test_http_1_0_gets_no_hints(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listeners[1])
    client.send("GET /hints?count=2 HTTP/1.0\r\n\r\n")
    response = client.response()
    assert (response.status, response.body) == (200, b"hinted")


def test_a_flood_of_hints_is_cut_short(fetch: Callable[..., Answer]) -> None:
    answer = fetch("/flood_of_hints")
    assert len(answer.interim) == 16
    assert (answer.status, answer.body) == (200, b"hinted")


# ---- files ----


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of some pieces' length, in which each place is known by its bytes."""
    made = tmp_path / "file with spaces"
    made.write_bytes(b"".join(b"%07d\n" % number for number in range(100_000)))
    return made


def quoted(path: Path) -> str:
    return str(path).replace(" ", "%20")


def test_a_file_is_sent_by_its_path(fetch: Callable[..., Answer], file: Path) -> None:
    answer = fetch(f"/path?file={quoted(file)}")
    assert answer.status == 200 and answer.body == file.read_bytes()


def test_a_file_keeps_the_length_that_was_announced(fetch: Callable[..., Answer], file: Path) -> None:
    size = file.stat().st_size
    answer = fetch(f"/path?file={quoted(file)}&length={size}")
    assert answer.headers["content-length"] == str(size) and answer.body == file.read_bytes()
    assert fetch(f"/path?file={quoted(file)}&length={size + 1}").status == 500
    assert fetch(f"/path?file={quoted(file)}&length={size - 1}").status == 500


def test_a_file_may_be_removed_once_it_was_named(fetch: Callable[..., Answer], file: Path) -> None:
    whole = file.read_bytes()
    assert fetch(f"/path?file={quoted(file)}&remove=yes").body == whole
    assert not file.exists()


def test_a_file_is_sent_by_a_worker_into_which_no_process_may_look(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], file: Path
) -> None:
    client = connect_h1(serve("extensions.py:app").listener)
    answer = client.get(f"/path?file={quoted(file)}&hide=yes")
    assert (answer.status, answer.body) == (200, file.read_bytes())


def test_the_file_response_of_starlette_leaves_its_file_to_the_edge(
    server: Server, fetch: Callable[..., Answer], file: Path
) -> None:
    whole = file.read_bytes()
    answer = fetch(f"/file_response?file={quoted(file)}")
    assert answer.body == whole and answer.headers["content-length"] == str(len(whole))
    wait_until(lambda: not file.exists(), "the background task")
    assert "AssertionError" not in server.log


def test_an_empty_file_is_an_empty_body(fetch: Callable[..., Answer], tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    answer = fetch(f"/path?file={tmp_path}/empty")
    assert (answer.status, answer.body) == (200, b"")


def test_the_head_of_a_file_has_its_length_and_no_body(fetch: Callable[..., Answer], file: Path) -> None:
    size = file.stat().st_size
    answer = fetch(f"/path?file={quoted(file)}&length={size}", method="HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, str(size), b"")


def test_a_path_that_is_not_a_regular_file_fails_the_app_before_anything_is_sent(
    server: Server, fetch: Callable[..., Answer], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("missing", "fifo", ""):
        assert fetch(f"/path?file={tmp_path}/{name}").status == 500
    missing = f"FileNotFoundError: [Errno 2] No such file or directory: '{tmp_path}/missing'"
    for said in (missing, f"ValueError: {tmp_path}/fifo is not a regular file"):
        server.wait_for_log(re.escape(said))


@pytest.mark.parametrize(
    ("query", "begin", "end", "place"),
    [
        ("", 0, 800_000, 800_000),
        ("&seek=5", 5, 800_000, 800_000),
        ("&seek=5&count=100000", 5, 100_005, 100_005),
        ("&offset=7", 7, 800_000, 0),
        ("&offset=7&count=9", 7, 16, 0),
        ("&offset=799999&count=9", 799_999, 800_000, 0),
        ("&offset=900000", 0, 0, 0),
        ("&count=0", 0, 0, 0),
    ],
)
def test_a_part_of_an_open_file_stands_between_pieces_of_body(
    fetch: Callable[..., Answer], file: Path, query: str, begin: int, end: int, place: int
) -> None:
    answer = fetch(f"/descriptor?file={quoted(file)}{query}")
    assert answer.body == b"<" + file.read_bytes()[begin:end] + b">" + str(place).encode()


def test_many_files_in_one_response_wait_for_the_client(fetch: Callable[..., Answer], file: Path) -> None:
    answer = fetch(f"/descriptors?file={quoted(file)}&times=20")
    assert answer.body == file.read_bytes() * 20


@pytest.mark.parametrize(("asked", "parts"), [("5-100004", [(5, 100_005)]), ("-100000", [(700_000, 800_000)])])
def test_ranges_of_the_file_response_of_starlette(
    fetch: Callable[..., Answer], file: Path, asked: str, parts: Any
) -> None:
    whole = file.read_bytes()
    answer = fetch(f"/ranges?file={quoted(file)}", [("range", f"bytes={asked}")])
    ((begin, end),) = parts
    assert (answer.status, answer.body) == (206, whole[begin:end])
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(whole)}"
    answer = fetch(f"/ranges?file={quoted(file)}", method="HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, str(len(whole)), b"")


def test_what_a_cleartext_socket_holds_of_a_file_are_the_files_own_pages(
    server: Server, connect_h1: Callable[..., H1Client], large: Path
) -> None:
    """Bytes that are copied into a socket stay as they were; those of sendfile(2) do not."""
    size = large.stat().st_size
    client = connect_h1(server.listeners[1], receive_buffer=65536)
    client.request("GET", f"/path?file={large}&length={size}")
    wait_until(lambda: len(client.socket.recv(60_000, socket.MSG_PEEK)) == 60_000, "the file to be on its way")
    with large.open("r+b") as changed:
        changed.write(b"new" * (size // 3))
    client.head()
    body = client.exactly(size)
    assert body[:3000] == b"new" * 1000


def test_files_are_logged_by_the_bytes_that_were_sent(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], file: Path
) -> None:
    server = serve("extensions.py:app", accesslog="-", access_log_format="%(m)s %(s)s %(bytes_sent)s;")
    client = connect_h1(server.listener)
    target = f"/path?file={quoted(file)}&length=800000"
    client.request("GET", target)
    client.request("GET", target)
    assert client.response().body == client.response().body == file.read_bytes()
    client.request("HEAD", target)
    client.response(to_head=True)
    client.close()
    wait_until(lambda: server.output.count("\n") == 3, "the access log")
    said = re.findall("(GET|HEAD) 200 ([0-9]+);$", server.output, re.MULTILINE)
    assert said == [("GET", "800000"), ("GET", "800000"), ("HEAD", "0")]


def holding(
    where: Any, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], target: Any
) -> Any:
    """Asks for a response that is not read. Returns a function that reads it to its end, or to where it is cut off."""
    if protocol.startswith("h1"):
        client = connect_h1(where, receive_buffer=65536)
        client.request("GET", target)
        length = int(client.head().header("content-length"))

        def read_h1() -> tuple[bytes, bool]:
            data = bytearray()
            try:
                while len(data) < length:
                    data += client.exactly(min(65536, length - len(data)))
            except (Closed, OSError):
                return bytes(data), False
            return bytes(data), True

        return read_h1
    client = connect_multiplexed(where, window=65535)
    stream = client.request("GET", target)
    client.held.add(stream)
    client.wait(lambda: client.is_full(stream), "the window")

    def read_h2() -> tuple[bytes, bool]:
        client.release(stream)
        response = client.response(stream)
        return response.body, response.reset is None

    return read_h2


@pytest.fixture
def large(tmp_path: Path) -> Path:
    made = tmp_path / "large"
    made.write_bytes(os.urandom(1 << 20) * 32)
    return made


def test_a_file_that_shrinks_cuts_its_response_off(
    server: Server, protocol: str, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], large: Path
) -> None:
    where = server.listener_for(protocol)
    target = f"/path?file={large}&length={large.stat().st_size}"
    read = holding(where, protocol, connect_h1, connect_multiplexed, target)
    os.truncate(large, 20 << 20)
    data, whole = read()
    assert not whole and len(data) <= 20 << 20
    server.wait_for_log("The file of a response ended")


def test_a_file_outlives_the_worker_that_named_it(
    serve: Callable[..., Server],
    protocol: str,
    connect_h1: Callable[..., Any],
    connect_multiplexed: Callable[..., Any],
    large: Path,
) -> None:
    server = serve("extensions.py:app", tls=protocol in ("h1-tls", "h2"))
    target = f"/path?file={large}&length={large.stat().st_size}"
    where = server.listener_speaking(protocol)
    read = holding(where, protocol, connect_h1, connect_multiplexed, target)
    assert connect_h1(server.listener).get("/die").status == 502
    data, whole = read()
    assert whole and data == large.read_bytes()


@pytest.fixture
def copies(tmp_path: Path) -> list[Path]:
    """Twice as many files as a connection may have open, each larger than what its client lets come."""
    made = [tmp_path / f"copy-{number}" for number in range(2 * PERMITS)]
    for number, path in enumerate(made):
        path.write_bytes(b"%07d\n" % number * (1 << 17))
    return made


def open_in_the_edge(server: Server, paths: list[Path]) -> list[str]:
    """The files that the edge has open, one of them as often as it is open."""
    names = {str(path) for path in paths}
    found = []
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue  # closed meanwhile
    return [name for name in found if name in names]


@pytest.mark.parametrize("tls", [True, False], ids=["h2", "h2c"])
def test_files_beyond_the_permits_of_a_connection_come_as_bytes_of_the_worker(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], copies: list[Path], tls: bool
) -> None:
    server = serve("extensions.py:app", tls=tls)
    client = connect_h2(server.listener, window=65535)
    streams = [client.request("GET", f"/path?file={path}") for path in copies]
    client.held.update(streams)
    client.wait(lambda: all(client.streams[stream].length == 65535 for stream in streams), "the windows")
    opened = open_in_the_edge(server, copies)
    assert len(opened) == len(set(opened)) == PERMITS
    for stream in reversed(streams):
        client.release(stream)
    for stream, path in zip(streams, copies, strict=True):
        assert client.response(stream).body == path.read_bytes()
    wait_until(lambda: not open_in_the_edge(server, copies), "the files to be closed")
    assert client.get(f"/path?file={copies[0]}").body == copies[0].read_bytes(), "permits come back"


def test_what_a_client_that_reads_nothing_has_open_is_bounded(
    serve: Callable[..., Server], connect_h2: Callable[..., Any], connect_h1: Callable[..., Any], copies: list[Path]
) -> None:
    server = serve("extensions.py:app", tls=True)
    client = connect_h2(server.listener, window=65535, receive_buffer=4096)
    for path in copies:
        client.request("GET", f"/descriptors?file={path}&times=50")
    most = 0
    for _ in range(20):
        assert connect_h1(server.listener).get(f"/path?file={copies[0]}").body == copies[0].read_bytes()
        most = max(most, len(open_in_the_edge(server, copies)))
    print(f"\n{most} files are open")
    assert PERMITS <= most <= PERMITS * FILES_MAX
    client.close()
    wait_until(lambda: not open_in_the_edge(server, copies), "the files to be closed")
