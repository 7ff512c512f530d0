"""Files that responses of the app name, by ``x-accel-redirect`` and ``x-sendfile``."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.routed import Ask, Response, asking, with_routes
from end_to_end.server import APPS, Server, wait_until, with_quic
from end_to_end.upstream import Peer, Request, Upstream
from end_to_end.ws_client import ask_over_h1, ask_over_h2

APP = APPS / "named_files.py"
INTERFACES = {"asgi": f"{APP}:app", "wsgi": f"wsgi:{APP}:wsgi"}
LARGE = b"0123456789abcdef" * 16384

#: Fields of the file that an app cannot know.
OF_FILE = ("etag", "last-modified", "accept-ranges", "content-length")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files, beside which others lie that no internal route has."""
    outer = tmp_path_factory.mktemp("files")
    folder = outer / "media"
    (folder / "of user").mkdir(parents=True)
    (outer / "other").mkdir()
    for name, content in {
        "a.pdf": b"%PDF",
        "of user/ü 100%.txt": b"odd name",
        "large.bin": LARGE,
        ".hidden": b"SECRET",
        "../other/b.txt": b"other",
        "../outside.txt": b"SECRET",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "out").symlink_to("../outside.txt")
    return folder


@pytest.fixture(scope="module", params=INTERFACES)
def server(
    request: pytest.FixtureRequest,
    share: Callable[..., Server],
    tmp_path_factory: pytest.TempPathFactory,
    media: Path,
    certificate: dict[str, str],
) -> Server:
    """An app, two internal folders and a public one."""
    routes: list[dict[str, Any]] = [
        {"path": "/protected", "files": str(media), "internal": True},
        {"path": "/other", "files": str(media.parent / "other"), "internal": True, "cache_control": "max-age=1"},
        {"path": "/public", "files": str(media)},
    ]
    keys = {**with_quic(certificate), "application_path": INTERFACES[request.param]}
    return with_routes(share, tmp_path_factory.mktemp("configuration"), routes, **keys)


@pytest.fixture
def ask(server: Server, ask_of: Callable[[Server], Ask]) -> Ask:
    return ask_of(server)


def naming(fields: Mapping[str, str], **rest: Any) -> str:
    """The target at which the app answers with these fields."""
    return "/view?" + urlencode({**fields, **rest}, encoding="latin-1")


def accel(path: str, **fields: str) -> str:
    return naming({"x-accel-redirect": path, **{name.replace("_", "-"): value for name, value in fields.items()}})


def assert_no_field_leaves(got: Response) -> None:
    assert not [name for name in got.fields if name.startswith(("x-accel", "x-sendfile"))], got


def test_the_file_comes_in_place_of_the_body_with_the_fields_of_the_app(ask: Ask) -> None:
    got = ask(
        accel(
            "/protected/a.pdf", content_disposition='attachment; filename="bill.pdf"', set_cookie="seen=1",
            cache_control="private", x_frame_options="DENY", etag='"of the app"', content_length="10",
            last_modified="Tue, 14 Nov 2023 22:13:20 GMT", content_encoding="br", x_accel_buffering="no",
        )
    )
    assert (got.status, got.body) == (200, b"%PDF")
    assert got.fields["content-type"] == "application/pdf", "by the extension, as the app has given none"
    assert got.fields["content-disposition"] == 'attachment; filename="bill.pdf"'
    assert (got.fields["set-cookie"], got.fields["cache-control"]) == ("seen=1", "private")
    assert got.fields["x-frame-options"] == "DENY" and got.fields["content-length"] == "4"
    assert got.fields["etag"] != '"of the app"' and "2023" not in got.fields["last-modified"]
    assert "content-encoding" not in got.fields
    assert_no_field_leaves(got)


def test_the_type_of_the_app_counts_unless_it_is_empty(ask: Ask) -> None:
    assert ask(accel("/protected/a.pdf", content_type="text/plain")).fields["content-type"] == "text/plain"
    assert ask(accel("/protected/a.pdf", content_type="")).fields["content-type"] == "application/pdf"
    assert ask(accel("/other/b.txt")).fields["cache-control"] == "max-age=1"
    assert ask(accel("/other/b.txt", cache_control="no-store")).fields["cache-control"] == "no-store"


def test_ranges_and_conditions_are_those_of_the_client(ask: Ask) -> None:
    target = accel("/protected/large.bin", content_type="video/mp4", set_cookie="a=b")
    whole = ask(target)
    assert whole.body == LARGE and whole.fields["accept-ranges"] == "bytes"
    part = ask(target, range="bytes=16-31", if_range=whole.fields["etag"])
    assert (part.status, part.body, part.fields["content-type"]) == (206, LARGE[16:32], "video/mp4")
    assert part.fields["content-range"] == f"bytes 16-31/{len(LARGE)}" and part.fields["set-cookie"] == "a=b"
    several = ask(target, range="bytes=0-0,1000-1000")
    assert several.fields["content-type"].startswith("multipart/") and several.body.count(b"content-type: video/mp4") == 2
    same = ask(target, if_none_match=whole.fields["etag"])
    assert (same.status, same.body, same.fields["set-cookie"]) == (304, b"", "a=b")
    assert "content-type" not in same.fields
    assert ask(target, if_match='"other"').status == 412
    assert ask(target, range=f"bytes={len(LARGE)}-").status == 416
    head = ask(target, "HEAD")
    assert (head.status, head.body, head.fields["content-length"]) == (200, b"", str(len(LARGE)))
    assert ask(target, "POST").body == LARGE, "as nginx, which gets the file"
    assert ask(naming({"x-accel-redirect": "/protected/a.pdf"}, status=403)).status == 200, "as nginx"


def test_paths_are_decoded_once_and_x_sendfile_names_a_file_as_it_is(ask: Ask, media: Path) -> None:
    name = "of user/ü 100%.txt"
    raw = name.encode().decode("latin-1")
    for path in (quote(f"/protected/{name}"), f"/protected/{raw}", "/protected/of%20user%2f%C3%BC%20100%25.txt"):
        assert ask(accel(path)).body == b"odd name", path
    assert ask(accel("/protected/a.pdf?x=/../")).body == b"%PDF"
    assert ask(accel("/protected//./a.pdf")).body == b"%PDF"
    got = ask(naming({"x-sendfile": f"{media}/{raw}", "content-disposition": "attachment"}))
    assert (got.body, got.fields["content-disposition"]) == (b"odd name", "attachment")
    assert_no_field_leaves(got)
    both = ask(naming({"x-sendfile": f"{media}/a.pdf", "x-accel-redirect": "/other/b.txt"}))
    assert both.body == b"other"
    shouted = ask(naming({"X-Sendfile": f"{media}/a.pdf", "Content-Type": "text/plain", "ETag": '"of the app"'}))
    assert (shouted.body, shouted.fields["content-type"]) == (b"%PDF", "text/plain")
    assert shouted.fields["etag"] != '"of the app"'
    assert_no_field_leaves(shouted)


def test_a_folder_behind_a_link_has_both_names(
    serve: Callable[..., Server], tmp_path: Path, media: Path, connect_h1: Callable[..., H1Client]
) -> None:
    link = tmp_path / "current"
    link.symlink_to(media)
    routes = [{"path": "/x", "files": str(link), "internal": True}]
    client = connect_h1(with_routes(serve, tmp_path, routes, application_path=INTERFACES["asgi"]).listener)
    for folder in (link, media):
        assert client.get(naming({"x-sendfile": f"{folder}/a.pdf"})).body == b"%PDF"


@pytest.mark.parametrize(
    "fields",
    [
        {"x-accel-redirect": path}
        for path in (
            "/protected/none", "/protected/", "/protected", "/protected/of%20user", "/protected/../other/b.txt",
            "/protected/%2e%2e/other/b.txt", "/protected/..%2foutside.txt", "/protected/out", "/protected/.hidden",
            "/public/a.pdf", "/none", "protected/a.pdf", "@named", "https://example.com/", "", "*", "/protected/a.pdf\\x",
        )
    ]
    + [{"x-sendfile": path} for path in ("<media>/../outside.txt", "<media>", "<media>/out", "/etc/passwd", "a.pdf", "")],
)
def test_what_no_internal_route_has_is_not_found(ask: Ask, media: Path, fields: dict[str, str]) -> None:
    got = ask(naming({name: value.replace("<media>", str(media)) for name, value in fields.items()}))
    assert (got.status, got.body) == (404, b""), got
    assert_no_field_leaves(got)


def test_a_file_that_is_not_there_is_logged(ask: Ask, server: Server) -> None:
    def is_logged() -> bool:
        assert ask(accel("/protected/gone.pdf")).status == 404
        return 'A response names a file that no internal route has: "/protected/gone.pdf"' in server.log

    wait_until(is_logged, "a line, of which there is one in a second")


def test_no_client_reaches_an_internal_route(ask: Ask) -> None:
    for target in ("/protected/a.pdf", "/%70rotected/a.pdf", "//protected//a.pdf"):
        got = ask(target, x_accel_redirect="/protected/a.pdf")
        assert got.body == b"of the app", "as if there were no such route"
    assert ask("/public/a.pdf").body == b"%PDF"


def test_without_an_internal_route_the_fields_pass_as_before(
    serve: Callable[..., Server], tmp_path: Path, media: Path, ask_of: Callable[[Server], Ask]
) -> None:
    routes = [{"path": "/protected", "files": str(media)}]
    got = ask_of(with_routes(serve, tmp_path, routes, application_path=INTERFACES["asgi"]))(accel("/protected/a.pdf"))
    assert (got.body, got.fields["x-accel-redirect"]) == (b"of the app", "/protected/a.pdf")


def test_the_app_completes_its_response(ask: Ask, server: Server) -> None:
    """Its body is read to the end, so that what it does after it is done."""
    for pieces in (0, 1, 10):
        assert ask(naming({"x-accel-redirect": "/protected/a.pdf"}, pieces=pieces, name=pieces)).body == b"%PDF"
    wait_until(lambda: set(ask("/done").body.split(b",")) >= {b"0", b"1", b"10"}, "the app has gone on")
    assert "isconnect" not in server.log and "ERROR" not in server.log


def test_a_long_body_of_the_app_is_not_read_to_its_end(ask: Ask, server: Server) -> None:
    assert ask(naming({"x-accel-redirect": "/protected/large.bin"}, pieces=100_000)).body == LARGE
    server.wait_for_log("A response that names a file has a body of more than 1048576 bytes")
    assert ask("/view").body == b"of the app"


def test_an_app_that_fails_after_the_head_has_failed(ask: Ask) -> None:
    got = ask(naming({"x-accel-redirect": "/protected/a.pdf"}, fail=1))
    assert got.status == 500
    assert_no_field_leaves(got)
    assert ask("/view").body == b"of the app"


def test_a_worker_that_dies_after_the_head_has_failed(
    serve: Callable[..., Server], tmp_path: Path, media: Path, ask_of: Callable[[Server], Ask]
) -> None:
    routes = [{"path": "/protected", "files": str(media), "internal": True}]
    server = with_routes(serve, tmp_path, routes, application_path=INTERFACES["asgi"])
    ask = ask_of(server)
    got = ask(naming({"x-accel-redirect": "/protected/a.pdf"}, die=1))
    assert got.status == 502
    assert_no_field_leaves(got)
    assert ask("/view").body == b"of the app"


def test_a_file_that_the_app_sends_itself_gives_way(
    serve: Callable[..., Server], tmp_path: Path, media: Path, ask_of: Callable[[Server], Ask]
) -> None:
    routes = [{"path": "/protected", "files": str(media), "internal": True}]
    ask = ask_of(with_routes(serve, tmp_path, routes, application_path=INTERFACES["asgi"]))
    for _ in range(20):
        got = ask(naming({"x-accel-redirect": "/protected/a.pdf"}, path=str(media / "large.bin")))
        assert (got.status, got.body) == (200, b"%PDF")


def test_a_denied_websocket_gets_no_file(
    serve: Callable[..., Server],
    tmp_path: Path,
    media: Path,
    connect_h1: Callable[..., H1Client],
    connect_h2: Callable[..., H2Client],
) -> None:
    routes = [{"path": "/protected", "files": str(media), "internal": True}]
    server = with_routes(serve, tmp_path, routes, application_path=INTERFACES["asgi"])
    target = accel("/protected/a.pdf")
    over_h1 = ask_over_h1(connect_h1(server.listener), target, whole=True)
    assert (over_h1.status, over_h1.body, over_h1.header("x-accel-redirect")) == (403, b"denied", None)
    client = connect_h2(server.listener)
    over_h2 = client.response(ask_over_h2(client, target))
    assert (over_h2.status, over_h2.body) == (403, b"denied")
    assert not [name for name, _ in over_h2.headers if name.startswith(b"x-accel")]


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_django_leaves_files_to_the_server(
    serve: Callable[..., Server], tmp_path: Path, media: Path, connect_h2: Callable[..., H2Client], interface: str
) -> None:
    folder = tmp_path / "media"
    shutil.copytree(media, folder, symlinks=True)
    (folder / "a.pdf.gz").write_bytes(b"compressed")
    routes = [{"path": "/protected", "files": str(folder), "internal": True, "precompressed": True}]
    app = f"{APPS / 'django_site.py'}:{interface}"
    server = with_routes(serve, tmp_path, routes, application_path=app if interface == "asgi" else f"wsgi:{app}")
    ask = asking(connect_h2(server.listener))
    got = ask("/private/a.pdf")
    assert (got.body, got.fields["content-type"], got.fields["content-disposition"]) == (
        b"%PDF", "application/pdf", "attachment",
    )
    assert got.fields["set-cookie"].startswith("seen=a.pdf") and got.fields["x-content-type-options"] == "nosniff"
    compressed = ask("/private/a.pdf", accept_encoding="gzip")
    assert (compressed.body, compressed.fields["content-encoding"]) == (b"compressed", "gzip")
    assert ask("/private/of%20user/%C3%BC%20100%25.txt").body == b"odd name"
    assert ask("/private/none").status == 404


def test_an_upstream_names_files_as_the_app_does(
    serve: Callable[..., Server], tmp_path: Path, media: Path, ask_of: Callable[[Server], Ask]
) -> None:
    def handler(peer: Peer, request: Request) -> None:
        peer.read_body(request)
        if request.target == "/long":
            peer.send("HTTP/1.1 200 OK\r\nx-sendfile: " + f"{media}/a.pdf\r\ncontent-length: 100000000\r\n\r\n")
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    peer.send(bytes(100_000))
            peer.socket.close()
        elif request.target == "/breaks":
            peer.send("HTTP/1.1 200 OK\r\nx-accel-redirect: /protected/a.pdf\r\ncontent-length: 10\r\n\r\nx")
            peer.socket.close()
        else:
            peer.answer("of the upstream", headers=f"X-Accel-Redirect: {request.target}\r\nset-cookie: a=b\r\n")

    with Upstream(handler) as upstream:
        routes: list[dict[str, Any]] = [
            {"path": "/protected", "files": str(media), "internal": True},
            {"upstream": upstream.url},
        ]
        ask = ask_of(with_routes(serve, tmp_path, routes))
        for _ in range(3):
            got = ask("/protected/a.pdf")
            assert (got.body, got.fields["set-cookie"], got.fields["content-type"]) == (b"%PDF", "a=b", "application/pdf")
            assert_no_field_leaves(got)
        assert ask("/protected/large.bin", range="bytes=0-3").body == LARGE[:4]
        assert ask("/other").status == 404
        assert ask("/long").body == b"%PDF"
        assert ask("/breaks").status == 502
        assert ask("/protected/a.pdf").body == b"%PDF"
