"""Files of routes beyond their names, conditions and ranges (test_routes.py): precompressed ones, rules of a folder,
listings, files that change, and files that the app names."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from end_to_end.h1_client import Closed, H1Client
from end_to_end.h2_client import Lost
from end_to_end.routed import Ask, Response, with_routes
from end_to_end.server import Server, find_tool, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

TEXT = b"a line of text\n" * 400
LARGE = b"0123456789abcdef" * 16384


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "sub").mkdir(parents=True)
    for name, content in {
        "a.txt": TEXT,
        "large.bin": LARGE,
        "sub/b.html": b"<p>b</p>",
        ".env": b"SECRET",
        "../outside.txt": b"SECRET",
    }.items():
        (folder / name).write_bytes(content)
    return folder


Sites = Callable[..., Ask]


@pytest.fixture
def asking_for(serve: Callable[..., Server], tmp_path: Path, site: Path, ask_of: Callable[[Server], Ask]) -> Sites:
    """A client of a site whose files are at the root, with these keys of the route."""

    def start(**keys: Any) -> Ask:
        return ask_of(with_routes(serve, tmp_path, [{"files": str(site), **keys}]))

    return start


def compress(folder: Path, name: str) -> dict[str, bytes]:
    """Puts siblings beside a file, whose contents are told apart by their ends. Returns them by their coding."""
    content = (folder / name).read_bytes()
    made = {coding: gzip.compress(content) + coding.encode() for coding in ("br", "zstd", "gzip")}
    for coding, suffix in (("br", ".br"), ("zstd", ".zst"), ("gzip", ".gz")):
        (folder / (name + suffix)).write_bytes(made[coding])
    return made


@pytest.mark.parametrize("name", ["a.txt", "large.bin"])
def test_a_sibling_in_the_best_coding_is_sent(asking_for: Sites, site: Path, name: str) -> None:
    made = {"": (site / name).read_bytes(), **compress(site, name)}
    ask = asking_for(precompressed=True)
    tags: dict[str, str] = {}
    for accepted, expected in {
        "": "", "identity": "", "deflate": "", "gzip": "gzip", "x-gzip": "gzip", "gzip, deflate, br, zstd": "br",
        "zstd, gzip": "zstd", "br;q=0.5, gzip": "gzip", "*": "br", "*;q=0.1, br;q=0": "zstd", "gzip;q=0": "", "*;q=0": "",
        "identity;q=0.9, gzip;q=0.8": "", "gzip;q=2, br;q=x, zstd;q=-1": "", "gzip;q=1.0000": "", "identity;q=0": "",
        "GZIP;Q=0.3": "gzip", "gzip;q=0.1,": "gzip", "br, " * 1000 + "gzip": "br",
    }.items():
        got = ask(f"/{name}", accept_encoding=accepted)
        assert (got.status, got.body == made[expected]) == (200, True), accepted
        assert got.fields.get("content-encoding", "") == expected, accepted
        assert got.fields["vary"] == "accept-encoding" and got.fields["content-length"] == str(len(got.body))
        assert got.fields["content-type"].startswith("text/plain" if name == "a.txt" else "application/octet-stream")
        assert tags.setdefault(expected, got.fields["etag"]) == got.fields["etag"]
    assert ask(f"/{name}").fields["vary"] == "accept-encoding"
    assert len(set(tags.values())) == 4, "each has a tag of its own"
    for coding, tag in tags.items():
        same = ask(f"/{name}", accept_encoding=coding, if_none_match=tag)
        assert (same.status, same.fields["vary"], same.fields["etag"]) == (304, "accept-encoding", tag)
        other = ask(f"/{name}", accept_encoding="gzip" if coding != "gzip" else "br", if_none_match=tag)
        assert other.status == 200
        part = ask(f"/{name}", accept_encoding=coding, range="bytes=2-9", if_range=tag)
        assert (part.status, part.body) == (206, made[coding][2:10])
        assert part.fields["content-range"] == f"bytes 2-9/{len(made[coding])}"
        assert part.fields.get("content-encoding", "") == coding
    head = ask(f"/{name}", "HEAD", accept_encoding="br")
    assert (head.fields["content-encoding"], head.fields["content-length"]) == ("br", str(len(made["br"])))


def test_only_siblings_that_may_be_sent_count(asking_for: Sites, site: Path) -> None:
    (site / "a.txt.br").symlink_to("../outside.txt")
    (site / "a.txt.zst").mkdir()
    (site / "a.txt.gz").write_bytes(b"")
    (site / "gone.txt.gz").write_bytes(b"a sibling without an original")
    ask = asking_for(precompressed=True)
    got = ask("/a.txt", accept_encoding="br, zstd, gzip")
    assert (got.body, "vary" in got.fields, "content-encoding" in got.fields) == (TEXT, False, False)
    assert ask("/gone.txt", accept_encoding="gzip").status == 404
    itself = ask("/gone.txt.gz", accept_encoding="gzip")
    assert (itself.fields["content-type"], "content-encoding" in itself.fields) == ("application/gzip", False)


def test_siblings_are_not_looked_for_unless_asked(asking_for: Sites, site: Path) -> None:
    compress(site, "a.txt")
    got = asking_for()("/a.txt", accept_encoding="gzip")
    assert (got.body, "vary" in got.fields) == (TEXT, False)


def test_an_index_file_and_the_page_of_an_app_in_one_page_have_siblings_too(asking_for: Sites, site: Path) -> None:
    (site / "index.html").write_bytes(b"<h1>home</h1>")
    made = compress(site, "index.html")
    ask = asking_for(precompressed=True, missing="index.html")
    for target in ("/", "/any/page"):
        for _ in range(2):
            got = ask(target, accept_encoding="gzip")
            assert (got.body, got.fields["content-type"]) == (made["gzip"], "text/html; charset=utf-8")


def test_a_sibling_is_sent_as_it_is_and_other_files_are_compressed(asking_for: Sites, site: Path) -> None:
    shutil.copy(site / "a.txt", site / "b.txt")
    (site / "a.txt.gz").write_bytes(compressed := gzip.compress(TEXT))
    ask = asking_for(precompressed=True, compress=["br", "gzip"])
    got = ask("/a.txt", accept_encoding="br;q=0.5, gzip")
    assert (got.body, got.fields["content-encoding"], got.fields["vary"]) == (compressed, "gzip", "accept-encoding")
    other = ask("/b.txt", accept_encoding="gzip")
    assert (gzip.decompress(other.body), other.fields["content-encoding"]) == (TEXT, "gzip")
    assert ask("/b.txt", accept_encoding="gzip", if_none_match=other.fields["etag"]).status == 304
    assert ask("/b.txt", accept_encoding="gzip", range="bytes=0-3").body == TEXT[:4]


def test_names_with_a_hash_are_kept_for_good(asking_for: Sites, site: Path) -> None:
    for name in ("app.3f2a9c1b04de.css", "index-BXl3FXeF.js", "report-20240101.pdf"):
        (site / name).write_bytes(b"x")
    ask = asking_for(hashed_immutable=True, cache_control="no-cache")
    for name in ("app.3f2a9c1b04de.css", "index-BXl3FXeF.js"):
        assert ask(f"/{name}").fields["cache-control"] == "public, max-age=31536000, immutable"
    for name in ("report-20240101.pdf", "a.txt"):
        assert ask(f"/{name}").fields["cache-control"] == "no-cache"


def test_uploads_are_stored_and_not_shown(asking_for: Sites) -> None:
    ask = asking_for(attachment=True, force_type="application/octet-stream")
    for fields in ({}, {"range": "bytes=0-1"}):
        got = ask("/sub/b.html", **fields)
        assert got.fields["content-disposition"] == "attachment"
        assert got.fields["content-type"] == "application/octet-stream"
        assert got.fields["x-content-type-options"] == "nosniff"
    several = ask("/large.bin", range="bytes=0-0,1000-1000")
    assert several.fields["content-type"].startswith("multipart/byteranges") and b"application/octet-stream" in several.body


def listed(page: bytes) -> list[str]:
    return re.findall(r'<li><a href="(.*?)">', page.decode())


def test_a_folder_is_listed_if_asked_for(asking_for: Sites, site: Path) -> None:
    (site / "<b>&\"'.txt").write_bytes(b"odd")
    (site / os.fsdecode(b"\xff.txt")).write_bytes(b"odd")
    (site / "within").symlink_to("sub")
    (site / "out").symlink_to("../outside.txt")
    os.mkfifo(site / "fifo")
    ask = asking_for(listing=True)
    got = ask("/")
    assert (got.status, got.fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<b>" not in got.body and got.fields["content-security-policy"] == "default-src 'none'"
    assert listed(got.body) == [
        "./sub/", "./within/", "./%3Cb%3E%26%22%27.txt", "./a.txt", "./large.bin", "./%FF.txt",
    ]
    for reference in ("%3Cb%3E%26%22%27.txt", "%FF.txt"):
        assert ask("/" + reference).body == b"odd"
    assert listed(ask("/sub/").body) == ["../", "./b.html"]
    head = ask("/", "HEAD")
    assert (head.body, head.fields["content-length"]) == (b"", str(len(got.body)))
    assert ask("/sub").fields["location"] == "/sub/"
    assert ask("/none/").status == 404 and ask("/", "POST").status == 405
    (site / "sub" / "index.html").write_bytes(b"<h1>sub</h1>")
    assert ask("/sub/").body == b"<h1>sub</h1>"


def test_a_listing_is_bounded(asking_for: Sites, site: Path) -> None:
    for number in range(1500):
        (site / "sub" / f"{number}").touch()
    got = asking_for(listing=True)("/sub/")
    assert len(listed(got.body)) == 1001 and b"There are more" in got.body


def test_no_folder_is_listed_unasked(asking_for: Sites) -> None:
    assert asking_for()("/sub/").status == 404


class Changing:
    """Does something again and again on a thread while a test asks."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._step()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


#: Lets links lead to one target after the other, each in one step, until it is told to end.
SWAP = """
import itertools, os, select, sys
for rounds in itertools.count(1):
    for link, target in (line.split("|") for line in sys.argv[1:]):
        os.symlink(target, link + ".new")
        os.replace(link + ".new", link)
    if rounds == 1:
        print("swapped", flush=True)
    if select.select([0], [], [], 0)[0]:
        break
"""


@contextlib.contextmanager
def swapping(steps: Sequence[tuple[Path, Path | str]]) -> Iterator[None]:
    """Swaps links in a process of its own, so that it does not wait for the test."""
    arguments = [f"{link}|{target}" for link, target in steps]
    process = subprocess.Popen(
        [sys.executable, "-c", SWAP, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "swapped\n"
        yield
        process.communicate("\n", timeout=30)
    finally:
        process.kill()
        process.wait()


def ask_often(
    ask_of: Callable[[Server], Ask], server: Server, targets: Sequence[str], count: int
) -> Iterator[Response]:
    """The answers to many requests; a connection that is cut off is opened again."""
    ask = ask_of(server)
    for number in range(count):
        try:
            yield ask(targets[number % len(targets)])
        except (Closed, Lost, OSError):
            ask = ask_of(server)


@pytest.mark.parametrize("precompressed", [False, True])
def test_a_symlink_race_leads_nowhere(
    serve: Callable[..., Server], tmp_path: Path, site: Path, ask_of: Callable[[Server], Ask], precompressed: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("b.html", "b.html.gz", "secret"):
        (outside / name).write_bytes(b"SECRET" * 1000)
    server = with_routes(serve, tmp_path, [{"files": str(site), "precompressed": precompressed, "listing": True}])

    links = {"folder": "", "b.html": "b.html", "a.txt.gz": "b.html"}
    outward: list[tuple[Path, Path | str]] = [(site / link, outside / name) for link, name in links.items()]
    inward: list[tuple[Path, Path | str]] = [(site / link, Path("sub") / name) for link, name in links.items()]
    statuses = Counter[int]()
    with swapping(outward + inward):
        targets = ["/folder/b.html", "/b.html", "/a.txt", "/folder/", "/a.txt.gz"]
        for got in ask_often(ask_of, server, targets, 20_000):
            statuses[got.status] += 1
            assert b"SECRET" not in got.body and b"secret" not in got.body
            if min(statuses[200], statuses[404]) > 200:
                break
    assert statuses[200] and statuses[404] and set(statuses) == {200, 404}, statuses


def test_small_files_that_change_are_whole(
    serve: Callable[..., Server], tmp_path: Path, site: Path, ask_of: Callable[[Server], Ask]
) -> None:
    """A small file is read at once, so that its response is of one version if it is replaced as a whole."""
    server = with_routes(serve, tmp_path, [{"files": str(site)}])
    name = site / "changing"
    name.write_bytes(b"")
    letters = iter("abcdefgh" * 100_000)

    def change() -> None:
        letter = next(letters)
        fresh = site / "fresh"
        fresh.write_bytes(letter.encode() * (1 + ord(letter) * 13 % 1000))
        fresh.replace(name)

    seen: set[bytes] = set()
    with Changing(change):
        for got in ask_often(ask_of, server, ["/changing"], 30):
            assert got.status == 200 and len(set(got.body)) <= 1
            assert len(got.body) in (0, 1 + (got.body or b"\0")[0] * 13 % 1000)
            seen.add(got.body)
            wait_until(lambda last=got: ask_one(server, "/changing") != last.body, "it changes")  # type: ignore[misc]
    assert len(seen) > 2


def ask_one(server: Server, target: str) -> bytes:
    return httpx.get(f"{server.listener.url}{target}", trust_env=False).content


def test_a_change_shows_soon_and_a_file_that_is_gone_is_gone(asking_for: Sites, site: Path) -> None:
    ask = asking_for(precompressed=True)
    for _ in range(3):
        assert ask("/a.txt").body == TEXT
    os.utime(site / "a.txt", (1, 1))
    (site / "a.txt").write_bytes(TEXT.upper())
    os.utime(site / "a.txt", (1, 1))
    wait_until(lambda: ask("/a.txt").body == TEXT.upper(), "the same length and time, another content")
    compress(site, "a.txt")
    wait_until(lambda: "content-encoding" in ask("/a.txt", accept_encoding="gzip").fields, "a sibling")
    (site / "a.txt").unlink()
    wait_until(lambda: ask("/a.txt", accept_encoding="gzip").status == 404, "the file has gone")
    (site / "a.txt").mkdir()
    assert ask("/a.txt").status == 404
    (site / "a.txt").rmdir()
    (site / "a.txt").symlink_to("/dev/zero")
    assert ask("/a.txt").status == 404


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "folder"])
def test_what_is_no_file_is_not_sent(asking_for: Sites, site: Path, tmp_path: Path, kind: str) -> None:
    ask = asking_for(follow_links=True, precompressed=True)
    with contextlib.ExitStack() as stack:
        if kind == "fifo":
            os.mkfifo(site / "odd")
        elif kind == "socket":
            opened = stack.enter_context(socket.socket(socket.AF_UNIX))
            opened.bind(str(site / "odd"))
        elif kind == "device":
            (site / "odd").symlink_to("/dev/zero")
        else:
            (site / "odd").mkdir()
        shutil.copy(site / "a.txt", site / "odd.txt")
        (site / "odd.txt.gz").symlink_to("odd")
        assert ask("/odd").status == 404
        assert ask("/odd.txt", accept_encoding="gzip").body == TEXT


def test_endless_conditions_and_ranges_are_answered(asking_for: Sites) -> None:
    ask = asking_for()
    tag = ask("/a.txt").fields["etag"]
    many = ", ".join(f'"{number}"' for number in range(700))
    assert ask("/a.txt", if_none_match=many).status == 200
    assert ask("/a.txt", if_none_match=f"{many}, {tag}").status == 304
    assert ask("/a.txt", if_match=many).status == 412
    for odd in (
        "bytes=0-0" + ",0-0" * 1000, "bytes=" + "9" * 5000 + "-", "bytes=--1", "bytes=-", "bytes=1-0", "items=0-1", "bytes",
        "bytes=0x0-1", "bytes=0-1;q=1", "bytes=\t,\t,", "bytes=18446744073709551615-18446744073709551616", "bytes=1 0-20",
    ):
        assert ask("/a.txt", range=odd).status in (200, 416), odd
    assert ask("/a.txt", range="bytes=0-" + "9" * 40).status == 206
    assert ask("/a.txt", range="bytes=-" + "9" * 40).body == TEXT


def test_ten_thousand_routes_are_refused(launch: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "hcrs.toml"
    file.write_text('bind = "127.0.0.1:0"\n' + '[[hcrs.routes]]\npath = "/x"\nstatus = 404\n' * 10_000)
    server = launch(None, config_file=file)
    assert server.wait_for_exit() == 78
    assert "routes: expected at most 1024 routes" in server.log


def test_one_descriptor_serves_all_downloads_of_a_file(
    serve: Callable[..., Server], tmp_path: Path, site: Path, connect_h1: Callable[..., H1Client]
) -> None:
    (site / "large.bin").write_bytes(LARGE * 64)
    server = with_routes(serve, tmp_path, [{"files": str(site)}])

    def held() -> int:
        links = [os.readlink(entry) for entry in Path(f"/proc/{server.pid}/fd").iterdir() if entry.exists()]
        return links.count(str(site / "large.bin"))

    clients = [connect_h1(server.listener, receive_buffer=4096) for _ in range(20)]
    for client in clients:
        client.request("GET", "/large.bin")
        assert client.head().status == 200
    assert held() == 1
    for client in clients:
        client.close()
    wait_until(lambda: held() == 0, "the descriptor is closed")


def test_files_of_routes_leave_by_sendfile(
    serve: Callable[..., Server], tmp_path: Path, site: Path, connect_h1: Callable[..., H1Client]
) -> None:
    strace = find_tool("strace", "strace")
    if strace is None:
        pytest.skip("strace is missing: apt-get install strace")
    server = with_routes(serve, tmp_path, [{"files": str(site)}])
    calls = tmp_path / "calls"
    tracer = subprocess.Popen(
        [strace, "-f", "-qq", "-e", "trace=sendfile", "-o", str(calls), "-p", str(server.pid)],
        stderr=subprocess.PIPE, text=True,
    )
    try:
        client = connect_h1(server.listener)

        def is_traced() -> bool:
            assert tracer.poll() is None, tracer.stderr and tracer.stderr.read()
            assert client.get("/large.bin").body == LARGE
            return calls.exists() and "sendfile(" in calls.read_text()

        wait_until(is_traced, "sendfile is called")
    finally:
        tracer.terminate()
        tracer.wait()
