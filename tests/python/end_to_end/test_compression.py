"""Compression: which responses it changes, and what it changes in their heads and in those of files."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from end_to_end.apps.compressed import text
from end_to_end.coded import APP, CODINGS, MIB, Ask, over_h1, over_streams, target
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.routed import routes_file
from end_to_end.server import Server, wait_until

#: Fields that differ from one response to the next.
OF_THE_MOMENT = {"date", "server"}


@pytest.fixture(params=["h1", "h2c", "h3"])
def ask(
    request: pytest.FixtureRequest,
    compressing: Server,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> Ask:
    """A client of the app, over one connection."""
    where = compressing.listener_for(request.param)
    return over_h1(connect_h1(where)) if request.param == "h1" else over_streams(connect_multiplexed(where))


# ---- the settings ----


@shows("compressed.py:app", compress=True)
def test_responses_are_compressed_on_request(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    ask = over_h1(connect_h1(server.listener))
    assert ask("/").coding == "zstd"
    assert ask(target(size=1000)).coding is None


@shows("compressed.py:app", compress=["br", "gzip"], compress_types=["image/x"], compress_min_size=200, compress_secrets=True)
def test_the_settings_of_compression(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    ask = over_h1(connect_h1(server.listener))
    assert ask(target(size=200, type="image/x")).coding == "br"
    assert ask(target(size=200, type="image/x"), "zstd").coding is None
    assert ask(target(size=199, type="image/x")).coding is None
    assert ask("/").coding is None
    assert ask(target(type="image/x"), authorization="Basic eA==").coding == "br"
    assert ask(target(type="image/x", field="set-cookie:a=b")).coding == "br"


def test_nothing_is_compressed_unless_it_is_asked_for(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    answer = over_h1(connect_h1(serve("compressed.py:app").listener))("/")
    assert (answer.coding, answer.field("vary"), answer.body) == (None, None, text(5000))


def test_the_flag_compresses(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    server = serve("compressed.py:app", flags=["--compress"])
    assert over_h1(connect_h1(server.listener))("/").coding == "zstd"


def test_a_route_has_rules_of_its_own(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client]
) -> None:
    routes: list[dict[str, Any]] = [
        {"path": "/plain", "app": True, "compress": False},
        {"path": "/small", "app": True, "compress_min_size": 10},
        {"path": "/fixed", "status": 404, "text": "not here " * 500},
        {"path": "/redirect", "redirect": "/"},
    ]
    file = routes_file(tmp_path, routes, application_path=APP, hcrs={"compress": ["gzip"]})
    ask = over_h1(connect_h1(serve(None, config_file=file).listener))
    assert ask("/plain").coding is None and ask("/").coding == "gzip"
    assert ask(target("/small", size=100)).coding == "gzip"
    assert (ask("/fixed").coding, ask("/fixed").decoded) == ("gzip", b"not here " * 500)
    assert ask("/redirect").coding is None


# ---- which coding ----


def test_weights_decide_and_nonsense_means_none(ask: Ask) -> None:
    for accept, expected in [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("*", "zstd"),
        ("*;q=0.1, zstd;q=0", "br"),
        ("identity", None),
        ("identity;q=0, gzip", "gzip"),
        ("deflate", None),
        ("gzip;q=0", None),
        ("gzip;q=7", None),
        ("gzip;q=nan, br;q=0.001", "br"),
        ("", None),
        (None, None),
    ]:
        answer = ask("/", accept)
        assert (answer.coding, answer.decoded) == (expected, text(5000)), accept
        assert answer.field("vary") == "accept-encoding", accept


def test_any_accept_encoding_has_an_answer(ask: Ask) -> None:
    chosen = random.Random(5)
    parts = ["gzip", "br", "zstd", "*", "identity", ";", ";q=", "q=0", "0.5", ",", " ", "=", "\t", '"', "-1", "9" * 30]
    for _ in range(150):
        accept = "".join(chosen.choices(parts, k=chosen.randrange(12))).strip()
        answer = ask("/", accept)
        assert answer.coding in (None, *CODINGS) and answer.decoded == text(5000), accept
    many = ",".join(["gzip;q=0.5", "x;q=2"] * 200)
    assert ask("/", many).coding == "gzip"


def test_a_client_that_refuses_bodies_as_they_are_gets_them_compressed(ask: Ask) -> None:
    answer = ask(target(size=50, type="image/png"), "gzip, identity;q=0")
    assert answer.decoded == text(50)


# ---- what it changes ----


@pytest.mark.parametrize("coding", CODINGS)
def test_the_fields_of_a_compressed_response(ask: Ask, coding: str) -> None:
    fields = [
        'etag:"a"', "vary:cookie", "accept-ranges:bytes", "x-own:1", "cache-control:max-age=60", "Last-Modified:x",
    ]
    whole = ask(target(field=fields), coding)
    assert (whole.coding, whole.decoded) == (coding, text(5000)) and len(whole.body) < 1500
    assert whole.field("content-length") == str(len(whole.body))
    assert (whole.field("etag"), whole.field("vary")) == ('W/"a"', "cookie, accept-encoding")
    assert whole.field("accept-ranges") is None and whole.field("x-own") == "1"
    assert ask(target(field='etag:W/"a"'), coding).field("etag") == 'W/"a"'
    streamed = ask(target(field=fields, size=300_000, piece=10_000), coding)
    assert (streamed.coding, streamed.decoded) == (coding, text(300_000))
    assert streamed.field("content-length") is None and streamed.field("etag") == 'W/"a"'
    plain = ask(target(field=fields), None)
    assert (plain.coding, plain.body, plain.field("etag")) == (None, text(5000), '"a"')
    assert (plain.field("vary"), plain.field("content-length")) == ("cookie, accept-encoding", "5000")
    assert plain.field("accept-ranges") == "bytes"


@pytest.mark.parametrize("coding", CODINGS)
def test_head_has_the_fields_of_get(ask: Ask, coding: str) -> None:
    of = target(field=['etag:"a"', "accept-ranges:bytes"], size=300_000, piece=10_000)
    head, get = ask(of, coding, "HEAD"), ask(of, coding)
    relevant = [
        sorted((name, value) for name, value in answer.fields if name not in {*OF_THE_MOMENT, "transfer-encoding"})
        for answer in (head, get)
    ]
    assert head.body == b"" and relevant[0] == relevant[1]
    # Of a short body the compressed length is known only once it was compressed.
    assert ask("/", coding, "HEAD").field("content-length") is None
    small = ask(target(size=10), coding, "HEAD")
    assert (small.coding, small.field("content-length")) == (None, "10")


def test_responses_that_are_left_as_they_are(ask: Ask) -> None:
    for own in ("gzip", "identity"):
        answer = ask(target(field=f"content-encoding:{own}"))
        assert (answer.coding, answer.field("vary"), answer.body) == (own, None, text(5000))
    for of in [
        target(field="cache-control:public, no-transform"),
        target(field="repr-digest:sha-256=:x:"),
        target(type="image/png"),
        target(type="application/octet-stream"),
    ]:
        answer = ask(of)
        assert (answer.coding, answer.field("vary"), answer.body) == (None, None, text(5000)), of
    short = ask(target(size=1023))
    assert (short.coding, short.field("vary"), short.body) == (None, None, text(1023))
    part = ask(target(status=206, field="content-range:bytes 0-4999/6000"))
    assert (part.coding, part.field("vary"), part.body) == (None, "accept-encoding", text(5000))
    for status in (204, 304):
        answer = ask(target(status=status, length="no", size=0))
        assert (answer.status, answer.coding, answer.body) == (status, None, b"")
    assert ask(target(status=500)).coding == "zstd"


def test_responses_with_secrets_are_left_as_they_are(ask: Ask) -> None:
    for answer in [
        ask(target(field="set-cookie:session=1")),
        ask("/", authorization="Bearer x"),
        ask("/", cache_control="no-transform"),
    ]:
        assert (answer.coding, answer.field("vary"), answer.body) == (None, "accept-encoding", text(5000))
    assert ask("/", cookie="session=1").coding == "zstd"


def test_bytes_that_gain_nothing_are_sent_as_they_are(
    serve: Callable[..., Server], tmp_path: Path, connect_h1: Callable[..., H1Client]
) -> None:
    noise = random.Random(1).randbytes(20_000)
    (tmp_path / "noise.txt").write_bytes(noise)
    file = routes_file(tmp_path, [{"path": "/f", "files": str(tmp_path)}], hcrs={"compress": True})
    ask = over_h1(connect_h1(serve(None, config_file=file).listener))
    answer = ask("/f/noise.txt")
    assert answer.decoded == noise and answer.field("vary") == "accept-encoding"


def test_a_not_modified_response_has_the_tag_of_the_compressed_one(ask: Ask) -> None:
    of = target(status=304, field='etag:"a"', length="no", size=0)
    assert (ask(of).field("etag"), ask(of).field("vary")) == ('W/"a"', "accept-encoding")
    assert (ask(of, None).field("etag"), ask(of, None).field("vary")) == ('"a"', None)


# ---- files ----


@pytest.fixture(params=["h1", "h2", "h3"])
def ask_files(
    request: pytest.FixtureRequest,
    serve: Callable[..., Server],
    tmp_path: Path,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> Ask:
    """A client of a folder with a short and a long file and an empty one."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, content in {"a.json": text(5000), "long.json": text(MIB), "a.png": text(5000), "empty.txt": b""}.items():
        (folder / name).write_bytes(content)
    file = routes_file(tmp_path, [{"path": "/f", "files": str(folder)}], hcrs={"compress": True})
    where = serve(None, config_file=file).listener_speaking(request.param)
    return over_h1(connect_h1(where)) if request.param == "h1" else over_streams(connect_multiplexed(where))


@pytest.mark.parametrize("coding", CODINGS)
def test_files_are_compressed_and_conditions_hold(ask_files: Ask, coding: str) -> None:
    for name, size in [("a.json", 5000), ("long.json", MIB)]:
        answer = ask_files(f"/f/{name}", coding)
        assert (answer.coding, answer.decoded) == (coding, text(size))
        plain = ask_files(f"/f/{name}", None)
        tag = plain.field("etag")
        assert (answer.field("etag"), answer.field("vary"), plain.field("vary")) == (
            f"W/{tag}", "accept-encoding", "accept-encoding",
        )
        assert answer.field("accept-ranges") is None and plain.field("accept-ranges") == "bytes"
        for condition in (f"W/{tag}", str(tag), "*"):
            held = ask_files(f"/f/{name}", coding, if_none_match=condition)
            assert (held.status, held.field("etag"), held.field("vary")) == (304, f"W/{tag}", "accept-encoding")
        assert ask_files(f"/f/{name}", coding, if_none_match='"b"').status == 200
        assert ask_files(f"/f/{name}", coding, if_match=f"W/{tag}").status == 412
        head = ask_files(f"/f/{name}", coding, "HEAD")
        assert (head.coding, head.field("content-length"), head.body) == (coding, None, b"")
    part = ask_files("/f/a.json", coding, range="bytes=10-19")
    assert (part.status, part.coding, part.body) == (206, None, text(5000)[10:20])
    assert ask_files("/f/a.png", coding).coding is None and ask_files("/f/empty.txt", coding).body == b""


# ---- the log ----


def test_the_access_log_counts_the_bytes_that_left(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("compressed.py:app", accesslog="-", access_log_format="sent=%(bytes_sent)s", hcrs={"compress": True})
    ask = over_h1(connect_h1(server.listener))
    for of in ("/", target(size=300_000, piece=10_000)):
        line = f"sent={len(ask(of).body)}\n"
        wait_until(partial(is_logged, server, line), line)


def is_logged(server: Server, line: str) -> bool:
    return line in server.output
