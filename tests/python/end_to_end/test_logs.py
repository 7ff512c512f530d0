"""The access log, the error log and metrics: atoms, JSON, syslog, refused requests, requests that were cut off."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from end_to_end.blocked_workers import blocked
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until

#: What stands in front of each line of text.
PREFIX = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[INFO\] ")


def lines(server: Server, count: int) -> list[str]:
    """The access log on standard output once it has ``count`` lines, without the prefix of each."""
    found = wait_until(lambda: (seen := server.output.splitlines()) and len(seen) >= count and seen, "the lines")
    assert len(found) == count, found
    return [PREFIX.sub("", line, count=1) for line in found]


def objects(server: Server, count: int) -> list[dict[str, Any]]:
    """The same for JSON lines."""
    return [json.loads(line) for line in lines(server, count)]


def test_format_shows_what_went_over_the_wire(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    form = "%(m)s %(Uq)s|%(s)s %(st)s|%(S)s %(H)s %(protocol)s|%(bytes_received)s %(bytes_sent)s %(b)s|%({X-A}i)s %({content-type}o)s"
    server = serve("plain.py:app", accesslog="-", access_log_format=form, tls=True)
    h1 = connect_h1(server.listener)
    h1.request("POST", "/echo?a=1", body=b"12345")
    assert h1.response().body == b"12345"
    h1.get("/", headers="x-a: b\r\n")
    h1.request("HEAD", "/")
    h1.response(to_head=True)
    h2 = connect_h2(server.listener)
    stream = h2.request("POST", "/echo", end=False)
    h2.send(stream, b"abc", end=True)
    assert h2.response(stream).body == b"abc"
    assert lines(server, 4) == [
        "POST /echo?a=1|200 OK|https 1.1 http/1.1|5 5 -|- -",
        "GET /|200 OK|https 1.1 http/1.1|0 5 5|b text/plain",
        "HEAD /|200 OK|https 1.1 http/1.1|0 0 5|- text/plain",
        "POST /echo|200 OK|https 2 h2|3 3 -|- -",
    ]


def test_format_names_the_worker_the_stream_and_the_times(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    form = "%(p)s %(worker_pid)s %(connection_id)s %(stream_id)s %(queue_time)s %(head_time)s %(L)s %(D)s %(T)s"
    server = serve("plain.py:app", accesslog="-", access_log_format=form)
    client = connect_h2(server.listener)
    worker = client.get("/pid").body.decode()
    client.get("/nap?seconds=0.2")
    first, second = (line.split() for line in lines(server, 2))
    assert first[:4] == [f"<{worker}>", worker, "1", "1"]
    assert second[3] == "3"
    queue, head, whole = map(float, second[4:7])
    assert 0 <= queue < 0.2 <= head <= whole < 20
    assert int(second[7]) == round(whole * 1e6) and int(second[8]) == int(whole)


def documented_atoms() -> list[str]:
    """Every atom that docs/guide/logs.md lists."""
    page = (Path(__file__).parents[3] / "docs" / "guide" / "logs.md").read_text()
    section = page.partition("## The access log")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    return [atom for row in rows for atom in re.findall(r"`([^`]+)`", row)]


def test_every_atom_has_its_documented_value(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    says = {
        "h": r"127\.0\.0\.1:{port}", "l": "-", "u": "alice", "t": r"\[\d\d/\w{{3}}/\d{{4}}:\d\d:\d\d:\d\d [+-]\d{{4}}\]",
        "r": "POST /a b 1.1", "R": r"POST /a b\?c=%20 1.1", "m": "POST", "U": "/a b", "q": "c=%20", "Uq": r"/a b\?c=%20",
        "H": "1.1", "S": "http", "s": "404", "st": "Not Found", "b": "17", "B": "17", "f": "http://r/", "a": "tests/1",
        "{name}i": "of the request", "{name}o": "text/plain|-", "{name}e": "of the environment", "T": r"\d+", "M": r"\d+",
        "D": r"\d+", "L": r"\d+\.\d{{6}}", "p": r"<{worker}>", "bytes_sent": "17", "bytes_received": "3",
        "queue_time": r"\d+\.\d+", "head_time": r"\d+\.\d+", "worker_pid": "{worker}", "protocol": "http/1\\.1",
        "connection_id": "1", "stream_id": "-", "fault": "-", "request_id": r"[0-9a-f]{{32}}", "trace_id": "4b+",
        "span_id": "0a+",
    }  # fmt: skip
    assert sorted(says) == sorted(documented_atoms())
    names = {"{name}i": "{X-Name}i", "{name}o": "{content-type}o", "{name}e": "{ATOM}e"}
    form = "\t".join(f"%({names.get(atom, atom)})s" for atom in says)
    own = {"request_id": "x-id", "trace_context": "all"}
    server = serve("plain.py:app", accesslog="-", access_log_format=form, env={"ATOM": "of the environment"}, hcrs=own)
    client = connect_h1(server.listener)
    fields = "x-name: of the request\r\nreferer: http://r/\r\nuser-agent: tests/1\r\nauthorization: Basic YWxpY2U6eA==\r\n"
    fields += f"traceparent: 00-4{'b' * 31}-0{'a' * 15}-00\r\n"
    client.request("POST", "/a%20b?c=%20", fields, b"abc")
    assert client.response().status == 404
    port, [worker] = client.socket.getsockname()[1], server.worker_pids()
    found = lines(server, 1)[0].split("\t")
    for (atom, form), value in zip(says.items(), found, strict=True):
        assert re.fullmatch(form.format(port=port, worker=worker), value), (atom, value)


def test_environment_variables_are_read_at_the_start(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    form = "%({LOGS_TEST}e)s %({LOGS_UNSET}e)s"
    server = serve("plain.py:app", accesslog="-", access_log_format=form, env={"LOGS_TEST": "here"})
    connect_h1(server.listener).get()
    assert lines(server, 1) == ["here -"]


def test_a_format_that_is_wrong_stops_the_start_and_names_the_atom(launch: Callable[..., Server]) -> None:
    server = launch("plain.py:app", access_log_format="%(h)s %(frob)s")
    assert server.wait_for_exit() == 78
    assert "access_log_format: %(frob)s is no atom that is known: l, h, u, t, r, R," in server.log


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "GET / 1.1|400"),
        (b"G<T /a?b HTTP/1.1\r\nhost: a\r\n\r\n", "G<T /a?b 1.1|400"),
        (b"GET /x HTTP/3.7\r\nhost: a\r\n\r\n", "GET /x 3.7|505"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n", None),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: \"\x1b[2J\x00\r\n\r\n", "GET / 1.1|400"),
        (b"hello\r\n\r\n", "- hello -|400"),
        (b"POST / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\n\r\n", "POST / 1.1|417"),
        (b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", "CONNECT a:443 1.1|405"),
    ],
)
def test_requests_that_the_parser_refuses_are_logged_once(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], sent: bytes, line: str | None
) -> None:
    server = serve("plain.py:app", accesslog="-", access_log_format="%(R)s|%(s)s|%(fault)s|%(worker_pid)s")
    client = connect_h1(server.listener)
    client.send(sent)
    status = client.response().status
    client.close()
    request, seen, fault, worker = lines(server, 1)[0].rsplit("|", 3)
    if line is not None:
        assert f"{request}|{seen}" == line
    assert int(seen) == status
    assert fault != "-" and worker == "-"
    assert "\x1b" not in server.output and len(server.output) < 10_000


def test_http2_requests_that_are_refused_are_logged(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app", accesslog="-", access_log_format="%(r)s|%(s)s|%(stream_id)s|%(fault)s")
    client = connect_h2(server.listener)
    assert client.get("/a", headers=[("x", "1")] * 300).status == 431
    assert client.get("/").status == 200
    assert lines(server, 2) == ["GET /a 2|431|1|request head too large", "GET / 2|200|3|-"]


def test_what_ends_early_is_logged_with_what_was_sent_and_why(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", accesslog="-", access_log_format="%(U)s %(s)s %(bytes_sent)s %(fault)s")
    h2 = connect_h2(server.listener)
    stream = h2.request("GET", "/events?key=never")
    h2.head(stream)
    h2.wait(lambda: b"data: 0" in h2.streams[stream].body, "the first event")
    h2.reset(stream)
    h2.get("/fail?after=nothing")
    h1 = connect_h1(server.listener)
    h1.send("POST /digest HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
    h1.close()
    assert sorted(lines(server, 3)) == [
        "/digest - 0 client went away",
        "/events 200 9 client went away",
        "/fail 500 0 app failed",
    ]


def test_a_response_that_the_app_made_badly_is_logged_as_the_500_that_was_sent(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", accesslog="-", access_log_format="%(s)s %(fault)s")
    for client in (connect_h1(server.listener), connect_h2(server.listener)):
        assert client.get("/status?status=103").status == 500
    assert lines(server, 2) == ["500 app failed"] * 2


def test_the_welcome_page_is_logged(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve(accesslog="-", access_log_format="%(r)s %(s)s %(bytes_sent)s")
    h1 = len(connect_h1(server.listener).get("/a").body)
    h2 = len(connect_h2(server.listener).get("/b").body)
    assert lines(server, 2) == [f"GET /a 1.1 200 {h1}", f"GET /b 2 200 {h2}"]


def test_json_lines_say_all_and_cannot_be_forged(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", accesslog="-", hcrs={"access_log_json": True})
    client = connect_h2(server.listener)
    worker = int(client.get("/pid?q=%20", headers=[("user-agent", "tests")]).body)
    h1 = connect_h1(server.listener)
    h1.get("/%0a", headers='user-agent: "},{"\xe9"\r\nreferer: a\tb\r\n')
    first, second = objects(server, 2)
    assert {name: first.pop(name) for name in ("status", "method", "path", "protocol", "worker_pid", "pid", "user_agent")} == {
        "status": 200, "method": "GET", "path": "/pid", "protocol": "h2", "worker_pid": worker, "pid": server.pid,
        "user_agent": "tests",
    }
    assert first["stream_id"] == 1 and first["query"] == "q=%20" and first["duration"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", first["time"])
    assert second["path"] == "/%0a" and second["user_agent"].startswith('"},{"') and second["referer"] == "a\tb"
    assert os.linesep not in second["path"]


@pytest.fixture
def datagrams(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that takes datagrams, on a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "log"))
        server.settimeout(20)
        yield server


def test_logs_go_to_syslog_by_unix_socket_and_udp(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], datagrams: socket.socket, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(20)
        server = serve(
            "plain.py:app",
            accesslog=f"syslog:udp://127.0.0.1:{udp.getsockname()[1]}?facility=local7",
            flags=["--error-logfile", "-"],
            access_log_format="%(r)s %(s)s",
        )
        connect_h1(server.listener).get("/%0a<13>x")
        message = udp.recv(65_536).decode()
        assert re.fullmatch(rf"<190>1 \S+ \S+ hcrs {server.pid} - - GET /\\x0a<13>x 1\.1 404", message), message
    path = tmp_path / "log"
    server = serve("plain.py:app", accesslog=f"syslog:{path}", access_log_format="%(r)s %(s)s")
    connect_h1(server.listener).get()
    message = datagrams.recv(65_536).decode()
    assert re.fullmatch(rf"<30>\w{{3}} [ \d]\d \d\d:\d\d:\d\d hcrs\[{server.pid}\]: GET / 1\.1 200", message), message


def test_error_log_of_edge_and_workers_goes_to_syslog(
    launch: Callable[..., Server], datagrams: socket.socket, tmp_path: Path
) -> None:
    launch("plain.py:app", errorlog=f"syslog:{tmp_path / 'log'}", bind=f"unix:{tmp_path}/s")
    assert re.search(r"^<30>.* hcrs\[\d+\]: Running on http://unix:", datagrams.recv(65_536).decode())
    with socket.socket(socket.AF_UNIX) as client:
        wait_until((tmp_path / "s").exists, "the socket")
        client.connect(f"{tmp_path}/s")
        client.sendall(b"GET /fail?after=nothing HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 500 ")
    message = datagrams.recv(65_536).decode()
    assert re.match(r"<27>\w{3} .* hcrs\[\d+\]: Error in ASGI Framework", message), message


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_no_line_is_lost_or_in_the_wrong_file_when_logs_are_rotated_under_load(
    serve: Callable[..., Server], tmp_path: Path, threads: int
) -> None:
    rotations, clients = 4, 3
    path = tmp_path / "access.log"
    server = serve("plain.py:app", accesslog=str(path), access_log_format="%(q)s", hcrs={"io_threads": threads})
    begun, stopped = [0] * clients, threading.Event()

    def ask(client: int) -> None:
        with H1Client(server.listener) as connection:
            while not stopped.is_set() and begun[client] < 100_000:
                begun[client] += 1
                assert connection.get(f"/?n={client}.{begun[client]}").status == 200

    def wait_for_more() -> None:
        aim = [count + 50 for count in begun]
        wait_until(lambda: all(map(int.__ge__, begun, aim)), "more requests")

    running = [ThreadPoolExecutor(1).submit(ask, client) for client in range(clients)]
    #: The requests that each client had begun when the log was in another file.
    seen: list[list[int]] = []
    try:
        for number in range(rotations):
            wait_for_more()
            path.rename(tmp_path / f"access.log.{number}")
            server.signal(signal.SIGUSR1)
            wait_until(path.exists, "the new file")
            seen.append(list(begun))
        wait_for_more()
    finally:
        stopped.set()
        for each in running:
            each.result(20)
    assert server.stop() == 0
    files = [tmp_path / f"access.log.{number}" for number in range(rotations)] + [path]
    found = [[line.split("] [INFO] n=")[-1] for line in file.read_text().splitlines()] for file in files]
    expected = [f"{client}.{number + 1}" for client in range(clients) for number in range(begun[client])]
    assert sorted(line for file in found for line in file) == sorted(expected), "each request has one line"
    for before, file in zip(seen, found, strict=False):
        late = [line for line in file if int(line.partition(".")[2]) > before[int(line.partition(".")[0])]]
        assert not late, "requests that were begun when there was another file"


def test_a_traceback_shows_what_a_client_has_sent_without_reaching_the_terminal(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    (tmp_path / "raises.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    raise ValueError(scope['path'])\n"
    )
    server = serve(f"{tmp_path}/raises.py:app")
    assert connect_h1(server.listener).get("/%1b%5b2J%0d%c2%9b%e2%80%ae%e2%98%83").status == 500
    server.wait_for_log(r"^ValueError: /\\x1b\[2J\\x0d\\xc2\\x9b\\xe2\\x80\\xae\u2603$")


def test_metrics_have_hypercorns_names(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(20)
        server = serve(
            "plain.py:app",
            statsd_host=f"127.0.0.1:{udp.getsockname()[1]}",
            statsd_prefix="shop",
            dogstatsd_tags="env:test",
        )
        client = connect_h1(server.listener)
        for path in ("/", "/missing", "/fail?after=nothing"):
            client.get(path)
        seen: list[str] = []
        while sum(line.startswith("shop.hypercorn.request.duration") for line in seen) < 3 or not any(
            line.startswith("shop.hypercorn.log.exception") for line in seen
        ):
            seen += udp.recv(65_536).decode().splitlines()
        assert all(line.startswith("shop.hypercorn.") and line.endswith("|#env:test") for line in seen), seen
        short = [line.removeprefix("shop.hypercorn.").removesuffix("|#env:test") for line in seen]
        for status in (200, 404, 500):
            assert f"request.status.{status}:1|c|@1.0" in short
        assert "request.fault.app_failed:1|c|@1.0" in short
        assert sum(int(line[9:].split("|")[0]) for line in short if line.startswith("requests:")) == 3
        assert all(re.fullmatch(r"request\.duration:\d+\.\d{3}\|ms", line) for line in short if "duration" in line)
        assert "log.exception:1|c|@1.0" in short
        assert server.output == "", "without an access log"


def test_overload_is_logged_by_its_count_and_not_by_request(
    serve: Callable[..., Server], udp: socket.socket, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    server = serve(
        "plain.py:app",
        statsd_host=f"127.0.0.1:{udp.getsockname()[1]}",
        hcrs={"queue_size": 1, "queue_timeout": 60},
    )
    client = connect_h2(server.listener)
    with blocked(server, tmp_path / "block"):
        streams = [client.request("GET", "/") for _ in range(90)]
        client.ping()  # all of them have been read, and what the queue does not take was refused at once
    statuses = [client.response(stream).status for stream in streams]
    refused = statuses.count(503)
    assert refused > 40 and set(statuses) == {200, 503}
    line = re.compile(r"\[WARNING\] (\d+) requests? (?:was|were) not answered by the app: request queue full \(\1\); ")
    wait_until(lambda: sum(map(int, line.findall(server.log))) == refused, f"{refused} refusals in the log")
    assert server.log.count("WARNING") == len(line.findall(server.log)) < 4
    seen = ""
    while sum(map(int, re.findall(r"request\.fault\.queue_full:(\d+)\|c", seen))) < refused:
        seen += udp.recv(65_536).decode() + "\n"


def test_debug_lines_of_a_task_name_its_connection_or_worker_once(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", loglevel="debug", accesslog="-", access_log_format="%(connection_id)s", workers=1)
    assert connect_h2(server.listener).get().body == b"hello"
    number = lines(server, 1)[0]
    for direction in "received", "send":
        server.wait_for_log(rf"(?m)\[DEBUG\] {direction} frame=Headers .* conn={number}$")
    (worker,) = server.worker_pids()
    connect_h1(server.listener).send("nonsense\r\n\r\n")
    server.wait_for_log(r"Request failed.* fault=")
    assert server.stop() == 0
    assert re.search(rf"(?m)\[DEBUG\] Link closed worker={worker}$", server.log), "one field, and not that of the span too"
    for name in "conn", "stream", "worker", "fault":
        assert not re.search(rf" {name}=.* {name}=", server.log)


def test_a_client_cannot_write_into_the_error_log(
    serve: Callable[..., Server], udp: socket.socket, connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app", statsd_host=f"127.0.0.1:{udp.getsockname()[1]}")
    client = connect_h2(server.listener)
    client.socket.sendall(b"\0\0\x08\x06\x01\0\0\0\0answered" * 20)
    assert client.get().status == 200
    seen = ""
    while "hypercorn.requests:1" not in seen:
        seen += udp.recv(65_536).decode()
    assert "PING" not in server.log and "log.warning" not in seen


def test_metrics_count_what_is_logged(udp: socket.socket, launch: Callable[..., Server]) -> None:
    port = udp.getsockname()[1]
    server = launch("plain.py:app", statsd_host=f"127.0.0.1:{port}", loglevel="critical", daemon=True, bind="unix:s")
    assert re.search(r"^hypercorn\.log\.warning:1\|c\|@1\.0$", udp.recv(65_536).decode(), re.MULTILINE)
    assert server.log == "", "counted although its level is not logged"


def test_a_missing_statsd_server_does_not_delay_requests(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        port = udp.getsockname()[1]
    server = serve("plain.py:app", statsd_host=f"127.0.0.1:{port}")
    client = connect_h1(server.listener)
    for _ in range(50):
        assert client.get().status == 200


def test_error_log_in_a_file_holds_what_apps_raise_and_follows_the_file(
    launch: Callable[..., Server], tmp_path: Path
) -> None:
    path, moved = tmp_path / "error.log", tmp_path / "error.log.1"
    server = launch("plain.py:app", errorlog=str(path), bind=f"unix:{tmp_path}/s")
    wait_until(lambda: path.exists() and "Running on" in path.read_text(), "the announcement")

    def fail() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/s")
            client.sendall(b"GET /fail?after=nothing HTTP/1.1\r\nhost: a\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 500 ")

    fail()
    wait_until(lambda: "Teapot" in path.read_text(), "the traceback")
    path.rename(moved)
    server.signal(signal.SIGUSR1)
    wait_until(path.exists, "the new file")
    fail()
    wait_until(lambda: "Teapot" in path.read_text(), "the second traceback")
    assert moved.read_text().count("Error in ASGI Framework") == 1


