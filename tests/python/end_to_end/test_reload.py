"""With ``use_reloader`` the workers are replaced when the app's files change, and a broken save leaves the old ones serving."""

from __future__ import annotations

import re
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import shows
from end_to_end.server import Server, wait_until

ALL = "All workers have been replaced"

MAIN = """
    import importlib
    import sys

    ANSWER = "first"


    async def app(scope, receive, send):
        assert scope["type"] == "http"
        module = scope["path"][1:]
        answer = importlib.import_module(module).ANSWER if module else ANSWER
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer.encode()})
"""


class Project:
    """A folder with an app that is served from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("main.py", MAIN)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)


@pytest.fixture
def serve_project(serve: Callable[..., Server], project: Project) -> Callable[..., Server]:
    def start(**options: Any) -> Server:
        return serve(
            f"{project.folder}/main.py:app",
            use_reloader=True,
            keep_alive_timeout=60,
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            **options,
        )

    return start


def wait_for_change(server: Server, name: str, count: int = 1) -> None:
    server.wait_for_log(rf"Replacing all workers \(\S*/{re.escape(name)} has changed\)")
    server.wait_for_log(ALL, count)


@shows(use_reloader=True)
def test_edit_is_served_by_new_workers_on_the_same_connection(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client]
) -> None:
    server = serve_project(workers=2)
    client = connect_h2(server.listener)
    assert client.get().body == b"first"
    before = set(server.worker_pids())
    project.edit("main.py", "first", "second")
    wait_for_change(server, "main.py")
    assert client.get().body == b"second"
    assert not before & set(server.worker_pids())
    assert client.goaway is None
    project.edit("main.py", "second", "third")
    server.wait_for_log(ALL, 2)
    assert client.get().body == b"third"


@pytest.mark.slow
def test_broken_save_leaves_the_old_app_serving_until_the_next_one(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client]
) -> None:
    server = serve_project(workers=2)
    client = connect_h2(server.listener)
    before = server.worker_pids()
    project.edit("main.py", "async def", "async dfe")
    server.wait_for_log("SyntaxError")
    server.wait_for_log(r"worker \d+ goes on serving, another is tried with the next change")
    assert client.get().body == b"first"
    assert set(before) <= set(server.worker_pids())
    project.edit("main.py", "async dfe", "async def")
    server.wait_for_log(ALL)
    project.edit("main.py", 'ANSWER = "first"', "raise RuntimeError('broken')")
    server.wait_for_log("RuntimeError: broken")
    assert client.get().body == b"first"
    project.edit("main.py", "raise RuntimeError('broken')", 'ANSWER = "mended"')
    server.wait_for_log(ALL, 2)
    assert client.get().body == b"mended"
    assert server.log.count("cannot serve the app") == 2, "nothing is tried again before there is a change"


@pytest.mark.parametrize("broken", ["def app(:", "raise SystemExit('not yet')", "import os; os._exit(5)"])
def test_a_first_start_that_fails_waits_for_a_change(
    launch: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client], broken: str
) -> None:
    project.write("main.py", broken)
    server = launch(f"{project.folder}/main.py:app", use_reloader=True, workers=2, env={"PYTHONDONTWRITEBYTECODE": "1"})
    server.wait_for_log("The app cannot be served; the next change of a file starts it again")
    project.write("main.py", broken + "  # still so")
    server.wait_for_log("The app cannot be served; the next change of a file starts it again", 2)
    assert "Running on" not in server.log
    project.write("main.py", MAIN)
    client = connect_h2(server.wait_until_running().listener)
    assert client.get().body == b"first"
    assert len(server.worker_pids()) == 2
    project.edit("main.py", "first", "second")
    server.wait_for_log(ALL)
    assert client.get().body == b"second"


def test_a_start_that_waits_for_a_change_can_be_stopped(launch: Callable[..., Server], project: Project) -> None:
    project.write("main.py", "def app(:")
    server = launch(f"{project.folder}/main.py:app", use_reloader=True)
    server.wait_for_log("SyntaxError")
    server.signal(signal.SIGHUP)
    server.wait_for_log("The app cannot be served", 2)
    assert server.stop() == 0
    assert not server.worker_pids()


def test_module_that_a_request_has_imported_from_elsewhere_is_watched(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lazy.py").write_text("ANSWER = 'lazy'")
    project.edit("main.py", "import importlib", f"import sys; sys.path.append({str(elsewhere)!r})\nimport importlib")
    server = serve_project()
    client = connect_h2(server.listener)
    assert client.get("/lazy").body == b"lazy"
    count = 0

    def is_noticed() -> bool:
        # The worker tells what it has loaded within half a second, which nobody sees.
        nonlocal count
        count += 1
        (elsewhere / "lazy.py").write_text(f"ANSWER = 'new'  # {'x' * count}")
        try:
            server.wait_for_log(r"/lazy\.py has changed", deadline=2)
        except AssertionError:
            return False
        return True

    wait_until(is_noticed, "the change to be noticed")
    server.wait_for_log(ALL)
    assert client.get("/lazy").body == b"new"


@shows(reload_include=["*.html"], reload_exclude=["local_*"])
def test_new_files_of_the_app_are_noticed_and_other_files_are_not(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client]
) -> None:
    server = serve_project(hcrs={"reload_include": ["*.html"], "reload_exclude": ["local_*"]})
    client = connect_h2(server.listener)
    for name in (".git/hook.py", "notes.txt", "local_settings.py", "node_modules/tool.py"):
        project.write(name, "ANSWER = 'nothing'")
    project.write("plugins/added.py", "ANSWER = 'added'")
    wait_for_change(server, "plugins/added.py")
    assert client.get("/plugins.added").body == b"added"
    project.write("templates/page.html", "<p>")
    wait_for_change(server, "templates/page.html", 2)
    assert len(re.findall("has changed", server.log)) == 2


@shows(reload_dirs=["<folder>"])
def test_folders_that_are_watched_can_be_chosen(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    server = serve_project(hcrs={"reload_dirs": [str(shared)]})
    client = connect_h2(server.listener)
    project.write("plugins/added.py", "ANSWER = 'nobody looks here'")
    (shared / "added.py").write_text("")
    wait_for_change(server, "shared/added.py")
    assert len(re.findall("has changed", server.log)) == 1
    assert client.get().body == b"first"


def test_a_dead_worker_is_replaced_by_the_change_that_mends_the_app(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client]
) -> None:
    """The place of a worker that cannot be started anew is filled with the change that mends it."""
    server = serve_project()
    client = connect_h2(server.listener)
    project.edit("main.py", "    assert scope", "    import os; scope['path'] != '/die' or os._exit(3)\n    assert scope")
    server.wait_for_log(ALL)
    project.edit("main.py", "import importlib", "import importlib, missing_module")
    server.wait_for_log("goes on serving, another is tried with the next change")
    assert client.get("/die").status == 502
    server.wait_for_log("No module named 'missing_module'", count=2)
    project.write("missing_module.py", "")
    assert client.get().body == b"first"
    server.wait_for_log(ALL, 2)
    assert client.goaway is None


def test_start_that_hangs_is_given_up_for_the_next_change(
    serve_project: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client]
) -> None:
    server = serve_project()
    client = connect_h2(server.listener)
    old = server.worker_pids()
    hang = "; import time; open('hangs', 'w').close(); time.sleep(600)"
    project.edit("main.py", "import importlib", "import importlib" + hang)
    wait_until((server.folder / "hangs").exists, "a worker that hangs")
    project.edit("main.py", hang, "")
    server.wait_for_log(ALL)
    assert client.get().body == b"first"
    assert client.goaway is None and not set(old) & set(server.worker_pids())
    server.wait_for_log(r"Killing worker \d+, which was superseded while it started")
    assert "ERROR" not in server.log


def test_files_are_only_watched_when_it_is_asked_for(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    for is_asked_for in (True, False):
        server = serve("plain.py:app", use_reloader=is_asked_for)
        arguments = connect_h1(server.listener).get("/arguments").body
        assert b"--links" in arguments and (b"--loaded-files" in arguments) is is_asked_for


def test_flag_and_wsgi_app(serve: Callable[..., Server], project: Project, connect_h1: Callable[..., H1Client]) -> None:
    project.write("shop.py", "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'one']\n")
    server = serve(f"{project.folder}/shop.py:app", flags=["--reload"])
    assert connect_h1(server.listener).get().body == b"one"
    project.edit("shop.py", "one", "two")
    wait_for_change(server, "shop.py")
    assert connect_h1(server.listener).get().body == b"two"


def test_reload_without_workers_is_refused(launch: Callable[..., Server]) -> None:
    server = launch("plain.py:app", workers=0, use_reloader=True)
    assert server.wait_for_exit() == 78
    assert "use_reloader: there are no workers to reload, because workers is 0; set workers to 1 or more" in server.log
