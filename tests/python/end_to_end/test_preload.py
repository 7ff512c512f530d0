"""Workers that are forked from a template (``preload``), and the hooks of workers."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import shows
from end_to_end.replacing import replace
from end_to_end.server import Server, is_alive, wait_until

Serve = Callable[..., Server]
LOADED = r"The app is loaded; workers are forked from process (\d+)"


def notes(folder: Path) -> list[str]:
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


def noted(folder: Path, event: str) -> list[str]:
    return [line for line in notes(folder) if line.split()[0] == event]


def template_of(server: Server) -> int:
    return int(server.wait_for_log(LOADED)[-1][1])


def workers_of(server: Server) -> set[int]:
    return set(server.worker_pids()) - {int(found[1]) for found in re.finditer(LOADED, server.log)}


def begin(serve: Serve, folder: Path, app: str = "preloaded.py:app", **config: Any) -> Server:
    hcrs = {"preload": True, **config.pop("hcrs", {})}
    env = {"NOTES": str(folder / "notes"), **config.pop("env", {})}
    return serve(app, hcrs=hcrs, env=env, **{"workers": 2, **config})


@contextmanager
def load(server: Server, connect_h1: Callable[..., H1Client]) -> Iterator[list[object]]:
    """Sends one request after the other until the end, and collects what is not an answer with status 200."""
    over = threading.Event()
    failures: list[object] = []
    answers: list[int] = []

    def ask() -> None:
        client = connect_h1(server.listener)
        while not over.is_set():
            try:
                status = client.get().status
            except Exception as error:  # whatever it is, it is one too many
                failures.append(error)
                return
            answers.append(status)
            if status != 200:
                failures.append(status)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) > 10 or failures, "answers")
    try:
        yield failures
        count = len(answers)
        wait_until(lambda: len(answers) > count + 10 or failures, "further answers")
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("app", "worker_class"),
    [
        ("preloaded.py:app", "asyncio"),
        ("preloaded.py:app", "uvloop"),
        ("preloaded.py:app", "trio"),
        ("wsgi:preloaded.py:wsgi", "asyncio"),
    ],
)
def test_all_workers_share_one_import(
    serve: Serve, connect_h1: Callable[..., H1Client], tmp_path: Path, app: str, worker_class: str
) -> None:
    server = begin(serve, tmp_path, app, worker_class=worker_class, workers=3)
    template = template_of(server)
    assert noted(tmp_path, "imported") == [f"imported {template}"]
    assert len(workers_of(server)) == 3
    worker, imported_by = map(int, connect_h1(server.listener).get().body.split())
    assert imported_by == template and worker in workers_of(server)
    stat = Path(f"/proc/{worker}/stat").read_text().rpartition(") ")[2].split()
    assert (int(stat[1]), int(stat[2])) == (server.pid, worker), "a child of the edge, in a group of its own"
    assert server.stop_and_check() == 0
    assert server.output == "printed at the import\n", "workers do not print again what was buffered"


def test_a_worker_that_is_killed_is_replaced_without_another_import(
    serve: Serve, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = begin(serve, tmp_path)
    template = template_of(server)
    for number in range(3):
        worker = min(workers_of(server))
        os.kill(worker, signal.SIGKILL)
        server.wait_for_log(rf"Worker {worker} was killed by SIGKILL; another is started")
        server.wait_for_log(r"Worker \d+ is ready$", number + 1)
    assert noted(tmp_path, "imported") == [f"imported {template}"]
    assert len(workers_of(server)) == 2
    assert connect_h1(server.listener).get().status == 200


@pytest.mark.parametrize(
    ("path", "end"), [("/exit", "exited with status 7"), ("/segfault", r"was killed by SIGSEGV( \(core dumped\))?")]
)
def test_the_log_says_how_a_forked_worker_has_ended(
    serve: Serve, connect_h1: Callable[..., H1Client], tmp_path: Path, path: str, end: str
) -> None:
    server = begin(serve, tmp_path, workers=1)
    assert connect_h1(server.listener).get(path).status == 502
    server.wait_for_log(rf"Worker \d+ {end}; another is started")
    server.wait_for_log(r"Worker \d+ is ready$")
    assert ("has crashed:" in server.log) == (path == "/segfault"), "its stacks are in the log"
    assert connect_h1(server.listener).get().status == 200


def app_of_version(version: str) -> str:
    return f"""
import os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"{version} %d" % os.getpid()}})
"""


def test_sighup_loads_new_code_and_no_request_fails(
    serve: Serve, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    code = tmp_path / "versions.py"
    code.write_text(app_of_version("old"))
    server = serve(f"{code}:app", workers=2, hcrs={"preload": True, "lifespan": "off"})
    old = template_of(server)
    assert connect_h1(server.listener).get().body.startswith(b"old")
    with load(server, connect_h1) as failures:
        code.write_text(app_of_version("newer"))
        replace(server)
        assert connect_h1(server.listener).get().body.startswith(b"newer")
    assert failures == []
    wait_until(lambda: not is_alive(old), "the old template to end")
    assert len(re.findall(LOADED, server.log)) == 2


def test_a_version_that_cannot_be_loaded_leaves_the_old_workers_and_their_template(
    serve: Serve, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    code = tmp_path / "versions.py"
    code.write_text(app_of_version("old"))
    server = serve(f"{code}:app", workers=2, hcrs={"preload": True, "lifespan": "off"})
    template = template_of(server)
    with load(server, connect_h1) as failures:
        code.write_text("raise RuntimeError('it is broken now')")
        server.signal(signal.SIGHUP)
        server.wait_for_log("it is broken now")
        server.wait_for_log(r"before it was ready; worker \d+ goes on serving")
        assert is_alive(template)
    assert failures == []
    worker = int(connect_h1(server.listener).get().body.split()[1])
    os.kill(worker, signal.SIGKILL)
    server.wait_for_log(rf"Worker {worker} was killed by SIGKILL")
    server.wait_for_log(r"Worker \d+ is ready$")
    assert connect_h1(server.listener).get().body.startswith(b"old"), "the old template serves on"
    code.write_text(app_of_version("mended"))
    replace(server)
    assert connect_h1(server.listener).get().body.startswith(b"mended")


def test_the_death_of_a_template_costs_no_request(
    serve: Serve, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = begin(serve, tmp_path)
    template, before = template_of(server), workers_of(server)
    with load(server, connect_h1) as failures:
        os.kill(template, signal.SIGKILL)
        server.wait_for_log(rf"Template {template} was killed by SIGKILL; the next worker is forked from a new one")
        assert workers_of(server) == before
    assert failures == []
    os.kill(min(before), signal.SIGKILL)
    server.wait_for_log(LOADED, 2)
    server.wait_for_log(r"Worker \d+ is ready$")
    assert len(noted(tmp_path, "imported")) == 2


def test_the_template_ends_with_the_server_however_that_ends(serve: Serve, launch: Serve, tmp_path: Path) -> None:
    server = begin(serve, tmp_path)
    template = template_of(server)
    assert server.stop_and_check() == 0
    assert not is_alive(template)
    server = begin(launch, tmp_path).wait_until_running()
    everything = set(server.worker_pids())
    server.signal(signal.SIGKILL)
    server.wait_for_exit()
    wait_until(lambda: not any(map(is_alive, everything)), "the template and the workers to end")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('not today')", "not today"),
        ("import os; os._exit(9)", "exited with status 9 before it was ready"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL before it was ready"),
    ],
)
def test_an_app_that_cannot_be_loaded_ends_the_start(launch: Serve, tmp_path: Path, source: str, reason: str) -> None:
    (tmp_path / "fails.py").write_text(source)
    outcomes = []
    for preload in (True, False):
        server = launch(f"{tmp_path / 'fails.py'}:app", workers=2, hcrs={"preload": preload})
        outcomes.append(server.wait_for_exit())
        assert reason in server.log
        server.wait_for_workers_end()
    assert outcomes[0] == outcomes[1] != 0


@shows(
    "preloaded.py:app",
    preload=True,
    post_fork="preloaded:forked",
    worker_start="preloaded:started",
    worker_exit="preloaded:ended",
)
@pytest.mark.parametrize("preload", [True, False])
def test_hooks_are_called_in_order_in_their_worker(serve: Serve, tmp_path: Path, preload: bool) -> None:
    names = {"post_fork": "forked", "worker_start": "started", "worker_exit": "ended"}
    hooks = {hook: f"preloaded:{name}" for hook, name in names.items()}
    server = begin(serve, tmp_path, hcrs={"preload": preload, **hooks})
    assert server.stop_and_check() == 0
    lives: dict[str, list[str]] = {}
    for line in notes(tmp_path):
        event, *numbers = line.split()
        lives.setdefault(numbers[-1], []).append(event)
        if len(numbers) == 3:
            assert numbers[0] in "12" and numbers[1] == numbers[2]
    expected = ["worker_start", "startup", "shutdown", "worker_exit"]
    if preload:
        assert sorted(lives.values()) == [["imported"], ["post_fork", *expected], ["post_fork", *expected]]
    else:
        assert list(lives.values()) == [["imported", *expected]] * 2
    assert {line.split()[1] for line in noted(tmp_path, "worker_exit")} == {"1", "2"}


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        ("preloaded:nothing", "worker_start: preloaded has no 'nothing'"),
        ("nowhere:at_all", "worker_start: there is no module 'nowhere'"),
        ("preloaded:asynchronous", "worker_start: 'preloaded:asynchronous' is not a function that is called without"),
        ("preloaded:broken", "no database for worker 1"),
    ],
)
def test_a_hook_that_fails_ends_the_start(launch: Serve, tmp_path: Path, hook: str, reason: str) -> None:
    server = begin(launch, tmp_path, workers=1, hcrs={"preload": False, "worker_start": hook})
    assert server.wait_for_exit() != 0
    assert reason in server.log


def test_workers_have_random_numbers_of_their_own(
    serve: Serve, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = begin(serve, tmp_path, workers=1)
    drawn = set()
    for number in range(3):
        drawn.add(connect_h1(server.listener).get("/random").body)
        os.kill(min(workers_of(server)), signal.SIGKILL)
        server.wait_for_log(r"Worker \d+ is ready$", number + 1)
    assert len(drawn) == 3


def test_threads_of_the_import_are_named_in_a_warning(serve: Serve, tmp_path: Path) -> None:
    server = begin(serve, tmp_path, env={"THREAD": "1"})
    server.wait_for_log(r"\[WARNING\] The app has threads after its import, which do not run in workers: refresher;")


def test_orphans_of_the_app_are_reaped_and_workers_are_waited_for(serve: Serve, tmp_path: Path) -> None:
    server = begin(serve, tmp_path, workers=1, hcrs={"worker_start": "children_of_app:leave"}, env={"PYTHONPATH": str(tmp_path)})
    wait_until(lambda: noted(tmp_path, "orphan"), "an orphan")
    orphan = int(noted(tmp_path, "orphan")[0].split()[1])
    wait_until(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan to be reaped", deadline=10)
    worker = min(workers_of(server))
    time.sleep(0)
    os.kill(worker, signal.SIGKILL)
    server.wait_for_log(rf"Worker {worker} was killed by SIGKILL; another is started")


@pytest.fixture(autouse=True)
def children_of_app(tmp_path: Path) -> None:
    """A module with a hook that leaves an orphan behind."""
    (tmp_path / "children_of_app.py").write_text(
        "import os, time\n"
        "def leave(worker):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        if os.fork() == 0:\n"
        "            with open(os.environ['NOTES'], 'a') as notes:\n"
        "                notes.write(f'orphan {os.getpid()}\\n')\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )


def test_max_requests_forks_from_the_same_template(
    serve: Serve, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    server = begin(serve, tmp_path, max_requests=5)
    client = connect_h2(server.listener)
    for _ in range(12):
        assert client.get().status == 200
    server.wait_for_log(r"Worker \d+ is ready and replaces worker \d+")
    assert len(noted(tmp_path, "imported")) == 1


def test_the_reloader_loads_changed_code_into_a_new_template(
    serve: Serve, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    (tmp_path / "shop").mkdir()
    code = tmp_path / "shop" / "versions.py"
    code.write_text(app_of_version("old"))
    server = serve(f"{code}:app", workers=1, use_reloader=True, hcrs={"preload": True, "lifespan": "off"})
    assert connect_h1(server.listener).get().body.startswith(b"old")
    code.write_text("raise RuntimeError('half saved')")
    server.wait_for_log("half saved")
    wait_until(lambda: connect_h1(server.listener).get().status == 500, "the page with the reason")
    code.write_text(app_of_version("newer"))
    wait_until(lambda: connect_h1(server.listener).get().body.startswith(b"newer"), "the new code")


def test_a_stop_during_the_import_ends_the_template(launch: Serve, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        f"import pathlib, time\npathlib.Path({str(tmp_path / 'begun')!r}).touch()\ntime.sleep(60)\n"
    )
    server = launch(f"{tmp_path / 'slow.py'}:app", workers=2, hcrs={"preload": True})
    wait_until((tmp_path / "begun").exists, "the import")
    assert server.stop_and_check() == 0


@pytest.mark.slow
def test_an_import_that_hangs_ends_the_start_after_startup_timeout(launch: Serve, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import threading\nthreading.Event().wait()\n")
    server = launch(f"{tmp_path / 'hangs.py'}:app", workers=2, startup_timeout=0.1, hcrs={"preload": True})
    assert server.wait_for_exit(30) != 0
    assert re.search(r"Worker \d+ is not ready within the startup timeout; killing it", server.log)
    assert "was killed by SIGKILL before it was ready" in server.log
    server.wait_for_workers_end()
