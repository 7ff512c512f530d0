"""Routes: files, redirects and fixed responses in place of the app, over both protocols."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import H2Client, Lost
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.routed import Ask, Response, routes_file, with_routes
from end_to_end.server import APPS, Server, to_toml, wait_until
from end_to_end.ws_client import ask_over_h1, ask_over_h2, open_over_h1, open_over_h2

STYLE = b"a { color: red }\n"
PICTURE = bytes(range(256)) * 4096


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of files, beside which a secret one lies."""
    folder = tmp_path / "site"
    (folder / "docs" / "empty").mkdir(parents=True)
    for name, content in {
        "style.css": STYLE,
        "index.html": b"<h1>home</h1>",
        "picture.png": PICTURE,
        "docs/index.html": b"<h1>docs</h1>",
        "a b+c.txt": b"spaces",
        "100%.txt": b"percent",
        "nothing.txt": b"",
        ".env": b"SECRET=1",
        "docs/.git": b"secret",
        "unknown.xyz": b"?",
        "../secret.txt": b"secret",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "out.txt").symlink_to("../secret.txt")
    (folder / "within.css").symlink_to("style.css")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture
def ask(serve: Callable[..., Server], tmp_path: Path, site: Path, ask_of: Callable[[Server], Ask]) -> Ask:
    """A client of a site with files below ``/static``, and an app at all other paths."""
    return ask_of(with_routes(serve, tmp_path, [{"path": "/static", "files": str(site), "cache_control": "max-age=60"}]))


@shows("plain.py:app", routes=[{"path": "/gone", "status": 410, "text": "gone"}])
def test_a_route_answers_in_place_of_the_app(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listener)
    gone = client.get("/gone/at/all")
    assert (gone.status, gone.body) == (410, b"gone")
    assert client.get("/pid").body.isdigit()


@shows("plain.py:app", static=["/files=<folder>"])
def test_static_files_in_short(server: Server, connect_h1: Callable[..., H1Client], tmp_path: Path) -> None:
    (tmp_path / "style.css").write_bytes(STYLE)
    client = connect_h1(server.listener)
    assert client.get("/files/style.css").body == STYLE
    assert client.get("/pid").body.isdigit()


def test_a_file_comes_with_its_type_and_validators(ask: Ask, site: Path) -> None:
    got = ask("/static/style.css")
    assert (got.status, got.body) == (200, STYLE)
    assert got.fields["content-type"] == "text/css; charset=utf-8"
    assert got.fields["content-length"] == str(len(STYLE))
    assert got.fields["cache-control"] == "max-age=60"
    assert got.fields["x-content-type-options"] == "nosniff"
    assert got.fields["accept-ranges"] == "bytes"
    assert ask("/static/style.css?v=1").body == STYLE
    head = ask("/static/style.css", "HEAD")
    assert (head.status, head.body, head.fields["content-length"]) == (200, b"", str(len(STYLE)))
    not_modified = ask("/static/style.css", if_none_match=got.fields["etag"])
    assert (not_modified.status, not_modified.body, not_modified.fields["etag"]) == (304, b"", got.fields["etag"])
    assert ask("/static/style.css", if_modified_since=got.fields["last-modified"]).status == 304
    assert ask("/static/style.css", if_match='"other"').status == 412
    (site / "style.css").write_bytes(b"b {}")
    def ask_again() -> Response:
        return ask("/static/style.css", if_none_match=got.fields["etag"])

    changed = wait_until(lambda: (answer := ask_again()).status == 200 and answer, "the change shows", deadline=1)
    assert changed.body == b"b {}"
    assert ask("/static/nothing.txt").body == b"" and ask("/static/unknown.xyz").fields["content-type"] == (
        "application/octet-stream"
    )


def test_large_files_and_parts_of_them(ask: Ask) -> None:
    assert ask("/static/picture.png").body == PICTURE
    part = ask("/static/picture.png", range="bytes=1000-1999")
    assert (part.status, part.body) == (206, PICTURE[1000:2000])
    assert part.fields["content-range"] == f"bytes 1000-1999/{len(PICTURE)}"
    assert ask("/static/picture.png", range="bytes=-10").body == PICTURE[-10:]
    beyond = ask("/static/picture.png", range=f"bytes={len(PICTURE)}-")
    assert (beyond.status, beyond.fields["content-range"]) == (416, f"bytes */{len(PICTURE)}")
    several = ask("/static/picture.png", range="bytes=900000-900099,0-9")
    assert several.status == 206 and several.fields["content-length"] == str(len(several.body))
    head = f"content-type: {several.fields['content-type']}\r\n\r\n".encode()
    parts: Any = BytesParser(policy=HTTP).parsebytes(head + several.body).get_payload()
    assert [part["content-range"] for part in parts] == [
        f"bytes 900000-900099/{len(PICTURE)}", f"bytes 0-9/{len(PICTURE)}",
    ]
    assert [part.get_payload(decode=True) for part in parts] == [PICTURE[900000:900100], PICTURE[:10]]
    assert ask("/static/picture.png", range="bytes=0-9", if_range='"other"').status == 200
    assert ask("/static/picture.png", range="bytes=" + ",".join(["0-"] * 1000)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret.txt", "/static/%2e%2e/secret.txt", "/static/..%2fsecret.txt", "/static/%2e%2e%2fsecret.txt",
        "/static/docs/../../secret.txt", "/static//../secret.txt", "/static/out.txt", "/static/.env", "/static/docs/.git",
        "/static/%2eenv", "/static/style.css%00", "/static/..%5csecret.txt", "/static/..\\secret.txt", "/static/fifo",
        "/static/style.css/", "/static/none", "/static/docs/empty/", "/static/docs/empty", "/static/docs%2findex.html",
        "/static/%252e%252e/secret.txt", "/static/" + "a" * 5000, "/static/" + "a/" * 2000, "/static/%ff%fe",
    ],
)
def test_nothing_else_is_sent(ask: Ask, path: str) -> None:
    got = ask(path)
    assert b"secret" not in got.body and b"SECRET" not in got.body
    # What leads out of /static is not the route's, and the app does not know it.
    assert got.status == 404 or got.status == 400, got


def test_odd_names_are_found(ask: Ask) -> None:
    assert ask("/static/a%20b%2Bc.txt").body == ask("/static/a%20b+c.txt").body == b"spaces"
    assert ask("/static/100%25.txt").body == b"percent"
    assert ask("/static/./docs/..//style.css").body == STYLE
    assert ask("/static/within.css").body == STYLE


def test_folders_are_answered_by_their_index(ask: Ask) -> None:
    assert ask("/static/").body == ask("/static").body == b"<h1>home</h1>"
    assert ask("/static/docs/").body == b"<h1>docs</h1>"
    redirected = ask("/static/docs?x=1")
    assert (redirected.status, redirected.fields["location"]) == (301, "/static/docs/?x=1")
    assert ask("//static//docs").fields["location"] == "/static/docs/", "never another host"


def test_other_methods_and_other_paths(ask: Ask) -> None:
    refused = ask("/static/style.css", "POST")
    assert (refused.status, refused.fields["allow"]) == (405, "GET, HEAD")
    assert ask("/pid").body.isdigit() and ask("/statics").status == 404
    assert "'path': '/scope/static'" in ask("/scope/static").body.decode()


def test_routes_in_their_order(
    serve: Callable[..., Server], tmp_path: Path, site: Path, ask_of: Callable[[Server], Ask]
) -> None:
    routes: list[dict[str, Any]] = [
        {"path": "/scope", "app": True},
        {"path": "*.php", "status": 410, "text": "gone\n"},
        {"path": "/old", "redirect": "/new{query}", "redirect_status": 301},
        {"host": "www.example.com", "redirect": "https://example.com{path}{query}"},
        {"path": "/private", "method": ["PUT", "DELETE"], "status": 403},
        {"path": "/assets", "files": str(site), "missing": "next"},
        {"path": "/assets/made", "status": 404, "text": "{}", "content_type": "application/json"},
        {"files": str(site), "missing": "index.html", "method": ["GET", "HEAD"]},
    ]
    server = with_routes(serve, tmp_path, routes)
    ask = ask_of(server)
    assert "'path': '/scope/x.php'" in ask("/scope/x.php").body.decode(), "the first route counts"
    gone = ask("/wp-admin/x.php")
    assert (gone.status, gone.body, gone.fields["content-type"]) == (410, b"gone\n", "text/plain; charset=utf-8")
    moved = ask("/old/page?x=1")
    assert (moved.status, moved.fields["location"], moved.body) == (301, "/new?x=1", b"")
    for http2 in (True, False):
        with httpx.Client(http2=http2, http1=not http2, trust_env=False) as client:
            named = client.get(f"{server.listener.url}/a%20b?y", headers={"host": "WWW.example.com:8000"})
            assert (named.status_code, named.headers["location"]) == (308, "https://example.com/a%20b?y")
    assert ask("/private/x", "DELETE").status == 403
    assert ask("/assets/style.css").body == STYLE
    made = ask("/assets/made/x")
    assert (made.status, made.body, made.fields["content-type"]) == (404, b"{}", "application/json")
    assert ask("/assets/none").body == b"<h1>home</h1>", "the last route is for an app in one page"
    assert ask("/any/path").body == b"<h1>home</h1>"
    assert ask("/echo", "POST").status == 200, "the app"


def test_lists_of_paths_single_paths_and_pages_of_files(
    serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    page = tmp_path / "gone.html"
    page.write_bytes(b"<h1>gone</h1>")
    routes = [
        {"path": "=/", "welcome": True},
        {"path": ["*.php", "=/robots.txt", "/old"], "status": 410, "file": str(page)},
    ]
    server = with_routes(serve, tmp_path, routes)
    ask = ask_of(server)
    assert ask("/").body.startswith(b"hcrs")
    for path in ["/a/b.php", "/robots.txt", "/old/x"]:
        gone = ask(path)
        assert (gone.status, gone.body) == (410, b"<h1>gone</h1>"), path
        assert gone.fields["content-type"] == "text/html; charset=utf-8"
    assert ask("/pid").body.isdigit()
    assert ask("/robots.txt/x").status == 404, "the app's"
    page.write_bytes(b"<h1>really</h1>")
    server.signal(signal.SIGHUP)
    server.wait_for_log("The configuration was read again")
    assert ask("/old").body == b"<h1>really</h1>"


@pytest.mark.parametrize("over", ["h1", "h2", "h3"])
def test_a_websocket_is_for_the_app_or_refused(
    serve: Callable[..., Server],
    tmp_path: Path,
    site: Path,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    over: str,
) -> None:
    routes: list[dict[str, Any]] = [
        {"path": "/ok", "status": 200},
        {"path": "/static", "files": str(site)},
        {"files": str(site), "missing": "next"},
    ]
    app = str(APPS / "sockets.py:app")
    server = with_routes(serve, tmp_path, routes, application_path=app, hcrs={"public_health": True})
    client = connect_h1(server.listener) if over == "h1" else connect_multiplexed(server.listener_speaking(over))
    for target in ("/ok", "/static/style.css", "/-/live"):
        # Over HTTP/1.1 only 101 opens a WebSocket, and a server may leave an upgrade out.
        if isinstance(client, H1Client):
            assert ask_over_h1(client, target, whole=True).status == 200
        else:
            assert client.response(ask_over_h2(client, target)).status == 405
    socket = open_over_h1(client, "/echo") if isinstance(client, H1Client) else open_over_h2(client, "/echo")
    socket.send("for the app")
    assert socket.receive() == "for the app"


def test_requests_with_bodies_leave_the_connection_as_it_was(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client]
) -> None:
    server = with_routes(serve, tmp_path, [{"path": "/no", "status": 403, "text": "no"}])
    client = connect_h1(server.listener)
    for _ in range(3):
        client.request("POST", "/no", body=b"hello")
        assert client.response().body == b"no"
    assert client.get("/pid").status == 200


def test_files_without_an_app_and_with_tls(
    serve: Callable[..., Server], tmp_path: Path, site: Path, certificate: dict[str, str]
) -> None:
    file = tmp_path / "hcrs.toml"
    route = "[[hcrs.routes]]\n" + to_toml({"files": str(site)})
    file.write_text(to_toml({"bind": "127.0.0.1:0", **certificate}) + route)
    server = serve(None, config_file=file)
    assert server.worker_pids() == []
    with httpx.Client(http2=True, verify=False, base_url=f"https://127.0.0.1:{server.listener.port}") as client:
        responses = [client.get("/picture.png") for _ in range(3)]
        assert all(one.content == PICTURE and one.http_version == "HTTP/2" for one in responses)
        assert client.get("/none").status_code == 404


def test_files_that_change_while_they_are_sent(
    serve: Callable[..., Server], tmp_path: Path, site: Path, ask_of: Callable[[Server], Ask]
) -> None:
    """A response is of one length: it is whole, or cut off, and the next one is sound."""
    server = with_routes(serve, tmp_path, [{"files": str(site)}])
    ask = ask_of(server)
    is_over = threading.Event()

    def change() -> None:
        name = site / "changing"
        while not is_over.is_set():
            for length in (100_000, 10, 0, 200_000):
                name.write_bytes(b"x" * length)
            name.unlink()
            name.mkdir()
            name.rmdir()
            os.mkfifo(name)
            name.unlink()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        statuses = Counter[int]()
        for _ in range(200):
            try:
                got = ask("/changing")
            except (Closed, Lost, OSError):
                ask = ask_of(server)
                continue
            statuses[got.status] += 1
            assert set(got.body) <= {ord("x")}
        assert statuses[200] and set(statuses) <= {200, 301, 404}, statuses
    finally:
        is_over.set()
        thread.join()
    assert ask("/style.css").body == STYLE


def test_a_request_to_a_route_is_in_the_access_log(
    serve: Callable[..., Server], tmp_path: Path, site: Path, connect_h1: Callable[..., H1Client]
) -> None:
    log = tmp_path / "access.log"
    routes = [{"path": "/static", "files": str(site)}]
    server = with_routes(serve, tmp_path, routes, accesslog=str(log), access_log_format="%(r)s %(s)s %(B)s")
    assert connect_h1(server.listener).get("/static/style.css").status == 200
    assert server.stop_and_check() == 0
    assert log.read_text().endswith(f"GET /static/style.css 1.1 200 {len(STYLE)}\n"), log.read_text()


def test_a_folder_that_is_not_there_stops_the_start_and_a_reload_names_it(
    launch: Callable[..., Server], serve: Callable[..., Server], tmp_path: Path, site: Path, ask_of: Callable[[Server], Ask]
) -> None:
    gone = launch(None, config_file=routes_file(tmp_path, [{"path": "/a", "files": str(tmp_path / "gone")}]))
    assert gone.wait_for_exit() == 1
    assert "hcrs.toml:3: routes: the folder" in gone.log and "No such file or directory" in gone.log, gone.log
    routes = [{"path": "/static", "files": str(site)}]
    server = with_routes(serve, tmp_path, routes)
    ask = ask_of(server)
    assert ask("/static/style.css").body == STYLE
    routes_file(tmp_path, [{"path": "/static", "status": 503}])
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"The configuration was read again; changed: \[hcrs\] routes")
    assert ask("/static/style.css").status == 503
    routes_file(tmp_path, [{"path": "/static", "files": str(tmp_path / "gone")}])
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"cannot be read again, .*hcrs\.toml:3: routes: the folder .* cannot be opened")
    assert ask("/static/style.css").status == 503, "as before"
