"""SIGHUP reads the configuration again: what a running server can change is changed, and the rest is named."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.settings
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.replacing import ALL
from end_to_end.server import APPS, Server, command, to_toml, wait_until
from end_to_end.test_admin import Admin

PLAIN = str(APPS / "plain.py:app")
CHANGED = r"The configuration was read again; changed: (.*)"
UNCHANGED = (
    "The configuration was read again, and the files that it names; no setting that takes effect now has changed"
)
AT_START = r"These settings have changed and take effect at a start \(SIGUSR2 .*\): (.*)"
UNREAD = "The configuration cannot be read again, and the settings stay as they are: "


class Configured:
    """A server with a configuration that changes."""

    def __init__(self, start: Callable[..., Server], file: Path, **keys: Any) -> None:
        self.file = file
        self._reloads = 0
        self.write(**keys)
        self.server = start(None, config_file=file)

    def write(self, **keys: Any) -> None:
        """Writes the file."""
        self.file.write_text(to_toml({"bind": "127.0.0.1:0", "application_path": PLAIN, **keys}))

    def reload(self) -> None:
        """Sends SIGHUP, and waits until all workers are replaced."""
        self._reloads += 1
        self.server.signal(signal.SIGHUP)
        self.server.wait_for_log(ALL, self._reloads)

    def change(self, **keys: Any) -> None:
        """Writes the file and reloads."""
        self.write(**keys)
        self.reload()

    def said(self, pattern: str) -> list[str]:
        """What the log has said in the group of the pattern."""
        return re.findall(pattern, self.server.log)


def root_path(client: H1Client | H2Client) -> str:
    """The app's."""
    found = re.search(r"'root_path': '(.*?)'", client.get("/scope").body.decode())
    assert found
    return found[1]


@pytest.fixture
def configure(serve: Callable[..., Server], tmp_path: Path) -> Callable[..., Configured]:
    def start(**keys: Any) -> Configured:
        return Configured(serve, tmp_path / "hcrs.toml", **keys)

    return start


def test_the_number_of_workers_and_their_settings_change(
    configure: Callable[..., Configured], connect_h2: Callable[..., H2Client]
) -> None:
    configured = configure(workers=1, root_path="/one")
    server = configured.server
    client = connect_h2(server.listener)
    assert root_path(client) == "/one"
    configured.change(workers=3, root_path="/three", hcrs={"env": {"GREETING": "hello"}})
    assert configured.said(CHANGED) == ["root_path, workers, [hcrs] env"]
    wait_until(lambda: len(server.worker_pids()) == 3, "three workers")
    assert root_path(client) == "/three"
    environments = {b"GREETING=hello" in Path(f"/proc/{pid}/environ").read_bytes() for pid in server.worker_pids()}
    assert environments == {True}
    configured.change(workers=2, root_path="/three", hcrs={"env": {"GREETING": "good day"}})
    assert configured.said(CHANGED)[1:] == ["workers, [hcrs] env"]
    wait_until(lambda: len(server.worker_pids()) == 2, "two workers")
    configured.reload()
    assert configured.said(UNCHANGED) == [UNCHANGED]
    assert client.goaway is None and AT_START not in server.log


def test_open_connections_follow_and_new_ones_get_what_is_announced(
    configure: Callable[..., Configured], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> None:
    configured = configure(server_names=["127.0.0.1"])
    where = configured.server.listener
    old, keeping = connect_h2(where), connect_h1(where)
    assert (old.get().header(b"server"), keeping.get().header("server")) == (b"hcrs", "hcrs")
    configured.change(
        server_names=["other.test"],
        include_server_header=False,
        include_date_header=False,
        alt_svc_headers=['h2=":1"'],
        h2_max_concurrent_streams=7,
        keep_alive_max_requests=2,
    )
    new = connect_h2(where)
    for client in (old, new):
        response = client.get()
        assert response.status == 404, "the name is not served any more"
        assert (response.header(b"server"), response.header(b"date")) == (None, None)
        assert response.header(b"alt-svc") == b'h2=":1"'
    kept = keeping.get()
    assert (kept.status, kept.header("server"), kept.header("connection")) == (404, None, "close")
    limit = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
    assert (old.protocol.remote_settings[limit], new.protocol.remote_settings[limit]) == (100, 7)
    configured.change()
    assert connect_h2(where).get().header(b"server") == b"hcrs"


def test_a_queue_follows(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    hold = tmp_path / "hold"

    def start(_: Any, config_file: Path) -> Server:
        return serve(None, config_file=config_file, env={"HOLD": str(hold)})

    app = str(APPS / "lifespans.py:held")
    configured = Configured(start, tmp_path / "hcrs.toml", application_path=app, hcrs={"queue_timeout": 60})
    (worker,) = configured.server.worker_pids()
    client = connect_h2(configured.server.listener)
    assert client.get().status == 200
    hold.touch()
    os.kill(worker, signal.SIGSTOP)
    try:
        waiting = [client.request("GET", "/") for _ in range(3)]
        configured.write(application_path=app, hcrs={"queue_timeout": 0.2})
        configured.server.signal(signal.SIGHUP)
        # The new worker is held, so only the new timeout answers before the client's patience ends.
        assert {client.response(stream).status for stream in waiting} == {503}
    finally:
        hold.unlink()
        os.kill(worker, signal.SIGCONT)
    configured.server.wait_for_log(ALL)
    assert client.get().status == 200


def test_what_takes_a_start_is_named_until_it_is_as_before(
    configure: Callable[..., Configured], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    configured = configure()
    configured.change(loglevel="debug", pid_path=str(tmp_path / "pid"), hcrs={"io_threads": 3}, workers=2)
    assert configured.said(AT_START) == ["[hcrs] io_threads, pid_path, loglevel"]
    assert configured.said(CHANGED) == ["workers"]
    assert not (tmp_path / "pid").exists() and "[DEBUG]" not in configured.server.log
    configured.change(loglevel="debug", workers=2)
    assert configured.said(AT_START)[1:] == ["loglevel"]
    configured.change(workers=2)
    assert len(configured.said(AT_START)) == 2
    assert connect_h1(configured.server.listener).get().status == 200


def test_a_configuration_that_cannot_be_read_changes_nothing(
    configure: Callable[..., Configured], connect_h1: Callable[..., H1Client]
) -> None:
    configured = configure(workers=2, root_path="/one")
    server = configured.server
    before = set(server.worker_pids())
    for problem in ("workers = [", "workers = -1\nroot_path = '/two'", None):
        configured.file.unlink() if problem is None else configured.file.write_text(problem)
        configured.reload()
    said = configured.said(re.escape(UNREAD) + "(.*(?:\n.*hcrs.toml.*)?)")
    assert len(said) == 3 and all("hcrs.toml" in line for line in said), server.log
    wait_until(lambda: not before & set(server.worker_pids()), "new workers all the same")
    assert len(server.worker_pids()) == 2
    assert root_path(connect_h1(server.listener)) == "/one"
    configured.change(workers=2, root_path="/two")
    assert root_path(connect_h1(server.listener)) == "/two"


def test_only_new_warnings_are_logged(configure: Callable[..., Configured]) -> None:
    configured = configure(daemon=True)
    configured.change(daemon=True, wrokers=2)
    configured.reload()
    assert len(configured.said("daemon is ignored")) == 1
    assert len(configured.said("unknown key: wrokers, ignored; did you mean workers?")) == 1


class Unnamed(Server):
    """Reads the file that is there by default."""

    def _command_line(self, flags: list[str], app: str | None) -> list[str]:
        return [command(), *flags[2:]]


@pytest.mark.parametrize("name", ["here.toml", "file:settings.py", "python:settings", "hypercorn.toml"])
def test_the_file_is_found_from_the_directory_of_the_start(
    connect_h1: Callable[..., H1Client], tmp_path: Path, name: str
) -> None:
    for folder in ("site", "server"):
        (tmp_path / folder).mkdir()

    def write(root_path: str) -> None:
        keys = {"bind": "127.0.0.1:0", "application_path": PLAIN, "root_path": root_path}
        if name.endswith(".toml"):
            (tmp_path / name).write_text(to_toml(keys))
        else:
            (tmp_path / "settings.py").write_text("".join(f"{key} = {value!r}\n" for key, value in keys.items()))

    write("/one")
    kind = Unnamed if name == "hypercorn.toml" else Server
    flags = ["--chdir=site", f"--python={sys.executable}"]
    with kind(tmp_path / "server", None, config_file=Path(name), cwd=tmp_path, flags=flags).serving() as server:
        assert Path(f"/proc/{server.pid}/cwd").resolve() == tmp_path / "site"
        write("/two")
        server.signal(signal.SIGHUP)
        server.wait_for_log(ALL)
        assert re.findall(CHANGED, server.log) == ["root_path"], server.log
        assert root_path(connect_h1(server.listener)) == "/two"


def test_a_configuration_from_a_pipe_is_not_taken_for_an_empty_one(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    reads, writes = os.pipe()
    os.write(writes, to_toml({"bind": "127.0.0.1:0", "application_path": PLAIN, "root_path": "/one"}).encode())
    os.close(writes)
    server = launch(None, config_file=Path(f"/dev/fd/{reads}"), pass_fds=[reads]).wait_until_running()
    os.close(reads)
    server.signal(signal.SIGHUP)
    server.wait_for_log(re.escape(UNREAD) + f"/dev/fd/{reads}: .*there is no regular file of this name")
    server.wait_for_log(ALL)
    assert root_path(connect_h1(server.listener)) == "/one"


def test_reload_by_command_says_whether_the_configuration_was_read(
    configure: Callable[..., Configured], tmp_path: Path
) -> None:
    own = {"admin_bind": f"unix:{tmp_path}/admin"}
    configured = configure(hcrs=own)
    admin = Admin(configured.server)
    configured.write(workers=2, hcrs=own)
    assert admin.hcrs("reload") == "all workers are being replaced\n"
    configured.server.wait_for_log(ALL)
    wait_until(lambda: len(configured.server.worker_pids()) == 2, "two workers")
    configured.file.write_text("workers = [")
    assert "the settings stay as they are" in admin.hcrs("reload", code=1)
    configured.server.wait_for_log(ALL, 2)


def test_a_reload_during_the_start_follows_it(launch: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, time\nos.close(os.open('begun', os.O_CREAT))\ntime.sleep(1)\n"
        "async def app(scope, receive, send):\n    raise RuntimeError\n"
    )
    keys = {"bind": "127.0.0.1:0", "application_path": "slow:app"}
    file = tmp_path / "hcrs.toml"
    file.write_text(to_toml(keys))
    server = launch(None, config_file=file, cwd=tmp_path)
    wait_until((tmp_path / "begun").exists, "the import of the app")
    file.write_text(to_toml({**keys, "workers": 2}))
    server.signal(signal.SIGHUP)
    server.wait_until_running()
    server.wait_for_log(ALL)
    assert re.findall(CHANGED, server.log) == ["workers"]
    assert len(server.worker_pids()) == 2
    server.assert_ends_well()
