"""``auth``: requests need the name and password of a user in a file, and hashing keeps no other request waiting."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.routed import Ask, routes_file, with_routes
from end_to_end.server import Server, command
from end_to_end.test_rules import reload
from end_to_end.ws_client import ask_over_h1 as ask_websocket_over_h1
from end_to_end.ws_client import ask_over_h2 as ask_websocket_over_h2

#: Hashes of "open sesame" by bcrypt, which htpasswd has made, by argon2 and by SHA-crypt.
BCRYPT = "$2y$04$rkTXB0teiRj4S91reMFdEO/m1ckT93BrsVEt1O2t12eRcOdpdqz6m"
ARGON2 = "$argon2id$v=19$m=64,t=1,p=1$4SVmIFYy2y8HUfF+qs6e9A$a2n9PQ8hDJnHsZdS6LdMSlneIQPCavpnLYieuIeEjBo"
SHA_CRYPT = "$5$saltsalt$yrhPKxCqiWcCE9h0g86j6Ugz7SDFdFm.BjU.d8RaQnC"
PASSWORD = "open sesame"

#: A hash that takes seconds in a build without optimization.
SLOW = "$6$rounds=1000000$saltsalt$" + "." * 86

#: Such a hash of "open sesame".
SLOW_AND_RIGHT = (
    "$6$rounds=1000000$saltsalt$8S9ne4ts.WXVb9EYlnlzlgVptoCzx.w8CrcVGkVd/2zh7cL2z6pgfZ6E6tR5guOM0AWV/eO8f0/E3OtmKWv0G/"
)


def basic(name: str, password: str = PASSWORD) -> str:
    """The field of a name and a password."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A file with a user of each kind of hash."""
    file = tmp_path / "users"
    file.write_text(f"# users\nann:{BCRYPT}\nbob:{ARGON2}\ncleo:{SHA_CRYPT}\n")
    return file


@shows("plain.py:app", auth="<folder>/users", auth_realm="the staff")
def test_users_need_a_password(users: Path, server: Server, ask_of: Callable[[Server], Ask]) -> None:
    ask = ask_of(server)
    none = ask("/")
    assert (none.status, none.body) == (401, b"")
    assert none.fields["www-authenticate"] == 'Basic realm="the staff", charset="UTF-8"'
    for name in ("ann", "bob", "cleo", "ann"):
        got = ask("/", authorization=basic(name))
        assert (got.status, got.body) == (200, b"hello"), name
    for bad in (
        basic("ann", "open"),
        basic("dan"),
        basic(""),
        basic("ann", ""),
        "Bearer x",
        "Basic %",
        basic("a" * 9999),
    ):
        refused = ask("/", authorization=bad)
        assert refused.status == 401 and "www-authenticate" in refused.fields, bad
    scope = ask("/scope", authorization=basic("ann")).body.decode()
    assert basic("ann") in scope, "the app may look at it"


def test_bodies_are_received_while_a_password_is_verified(
    users: Path, serve: Callable[..., Server], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> None:
    server = serve("plain.py:app", hcrs={"auth": str(users)})
    client = connect_h1(server.listener)
    body = b"x" * 100_000
    client.request("POST", "/echo", f"authorization: {basic('bob')}\r\n", body)
    assert client.response().body == body
    h2 = connect_h2(server.listener)
    stream = h2.request("POST", "/echo", [("authorization", basic("cleo"))], body=body[:60_000])
    assert h2.response(stream).body == body[:60_000]


def test_all_kinds_of_routes_are_guarded(
    users: Path, serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "a.txt").write_text("a")
    guard = {"auth": str(users)}
    routes: list[dict[str, Any]] = [
        {"path": "/static", "files": str(site), **guard},
        {"path": "/next", "files": str(site), "missing": "next", **guard},
        {"path": "/gone", "status": 410, "text": "gone", **guard},
        {"path": "/moved", "redirect": "/", **guard},
        {"path": "/hello", "welcome": True, **guard},
        {"path": "/next/digest", "app": True, "set_headers": ["x-route=app"]},
    ]
    ask = ask_of(with_routes(serve, tmp_path, routes))
    for target, status, text in [
        ("/static/a.txt", 200, b"a"),
        ("/static/b.txt", 404, b""),
        ("/gone", 410, b"gone"),
        ("/moved", 308, b""),
        ("/next/a.txt", 200, b"a"),
        ("/next/b.txt", 404, b"no such behaviour"),
        ("/hello", 200, None),
    ]:
        assert ask(target).status == 401, target
        # Each has a password that was not verified before.
        got = ask(target, authorization=basic("ann"))
        assert got.status == status and (text is None or text in got.body), target
    assert ask("/").status == 200
    behind = ask("/next/digest", authorization=basic("bob"))
    assert (behind.status, behind.fields.get("x-route")) == (404, "app"), "the rules of the route that answers"


@pytest.mark.parametrize("over", ["h1", "h2", "h3"])
def test_websockets_need_a_password(
    over: str,
    users: Path,
    serve: Callable[..., Server],
    tmp_path: Path,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
) -> None:
    server = serve("sockets.py:app", hcrs={"auth": str(users)})
    named = [("authorization", basic("ann"))]
    if over == "h1":
        assert ask_websocket_over_h1(connect_h1(server.listener), "/echo").status == 401
        assert ask_websocket_over_h1(connect_h1(server.listener), "/echo", named).status == 101
    else:
        client = connect_multiplexed(server.listener_speaking(over))
        assert client.response(ask_websocket_over_h2(client, "/echo")).status == 401
        stream = ask_websocket_over_h2(client, "/echo", named)
        assert client.head(stream).status == 200


def test_hashing_keeps_no_other_request_waiting(
    users: Path, serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    users.write_text(f"ann:{BCRYPT}\nslow:{SLOW}\n")
    client = connect_h2(serve("plain.py:app", hcrs={"auth": str(users)}).listener)
    assert client.get("/", [("authorization", basic("ann"))]).status == 200
    slow = [client.request("GET", "/", [("authorization", basic("slow", str(number)))]) for number in range(4)]
    answered = [client.get("/", [("authorization", basic("ann"))]).status for _ in range(20)]
    assert answered == [200] * 20
    assert not all(client.streams[stream].is_over for stream in slow), "what is remembered waits for no hash"


def test_too_many_passwords_are_refused(
    users: Path, serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    users.write_text(f"slow:{SLOW}\n")
    client = connect_h2(serve("plain.py:app", hcrs={"auth": str(users)}).listener)
    streams = [client.request("GET", "/", [("authorization", basic("slow", str(number)))]) for number in range(90)]
    refused = client.response(streams[-1])
    assert (refused.status, refused.header(b"retry-after")) == (503, b"1")
    for stream in streams:
        if not client.streams[stream].is_over:
            client.reset(stream)


def test_the_same_password_is_verified_once_for_many_streams(
    users: Path, serve: Callable[..., Server], connect_h2: Callable[..., H2Client]
) -> None:
    client = connect_h2(serve("plain.py:app", hcrs={"auth": str(users)}).listener)
    streams = [client.request("GET", "/", [("authorization", basic("ann"))]) for _ in range(100)]
    assert {client.response(stream).status for stream in streams} == {200}, "more than may wait"


def test_the_file_is_read_again_by_sighup(
    users: Path, serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    server = with_routes(serve, tmp_path, [], hcrs={"auth": str(users)})
    ask = ask_of(server)
    assert ask("/", authorization=basic("ann")).status == 200
    users.write_text(f"dan:{BCRYPT}\n")
    reload(server, 1)
    assert ask("/", authorization=basic("ann")).status == 401, "what was remembered is of another file"
    assert ask("/", authorization=basic("dan")).status == 200
    users.write_text("ann:secret\n")
    reload(server, 2)
    assert f"{users}:1: unknown kind of hash" in server.log
    assert ask("/", authorization=basic("dan")).status == 200, "the users stay as they were"
    routes_file(tmp_path, [])
    reload(server, 3)
    assert ask("/").status == 200


def test_a_password_that_was_verified_for_a_former_route_opens_no_other(
    users: Path, serve: Callable[..., Server], tmp_path: Path, connect_h2: Callable[..., H2Client]
) -> None:
    slow = tmp_path / "slow"
    slow.write_text(f"eve:{SLOW_AND_RIGHT}\n")
    former, new = ([{"app": True, "auth": str(file)}] for file in (slow, users))
    server = with_routes(serve, tmp_path, former)
    # The password may be verified before the configuration is read; then the answer is that of the former route.
    for attempt in range(5):
        client = connect_h2(server.listener)
        for number in range(2):
            client.request("GET", "/", [("authorization", basic("eve", f"wrong {attempt} {number}"))])
        last = client.request("GET", "/", [("authorization", basic("eve"))])
        routes_file(tmp_path, new)
        reload(server, 2 * attempt + 1)
        if client.response(last).status == 401:
            return
        routes_file(tmp_path, former)
        reload(server, 2 * attempt + 2)
    raise AssertionError("a password of the former route has opened the new one")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ann:$apr1$jQdiwJ9F$QVohp6aeUAThhnQTlZGFZ1", ":2: MD5 ($apr1$, $1$) is not accepted"),
        ("ann:SBMD4MTjkM2n6", ":2: DES (crypt) is not accepted"),
        ("ann:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=", ":2: SHA-1 ({SHA}) is not accepted"),
        ("ann", ":2: expected name:hash"),
        ("", ": no user is named"),
    ],
)
def test_files_that_cannot_be_used_stop_the_start(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "users"
    file.write_text(f"# users\n{line}\n")
    config = routes_file(tmp_path, [], hcrs={"auth": str(file)})
    run = subprocess.run([command(), "-c", str(config)], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 1 and f"hcrs.toml:4: auth: {file}{message}" in run.stderr, run.stderr
    run = subprocess.run(
        [command(), "check", "-c", str(config)], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode != 0 and f"{file}{message}" in run.stdout + run.stderr


def test_the_access_log_has_the_users(
    users: Path, serve: Callable[..., Server], tmp_path: Path, ask_of: Callable[[Server], Ask]
) -> None:
    log = tmp_path / "access.log"
    server = with_routes(
        serve, tmp_path, [], accesslog=str(log), access_log_format="%(u)s %(s)s", hcrs={"auth": str(users)}
    )
    ask = ask_of(server)
    assert [ask("/", authorization=basic("ann")).status, ask("/").status] == [200, 401]
    server.stop()
    assert re.findall(r"\] (\S+ \d+)$", log.read_text(), re.MULTILINE) == ["ann 200", "- 401"]
