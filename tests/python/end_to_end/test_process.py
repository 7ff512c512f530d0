"""The processes and their surroundings: titles, as ``ps`` and others show them, the directory, the environment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.key_rows import shows
from end_to_end.server import APPS, Server, command, is_alive, to_toml, wait_until
from end_to_end.settings_table import show

PLAIN = str(APPS / "plain.py") + ":app"


def shown(pid: int) -> tuple[str, str]:
    """The command line and the short name of a process."""
    process = Path(f"/proc/{pid}")
    line = (process / "cmdline").read_bytes().rstrip(b"\0").decode()
    return line, (process / "comm").read_text().rstrip("\n")


def titles(server: Server) -> list[tuple[str, str]]:
    """Those of the workers."""
    return sorted(shown(pid) for pid in server.worker_pids())


@shows("plain.py:app", proc_name="shop", workers=2)
def test_processes_have_titles_that_begin_with_proc_name(server: Server) -> None:
    expected = [(f"shop: worker {number} ({PLAIN})", f"shop: worker {number}") for number in (1, 2)]
    assert titles(server) == expected
    assert shown(server.pid) == (f"shop: edge {PLAIN}", "shop")
    before = server.worker_pids()
    server.signal(signal.SIGHUP)
    server.wait_for_log("All workers have been replaced")
    wait_until(lambda: titles(server) == expected, "the titles of the successors")
    assert not set(before) & set(server.worker_pids())


def test_titles_are_what_ps_shows_and_leave_the_environment_alone(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app")
    (worker,) = server.worker_pids()
    listed = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", f"{server.pid},{worker}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert sorted(line.rstrip() for line in listed) == [f"hcrs: edge {PLAIN}", f"hcrs: worker 1 ({PLAIN})"]
    for pid in (server.pid, worker):
        assert f"PATH={os.environ['PATH']}\0" in Path(f"/proc/{pid}/environ").read_text()
    assert b'"--links"' in connect_h1(server.listener).get("/arguments").body, "Python has a copy"


def test_a_title_longer_than_the_arguments_is_cut_off(serve: Callable[..., Server]) -> None:
    server = serve("plain.py:app", flags=["--name", "n" * 2000])
    (worker,) = server.worker_pids()
    line, comm = shown(worker)
    assert re.fullmatch(r"n{1000,2000}(: worker 1 .*)?", line), line
    assert comm == "nnnnn: worker 1"
    assert shown(server.pid)[1] == "n" * 15


SURROUNDINGS = """\
import json, os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    names = ("HCRS_TEST_A", "HCRS_TEST_B", "HOME", "USER", "LANG")
    told = {"cwd": os.getcwd(), "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
            "variables": {name: os.environ.get(name) for name in names}}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""


@pytest.fixture
def surroundings(tmp_path: Path) -> Path:
    """A folder with an app that tells the surroundings of its worker."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "surroundings.py").write_text(SURROUNDINGS)
    folder.chmod(0o755)
    return folder


def told(server: Server, connect_h1: Callable[..., H1Client]) -> Any:
    return json.loads(connect_h1(server.listener).get().body)


def in_folder(keys: dict[str, Any], folder: Path, *flags: str, **environment: str) -> dict[str, Any]:
    """The options of a server that is started in a folder by a relative name of its file."""
    (folder / "conf.toml").write_text(to_toml({"bind": "127.0.0.1:0", **keys}))
    return {"config_file": Path("conf.toml"), "cwd": folder, "flags": flags, "env": environment}


@shows(chdir="site")
@pytest.mark.parametrize("how", ["file", "flag"])
def test_chdir_is_the_directory_of_the_app_and_of_relative_paths(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], surroundings: Path, how: str
) -> None:
    start = surroundings.parent
    keys: dict[str, Any] = {"application_path": "surroundings:app", "pid_path": "pid", "accesslog": "access.log"}
    keys |= {"hcrs": {"chdir": "site"}} if how == "file" else {}
    flags = [] if how == "file" else ["--chdir", "site"]
    server = serve(None, **in_folder(keys, start, *flags))
    assert told(server, connect_h1)["cwd"] == str(surroundings)
    assert (surroundings / "pid").read_text() == str(server.pid)
    wait_until(lambda: (surroundings / "access.log").read_text().count("GET /") == 1, "the access log")
    assert not (start / "pid").exists()


def test_the_link_of_chdir_is_followed_again_by_sighup(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], surroundings: Path
) -> None:
    start, link = surroundings.parent, surroundings.parent / "current"
    following = start / "following"
    following.mkdir()
    (following / "surroundings.py").write_text(SURROUNDINGS)
    link.symlink_to("site")
    server = serve(None, **in_folder({"application_path": "surroundings:app"}, start, "--chdir=current"))
    assert told(server, connect_h1)["cwd"] == str(surroundings)
    link.unlink()
    link.symlink_to("following")
    server.signal(signal.SIGHUP)
    server.wait_for_log("All workers have been replaced")
    assert told(server, connect_h1)["cwd"] == str(following)


def test_a_successor_starts_where_the_server_was_started(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client], surroundings: Path
) -> None:
    keys = {"application_path": "surroundings:app", "hcrs": {"chdir": "site"}}
    server = launch(None, **in_folder(keys, surroundings.parent)).wait_until_running()
    server.signal(signal.SIGUSR2)
    successor = int(server.wait_for_log(r"Process (\d+) is starting to succeed")[0][1])
    try:
        server.wait_for_log(rf"process {successor} has succeeded this server")
        server.wait_for_exit()
        assert told(server, connect_h1)["cwd"] == str(surroundings)
    finally:
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not is_alive(successor), "the end of the successor")


def test_a_directory_that_cannot_be_entered_is_reported(tmp_path: Path) -> None:
    (tmp_path / "conf.toml").write_text("[hcrs]\nchdir = 'none'\n")
    for arguments, code in (([], 1), (["config", "check"], 78)):
        result = subprocess.run(
            [command(), *arguments, "-c", "conf.toml"], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
        )
        expected = "hcrs: conf.toml:2: chdir: cannot change to the directory none: No such file or directory (os error 2)\n"
        assert (result.returncode, result.stderr) == (code, expected)


@shows(env=["HCRS_TEST_A=a=1", "HCRS_TEST_B="])
@pytest.mark.parametrize("how", ["table", "array", "flags"])
def test_variables_of_env_are_those_of_the_workers(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], surroundings: Path, how: str
) -> None:
    words = ["HCRS_TEST_A=a=1, 2", "HCRS_TEST_B="]
    given: dict[str, Any] = {"table": {"HCRS_TEST_A": "a=1, 2", "HCRS_TEST_B": ""}, "array": words}
    keys = {"application_path": "surroundings:app", "hcrs": {"env": given[how]} if how in given else {}}
    flags = [part for word in words for part in ("--env", word)] if how == "flags" else []
    server = serve(None, **in_folder(keys, surroundings, *flags, HCRS_TEST_A="of the server", LANG="C.UTF-8"))
    variables = told(server, connect_h1)["variables"]
    assert (variables["HCRS_TEST_A"], variables["HCRS_TEST_B"], variables["LANG"]) == ("a=1, 2", "", "C.UTF-8")


def test_values_of_env_are_not_shown(tmp_path: Path) -> None:
    found, warnings = show(tmp_path, ["--env", "PASSWORD=secret", "--env=B=secret"])
    assert found["env"].value == "{ PASSWORD = (hidden), B = (hidden) }" and not warnings
    for value, words in (("secret", "a string of the form NAME=value"), ("=secret", "a variable with a name")):
        result = subprocess.run(
            [command(), "config", "show", "--env", value], capture_output=True, text=True, timeout=20, check=False
        )
        assert result.returncode == 78 and f"--env: expected {words}" in result.stderr
