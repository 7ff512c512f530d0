"""``error_pages`` in place of the server's own errors, and ``maintenance_file``."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.routed import Ask, routes_file, with_routes
from end_to_end.server import Server, command, wait_until
from end_to_end.test_rules import reload

NO_STORE = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


@shows("plain.py:app", error_pages={"403": "text:not here"}, deny=["0.0.0.0/0"])
def test_a_text_stands_in_place_of_an_empty_error(server: Server, ask_of: Callable[[Server], Ask]) -> None:
    ask = ask_of(server)
    for _ in range(2):
        got = ask("/")
        assert (got.status, got.body, got.fields["content-type"]) == (403, b"not here", "text/plain; charset=utf-8")
    head = ask("/", "HEAD")
    assert (head.status, head.body, head.fields["content-length"]) == (403, b"", "8")


def test_pages_are_for_the_errors_of_the_server_and_not_of_the_app(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    (tmp_path / "missing.html").write_text("<p>missing")
    (tmp_path / "broken.html").write_text("<p>broken")
    routes: list[dict[str, Any]] = [
        {"path": "/static", "files": str(tmp_path)},
        {"path": "/empty", "status": 404},
        {"path": "/text", "status": 404, "text": "its own"},
        {"path": "/own", "app": True, "error_pages": ["500=text:of the route"]},
        {"path": "/large", "app": True, "max_body_size": 1},
    ]
    pages = {"404": str(tmp_path / "missing.html"), "5xx": str(tmp_path / "broken.html"), "413": "text:too much"}
    server = with_routes(serve, tmp_path, routes, hcrs={"error_pages": pages})
    ask = ask_of(server)
    for target, status, body in [
        ("/static/x", 404, b"<p>missing"),
        ("/empty", 404, b"<p>missing"),
        ("/text", 404, b"its own"),
        ("/nothing", 404, b"no such behaviour"),
        ("/fail", 500, b"<p>broken"),
        ("/nonsense?kind=early", 500, b"<p>broken"),
        ("/", 200, b"hello"),
    ]:
        got = ask(target)
        assert (got.status, got.body) == (status, body), target
        if body.startswith(b"<p>"):
            assert {name: got.fields.get(name) for name in NO_STORE} == NO_STORE, target
    assert ask("/static/missing.html").body == b"<p>missing"
    assert ask("/static/x", "HEAD").body == b""


def test_a_page_follows_a_body_that_was_too_long(
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> None:
    server = serve("plain.py:app", tls=True, quic_bind="127.0.0.1:0", hcrs={"max_body_size": 10, "error_pages": {"413": "text:too much"}})
    client = connect_h1(server.listener)
    client.request("POST", "/digest", body=b"x" * 11)
    got = client.response()
    assert (got.status, got.body) == (413, b"too much")
    assert client.get("/").status == 200, "the connection is kept"
    client.request("POST", "/digest", "transfer-encoding: chunked\r\n")
    client.send(b"b\r\n" + b"x" * 11 + b"\r\n")
    assert client.response().body == b"too much"
    client.send(b"0\r\n\r\n")
    for where in (server.listener, server.quic):
        multiplexed = connect_multiplexed(where)
        stream = multiplexed.request("POST", "/digest", end=False)
        multiplexed.send(stream, b"x" * 11)
        answer = multiplexed.response(stream)
        assert (answer.status, answer.body) == (413, b"too much")
        assert multiplexed.get("/").status == 200


def test_pages_change_with_sighup(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    page = tmp_path / "page.html"
    page.write_text("one")
    rules = {"error_pages": {"403": str(page)}, "deny": "127.0.0.1"}
    server = with_routes(serve, tmp_path, [], hcrs=rules)
    ask = ask_of(server)
    assert ask("/").body == b"one"
    page.write_text("two")
    reload(server, 1)
    assert ask("/").body == b"two"
    page.unlink()
    reload(server, 2)
    assert f"cannot read {page}: No such file" in server.log and ask("/").body == b"two"
    routes_file(tmp_path, [], hcrs={"deny": "127.0.0.1"})
    reload(server, 3)
    assert ask("/").body == b""


def test_a_page_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    large = tmp_path / "large.html"
    large.write_bytes(b"x" * ((1 << 20) + 1))
    for page, reason in [(tmp_path / "none.html", "No such file"), (large, "larger than 1048576 bytes")]:
        config = routes_file(tmp_path, [], hcrs={"error_pages": {"404": str(page)}})
        run = subprocess.run([command(), "-c", str(config)], capture_output=True, text=True, timeout=30, check=False)
        assert run.returncode == 1 and f"error_pages: cannot read {page}: " in run.stderr and reason in run.stderr


@shows("plain.py:app", maintenance_file="<folder>/down.html", public_health=True)
def test_a_file_turns_maintenance_on_and_off(
    server: Server, tmp_path: Path, connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> None:
    file = tmp_path / "down.html"
    client, h2 = connect_h1(server.listener), connect_h2(server.listener)
    assert client.get("/").status == 200
    file.write_text("<p>back soon")
    wait_until(lambda: client.get("/").status == 503, "maintenance", 10)
    got = client.get("/")
    assert (got.body, got.header("retry-after")) == (b"<p>back soon", "60")
    assert got.header("content-type") == "text/html; charset=utf-8"
    answer = h2.get("/")
    assert (answer.status, answer.body) == (503, b"<p>back soon")
    assert client.get("/-/live").status == 200 and client.get("/-/ready").status == 200, "probes are answered"
    file.write_text("<p>later")
    wait_until(lambda: client.get("/").body == b"<p>later", "the new contents", 10)
    file.unlink()
    wait_until(lambda: client.get("/").status == 200, "the end of maintenance", 10)


def test_an_empty_maintenance_file_shows_the_error_page_of_its_route(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    (tmp_path / "down").write_text("")
    down = {"path": "/down", "app": True, "maintenance_file": str(tmp_path / "down")}
    ask = ask_of(with_routes(serve, tmp_path, [down], hcrs={"error_pages": {"503": "text:closed"}}))
    got = ask("/down")
    assert (got.status, got.body, got.fields["retry-after"]) == (503, b"closed", "60")
    assert ask("/").status == 200
