"""With ``use_reloader`` the workers are restarted when the app's files change. What a broken save does is in
``test_broken_code.py``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import shows
from end_to_end.project import Project
from end_to_end.server import Server, wait_until

ALL = "All workers have been replaced"


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
    wait_until(lambda: not before & set(server.worker_pids()), "the end of the old workers")
    assert client.goaway is None
    project.edit("main.py", "second", "third")
    server.wait_for_log(ALL, 2)
    assert client.get().body == b"third"


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
