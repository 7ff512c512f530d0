"""``process_user``: a server that root has started binds and reads what needs root, and is another user's from then on.

Only root can become another user. Without root these tests show that the server refuses to start as it was told.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hcrs
from end_to_end.h1_client import H1Client
from end_to_end.key_rows import shows
from end_to_end.server import Listening, Server, command, is_alive, to_toml, wait_until

IS_ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody")

APP = """\
import json, os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/fail":
        raise RuntimeError("failed")
    told = {"ids": [os.getresuid(), os.getresgid(), os.getgroups()], "home": os.environ.get("HOME"), "pid": os.getpid()}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A folder with the command and the package that every user can read: the tests may run in one that is closed."""
    folder = Path(tempfile.mkdtemp(prefix="hcrs-installed-"))
    folder.chmod(0o755)
    shutil.copy(command(), folder / "hcrs")
    shutil.copytree(Path(hcrs.__file__).parent, folder / "lib" / "hcrs")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def python(installed: Path) -> str:
    """An interpreter that nobody can run, and that has hcrs by ``PYTHONPATH``."""
    tried = [sys.executable, os.path.realpath(sys.executable), *map(str, Path("/usr/local/bin").glob("python3*")), "/usr/bin/python3"]
    probe = "import hcrs, sys; sys.exit(sys.version_info < (3, 10))"
    for path in tried:
        # Not by the user of subprocess alone: root keeps its capabilities until the program is started.
        words = ["sh", "-c", 'exec "$0" -c "$1"', path, probe]
        as_user: dict[str, Any] = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if IS_ROOT else {}
        environment = {"PYTHONPATH": str(installed / "lib"), "PATH": os.environ["PATH"]}
        if subprocess.run(words, env=environment, cwd="/", capture_output=True, check=False, **as_user).returncode == 0:
            return path
    pytest.skip(f"no interpreter that another user than root can run: {', '.join(tried)}")


@pytest.fixture
def site(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of root with an app, which every user can read. pytest's own folders are closed to other users."""
    monkeypatch.setenv("HCRS_BIN", str(installed / "hcrs"))
    monkeypatch.setenv("PYTHONPATH", str(installed / "lib"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    folder = Path(tempfile.mkdtemp(prefix="hcrs-site-"))
    folder.chmod(0o755)
    (folder / "main.py").write_text(APP)
    yield folder
    shutil.rmtree(folder)


def configured(site: Path, python: str | None = None, **keys: Any) -> dict[str, Any]:
    """The options of a server of the site. Without root they are for another user, too."""
    own = {"process_user": NOBODY.pw_name if IS_ROOT else 0, **({"python": python} if python else {}), **keys.pop("hcrs", {})}
    (site / "hcrs.toml").write_text(to_toml({"bind": "127.0.0.1:0", "application_path": "main:app", **keys, "hcrs": own}))
    return {"config_file": site / "hcrs.toml", "cwd": site}


def is_refused(server: Server) -> bool:
    """Without root: asserts that the server has refused to start, and why."""
    if IS_ROOT:
        return False
    assert server.wait_for_exit() == 78
    assert re.search(r"hcrs\.toml:\d+: process_user: only root can become user 0 \(0:0\), and this is user \d+", server.log)
    return True


def ids(pid: int) -> set[tuple[str, ...]]:
    """The users, groups, further groups and capabilities of all threads of a process."""
    found = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = (thread / "status").read_text()
        lines = re.findall(r"^(?:Uid|Gid|Groups|CapPrm|CapEff):\t(.*?) *$", status, re.MULTILINE)
        found.add(tuple(lines))
    return found


def nobody(groups: str | None = None) -> set[tuple[str, ...]]:
    """What all threads of a process of nobody have."""
    user, group = "\t".join([str(NOBODY.pw_uid)] * 4), "\t".join([str(NOBODY.pw_gid)] * 4)
    listed = " ".join(map(str, sorted(os.getgrouplist(NOBODY.pw_name, NOBODY.pw_gid))))
    return {(user, group, groups or listed, "0" * 16, "0" * 16)}


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def told(where: Listening, path: str = "/") -> Any:
    with H1Client(where) as client:
        return json.loads(client.get(path).body)


def privileged_port() -> int:
    """A port that only root can bind."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("all privileged ports are in use")


def test_the_whole_server_runs_as_the_user_and_keeps_working(
    launch: Callable[..., Server], site: Path, python: str
) -> None:
    nobodys = (NOBODY.pw_uid, NOBODY.pw_gid)
    subprocess.run([command(), "cert", "dev", "--dir", str(site / "certs")], check=True, capture_output=True)
    key, log, access = site / "certs/key.pem", site / "error.log", site / "access.log"
    port = privileged_port() if IS_ROOT else 0
    options = configured(
        site, python, bind=[f"127.0.0.1:{port}", "unix:socket"], certfile="certs/cert.pem", keyfile="certs/key.pem",
        insecure_bind=["127.0.0.1:0"], errorlog="error.log", accesslog="access.log", pid_path="pid", workers=2,
        hcrs={"admin_bind": "unix:admin", "io_threads": 2},
    )  # fmt: skip
    server = launch(None, **options)
    if is_refused(server):
        return
    announced = wait_until(lambda: log.exists() and re.findall(r"Running on (\S+) ", log.read_text()), "the listeners")
    announced = wait_until(lambda: len(found := re.findall(r"Running on (\S+) ", log.read_text())) == 3 and found, "all of them")
    plain = Listening("http", "127.0.0.1", int(announced[2].rpartition(":")[2]))
    assert (site / "pid").read_text() == str(server.pid)
    # All threads of the edge, of the workers and of what they start.
    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) >= 4
    for pid in [server.pid, *wait_until(lambda: len(found := server.worker_pids()) == 2 and found, "two workers")]:
        assert ids(pid) == nobody()
    # Other processes of the user cannot read the key in the memory of the edge.
    assert owner(Path(f"/proc/{server.pid}/mem"))[0] == 0
    seen = told(plain)
    assert seen["ids"][:2] == [[NOBODY.pw_uid] * 3, [NOBODY.pw_gid] * 3]
    assert seen["home"] == os.environ.get("HOME"), "the environment stays as it was"
    for name in ("error.log", "access.log", "pid", "socket", "admin"):
        assert owner(site / name) == nobodys, name
    assert (site / "admin").stat().st_mode & 0o777 == 0o600
    assert f"The server runs as user nobody ({nobodys[0]}:{nobodys[1]}) from now on" in log.read_text()
    # The key is in use, and the log says that it cannot be read again.
    assert "process_user cannot read certs/key.pem: Permission denied" in log.read_text()
    assert owner(key)[0] == 0 and key.stat().st_mode & 0o777 == 0o600
    trust = ssl.create_default_context(cafile=str(site / "certs/ca.pem"))
    with H1Client(Listening("https", "127.0.0.1", port), tls=trust) as client:
        assert client.get().status == 200
    server.signal(signal.SIGHUP)
    wait_until(lambda: "All workers have been replaced" in log.read_text(), "the new workers")
    assert re.search(r"The certificates cannot be read again.*certs/key.pem", log.read_text())
    assert told(plain)["ids"] == seen["ids"]
    # As logrotate does with "create": what is written after the signal is in the new files.
    for path in (log, access):
        path.rename(path.with_suffix(".1"))
        path.touch()
        os.chown(path, *nobodys)
    server.signal(signal.SIGUSR1)
    wait_until(lambda: (told(plain, "/seen"), "/seen" in access.read_text())[1], "the new access log")
    with H1Client(plain) as client:
        assert client.get("/fail").status == 500
    wait_until(lambda: "RuntimeError: failed" in log.read_text(), "the new error log")
    assert "RuntimeError" not in log.with_suffix(".1").read_text()
    assert server.stop() == 0
    server.wait_for_workers_end()
    assert (site / "pid").read_text() == "", "it cannot be removed from a folder of root"


def test_a_pid_file_is_removed_from_a_folder_of_the_user_and_groups_are_as_configured(
    launch: Callable[..., Server], site: Path, python: str
) -> None:
    run = site / "run"
    run.mkdir()
    if IS_ROOT:
        os.chown(run, NOBODY.pw_uid, NOBODY.pw_gid)
    # A number that is in no list has no groups but its own.
    options = configured(site, python, pid_path="run/pid", hcrs={"process_user": 54321, "process_group": 54322} if IS_ROOT else {})
    server = launch(None, **options)
    if is_refused(server):
        return
    server.wait_until_running()
    expected = [[54321] * 3, [54322] * 3, [54322]]
    assert told(server.listener)["ids"] == expected
    assert server.stop() == 0
    os.chown(run, 54321, 54322)
    server = launch(None, **options).wait_until_running()
    assert (run / "pid").read_text() == str(server.pid)
    assert server.stop() == 0
    assert not (run / "pid").exists()


@pytest.mark.parametrize("preload", [False, True], ids=["spawned", "forked"])
def test_a_successor_starts_as_the_user(launch: Callable[..., Server], site: Path, python: str, preload: bool) -> None:
    server = launch(None, **configured(site, python, pid_path="pid", bind="unix:socket", hcrs={"preload": preload}))
    if is_refused(server):
        return
    server.wait_for_log("Running on ")
    where = Listening("http", "localhost", 0, str(site / "socket"))
    before = told(where)
    # One that cannot start leaves everything as it is.
    (site / "main.py").write_text("raise RuntimeError('broken')\n")
    server.signal(signal.SIGUSR2)
    server.wait_for_log("before it could succeed this server, which continues to serve")
    assert (site / "pid").read_text() == str(server.pid)
    (site / "main.py").write_text(APP)
    server.signal(signal.SIGUSR2)
    successor = int(server.wait_for_log(r"Process (\d+) is starting to succeed", 2)[1][1])
    try:
        server.wait_for_log(rf"process {successor} has succeeded this server")
        wait_until(lambda: not server.is_running, "the end of the first server")
        after = told(where)
        assert after["ids"] == before["ids"] and after["pid"] != before["pid"]
        assert ids(successor) == nobody()
        assert (site / "pid").read_text() == str(successor)
    finally:
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not is_alive(successor), "the end of the successor")
    assert (site / "pid").read_text() == ""


@shows("plain.py:app", process_user=str(os.geteuid()), process_group=str(os.getegid()))
def test_a_server_that_is_the_users_already_has_nothing_to_do(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    assert connect_h1(server.listener).get().status == 200
    assert "from now on" not in server.log


def test_users_and_groups_that_do_not_exist_stop_the_start(launch: Callable[..., Server], site: Path) -> None:
    for keys, why in [
        ({"process_user": "no-such-user"}, "process_user: there is no user no-such-user on this machine"),
        ({"process_user": 0, "process_group": "no-such-group"}, "process_group: there is no group no-such-group"),
        ({"process_user": 4_000_000_000}, "set process_group as well"),
    ]:
        server = launch(None, **configured(site, hcrs=keys))
        assert server.wait_for_exit() == 78
        assert re.search(rf"hcrs: {site}/hcrs\.toml:\d+: .*{why}", server.log), server.log


def test_an_interpreter_that_the_user_cannot_run_is_explained(launch: Callable[..., Server], site: Path) -> None:
    closed = site / "closed"
    closed.mkdir(0o700)
    (closed / "python3").symlink_to("/bin/true")
    server = launch(None, **configured(site, str(closed / "python3")))
    if is_refused(server):
        return
    assert server.wait_for_exit() == 1
    assert "closed/python3 cannot be run: Permission denied" in server.log
    assert "the server runs as user nobody, who has to be able to run the interpreter" in server.log


def test_another_user_than_root_is_told_what_to_do(site: Path) -> None:
    configured(site, hcrs={"process_user": 0})
    as_nobody: dict[str, Any] = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if IS_ROOT else {}
    for words in (["--config", "hcrs.toml"], ["config", "check", "hcrs.toml"]):
        ended = subprocess.run(
            [command(), *words], cwd=site, capture_output=True, text=True, timeout=20, check=False, **as_nobody
        )
        assert ended.returncode == 78
        assert "process_user: only root can become user 0 (0:0), and this is user" in ended.stderr
        assert "start hcrs as root, or as that user" in ended.stderr


def test_a_check_says_what_the_user_cannot_read_or_write(site: Path) -> None:
    subprocess.run([command(), "cert", "dev", "--dir", str(site / "certs")], check=True, capture_output=True)
    (site / "error.log").write_text("")
    configured(site, certfile="certs/cert.pem", keyfile="certs/key.pem", errorlog="error.log")

    def checked() -> subprocess.CompletedProcess[str]:
        words = [command(), "config", "check", "hcrs.toml"]
        return subprocess.run(words, cwd=site, capture_output=True, text=True, timeout=20, check=False)

    found = checked()
    assert found.returncode == 78
    if not IS_ROOT:
        assert "only root can become" in found.stderr
        return
    assert "warning: process_user cannot read certs/key.pem: Permission denied" in found.stderr
    assert re.search(r"hcrs\.toml:\d+: errorlog: cannot write the log error\.log: Permission denied", found.stderr)
    os.chown(site / "error.log", NOBODY.pw_uid, NOBODY.pw_gid)
    os.chown(site / "certs/key.pem", NOBODY.pw_uid, NOBODY.pw_gid)
    found = checked()
    assert found.returncode == 0 and "cannot" not in found.stderr, found.stderr
