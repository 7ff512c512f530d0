"""The environment of workers: variables, descriptors, and the order in which modules are looked for."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import DEADLINE, Listening, Server, command, wait_until

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": __file__.encode()})


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [__file__.encode()]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an app, and beside it files and packages that have the names of all the standard library's."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "main.py").write_text(APP)
    for name in sys.stdlib_module_names:
        found = importlib.util.find_spec(name) if name != "__main__" else None
        is_package = found is not None and found.submodule_search_locations is not None
        path = folder / name / "__init__.py" if is_package else folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise RuntimeError('it is the app that this is for')\n")
    return folder


@pytest.mark.parametrize("app", ["main:app", "wsgi:main:wsgi"])
@pytest.mark.parametrize("worker_class", ["asyncio", "uvloop", "trio"])
def test_files_named_like_the_standard_library_do_not_break_the_start(
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    project: Path,
    tmp_path: Path,
    app: str,
    worker_class: str,
) -> None:
    if worker_class != "asyncio":
        pytest.importorskip(worker_class)
    config = tmp_path / "hcrs.toml"
    config.write_text(
        f'bind = "127.0.0.1:0"\napplication_path = "{app}"\nuse_reloader = true\nworker_class = "{worker_class}"\n'
    )
    server = serve(config_file=config, cwd=project)
    assert connect_h1(server.listener).get().body == str(project / "main.py").encode()


def test_an_interpreter_is_found_beside_such_files(project: Path) -> None:
    """Only if there is a choice are interpreters asked whether they have hcrs."""
    environment = {**os.environ, "VIRTUAL_ENV": "", "PATH": f"/usr/bin:/bin:{os.environ['PATH']}"}
    run = subprocess.Popen(
        [command(), "main:app", "--bind", "127.0.0.1:0"], cwd=project, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert run.stderr is not None
        said = []
        for line in run.stderr:
            said.append(line)
            if "Running on" in line:
                break
        assert "Running on" in said[-1], said
    finally:
        run.terminate()
        run.communicate(timeout=DEADLINE)


def test_a_configuration_in_python_is_evaluated_beside_such_files(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], project: Path
) -> None:
    (project / "settings.py").write_text('bind = "127.0.0.1:0"\napplication_path = "main:app"\n')
    for flag in ("python:settings", f"file:{project}/settings.py"):
        shown = subprocess.run(
            [command(), "config", "show", flag], cwd=project, capture_output=True, text=True, timeout=DEADLINE
        )
        assert 'application_path = "main:app"' in shown.stdout, shown.stderr


def test_workers_do_not_see_the_secrets_of_the_server(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str
) -> None:
    secrets = {"HCRS_KEYFILE_PASSWORD": "opensesame", "HCRS_LOGCONFIG_DICT": '{ version = 1, incremental = true }'}
    server = serve("plain.py:app", tls=True, env={**secrets, "KEPT": "yes"})
    for worker in server.worker_pids():
        environment = Path(f"/proc/{worker}/environ").read_bytes()
        assert b"\0KEPT=yes\0" in b"\0" + environment + b"\0"
        for name in secrets:
            assert b"\0" + name.encode() + b"=" not in b"\0" + environment


def test_workers_do_not_inherit_what_the_server_was_started_with(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    lock = (tmp_path / "lock").open("w")
    ours, theirs = socket.socketpair()
    with lock, ours, theirs:
        server = serve("plain.py:app", pass_fds=[lock.fileno(), theirs.fileno()])
        inherited = os.readlink(f"/proc/self/fd/{theirs.fileno()}")
        assert inherited in targets(server.pid), "the edge has it"
        for worker in server.worker_pids():
            assert not {inherited, lock.name} & targets(worker)


def test_a_log_that_is_named_by_its_descriptor_is_passed_on(
    launch: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    with path.open("w") as log:
        launch("plain.py:app", pass_fds=[log.fileno()], errorlog=f"/dev/fd/{log.fileno()}")
    port = wait_until(lambda: re.search(r"Running on http://127.0.0.1:(\d+)", path.read_text()), "the server to run")[1]
    assert connect_h1(Listening("http", "127.0.0.1", int(port))).get("/fail?after=nothing").status == 500
    wait_until(lambda: "short and stout" in path.read_text(), "the worker's line")


def targets(pid: int) -> set[str]:
    """The targets of a process's descriptors."""
    return {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
