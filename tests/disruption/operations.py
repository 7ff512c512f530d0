"""What is done to a server under load, and when it is over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from end_to_end.certificates import Pki
from end_to_end.h1_client import H1Client
from end_to_end.server import Listening, is_alive
from end_to_end.steady_load import Load

#: How long an operation is waited for, in seconds.
PATIENCE_S = 30.0
#: How long a server has for code that cannot be loaded, in seconds.
BROKEN_S = 3.0
#: How long recycling is watched, in seconds, and for how long where the shortest age of a worker is a minute.
RECYCLING_S, LONG_RECYCLING_S = 15.0, 75.0


class Unfinished(Exception):
    """The operation was not over in time, or the server has ended."""


@dataclass
class Run:
    """A server under load."""

    #: The process that gets the signals.
    pid: int
    load: Load
    folder: Path
    pki: Pki
    #: Whether the shortest age of a worker is a minute.
    is_slow: bool = False
    _issued: int = field(default=0)
    #: Clients of requests that are never answered.
    _waiting: list[H1Client] = field(default_factory=list)

    def signal(self, number: int) -> None:
        """Sends a signal to the server."""
        os.kill(self.pid, number)

    def serving(self) -> set[int]:
        """The processes that have answered lately."""
        return {pid for pid in self.load.pids(time.monotonic() - 1.5) if is_alive(pid)}

    def wait(self, condition: Callable[[], object], what: str, patience: float = PATIENCE_S) -> None:
        """Waits until something is so."""
        end = time.monotonic() + patience
        while not condition():
            if not is_alive(self.pid):
                raise Unfinished("the server has ended")
            if time.monotonic() > end:
                raise Unfinished(f"{what}: not within {patience:g} s")
            time.sleep(0.02)

    def wait_for_new(self, before: set[int]) -> None:
        """Waits until other processes answer and those before are gone."""
        self.wait(lambda: not any(map(is_alive, before)), "the end of the old workers")
        self.wait(lambda: self.serving() - before, "answers of new workers")

    def renew(self) -> None:
        """Puts a new certificate in place of the old one."""
        self._issued += 1
        self.pki.issue("localhost", f"{self._issued}.pem")
        pem = (self.pki.folder / f"{self._issued}.pem").read_text()
        begin = pem.index("-----BEGIN PRIVATE KEY")
        for name, text in (("key.pem", pem[begin:]), ("cert.pem", pem[:begin])):
            (self.folder / "temporary").write_text(text)
            (self.folder / "temporary").rename(self.folder / name)

    def ask(self, target: str) -> None:
        """Makes a request that may not be answered."""
        client = H1Client(Listening("https", "127.0.0.1", self.load.port), tls=self.load.context("http/1.1"))
        self._waiting.append(client)
        client.request("GET", target)


def replace(run: Run) -> None:
    before = run.serving()
    run.renew()
    run.signal(signal.SIGHUP)
    run.wait_for_new(before)


def replace_broken(run: Run) -> None:
    app = run.folder / "steady.py"
    source = app.read_text()
    before = run.serving()
    app.write_text("def app(:\n")
    run.signal(signal.SIGHUP)
    time.sleep(BROKEN_S)
    app.write_text(source)
    if not is_alive(run.pid):
        raise Unfinished("the server has ended")
    run.signal(signal.SIGHUP)
    run.wait_for_new(before)


def renew(run: Run) -> None:
    before = run.serving()
    run.renew()
    time.sleep(BROKEN_S)
    assert run.serving() == before


def scale(run: Run) -> None:
    before = run.serving()
    run.signal(signal.SIGTTIN)
    run.wait(lambda: run.serving() - before, "answers of another worker")
    during = run.serving()
    run.signal(signal.SIGTTOU)
    run.wait(lambda: not all(map(is_alive, during)), "the end of a worker")


def succeed(run: Run) -> None:
    """The new server is ready once its workers answer. Gunicorn's old one is to be ended then; hcrs's ends itself."""
    before, old = run.serving(), run.pid
    run.signal(signal.SIGUSR2)
    run.wait(lambda: run.serving() - before or not is_alive(old), "answers of the new server")
    new = next(iter(run.serving() - before))
    run.pid = int(Path(f"/proc/{new}/stat").read_text().rpartition(")")[2].split()[1])
    if is_alive(old) and "gunicorn" in Path(f"/proc/{old}/cmdline").read_text():
        os.kill(old, signal.SIGTERM)
    run.wait(lambda: not is_alive(old), "the end of the old server", 60)


def recycle(run: Run) -> None:
    before, end = run.serving(), time.monotonic() + (LONG_RECYCLING_S if run.is_slow else RECYCLING_S)
    run.wait(lambda: time.monotonic() > end, "the time", LONG_RECYCLING_S + 1)
    if not {asked.pid for asked in run.load.asked} - before - {0}:
        raise Unfinished("no worker was recycled")


def edit(run: Run) -> None:
    """A change, one that breaks the app, and one that mends it."""
    app = run.folder / "steady.py"
    source = app.read_text()
    before = run.serving()
    app.write_text(source + "\n# changed\n")
    run.wait(lambda: run.serving() - before, "answers of changed code")
    before = run.serving()
    app.write_text("def app(:\n")
    time.sleep(BROKEN_S)
    app.write_text(source)
    run.wait(lambda: run.serving() - before, "answers of mended code")


def kill(run: Run) -> None:
    before = run.serving()
    os.kill(min(before), signal.SIGKILL)
    run.wait(lambda: run.serving() - before, "answers of another worker")


def crash(run: Run) -> None:
    before = run.serving()
    run.ask("/?do=segfault")
    run.wait(lambda: run.serving() - before, "answers of another worker")


def hang(run: Run) -> None:
    before = run.serving()
    run.ask("/?do=hang")
    run.wait(lambda: not all(map(is_alive, before)), "the end of the worker that hangs", 15)
    run.wait(lambda: run.serving() - before, "answers of another worker")


#: Each with the number of times that it is done in a run; None for the number that the run is given.
OPERATIONS: dict[str, tuple[Callable[[Run], None], int | None]] = {
    "HUP": (replace, None),
    "HUP, app broken": (replace_broken, None),
    "certificate": (renew, None),
    "TTIN, TTOU": (scale, None),
    "USR2": (succeed, None),
    "max_requests": (recycle, 1),
    "age": (recycle, 1),
    "RSS": (recycle, 1),
    "reload": (edit, None),
    "kill -9": (kill, None),
    "segfault": (crash, None),
    "hang": (hang, 1),
}
#: Those that may cost requests; the others may not.
LOSSES = ("reload", "kill -9", "segfault", "hang")
