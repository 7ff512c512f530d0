"""Programs that serve an app of their own, run as users run them, and driven by lines of their input and output."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

Start = Callable[[str], "Program"]

#: How long anything that ought to happen may take, in seconds.
DEADLINE = 30.0

#: What every program begins with: an app that answers with its path, and a configuration with a free port.
PRELUDE = '''
import os, sys, time
import hcrs.edge
from hcrs.config import Config

if "HCRS_BIN" in os.environ:
    hcrs.edge.command = lambda: os.environ["HCRS_BIN"]

def say(*words):
    """Prints in one write, because several threads do."""
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            say(message["type"])
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        say("slow")
        try:
            await sleep(3600)
        finally:
            say("cut off")
    if scope["path"] == "/late":
        say("late")
        await sleep(0.3)
    if scope["path"] == "/busy":
        say("busy")
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            pass
    if scope["path"] == "/error":
        raise ZeroDivisionError("of the app")
    body = f"{scope['path']} {scope['http_version']} {scope['root_path']} {os.getpid()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

def listening(urls):
    say("listening", *urls)

config = Config()
config.bind = ["127.0.0.1:0"]
config.graceful_timeout = 2
'''

#: What follows for each library: ``serve``, and functions by which a test need not know the library.
LIBRARIES = {
    "asyncio": '''
import asyncio
from asyncio import sleep
from hcrs.asyncio import serve

async def line():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

def run(served=app, **options):
    asyncio.run(serve(served, config, on_listening=listening, **options))

def run_until_cancelled_by_a_line():
    async def main():
        task = asyncio.create_task(serve(app, config, on_listening=listening))
        await line()
        task.cancel()
        await asyncio.wait([task])
        say("cancelled", task.cancelled())
    asyncio.run(main())
''',
    "trio": '''
import trio
from trio import sleep
from hcrs.trio import serve

class Announcing:
    # In place of what a nursery gives to what it starts, for programs that have no nursery.
    def started(self, urls=None):
        listening(urls)

async def line():
    await trio.to_thread.run_sync(sys.stdin.readline)

def run(served=app, **options):
    trio.run(lambda: serve(served, config, task_status=Announcing(), **options))

def run_until_cancelled_by_a_line():
    async def serve_app(task_status):
        await serve(app, config, task_status=task_status)
    async def main():
        async with trio.open_nursery() as nursery:
            listening(await nursery.start(serve_app))
            await line()
            nursery.cancel_scope.cancel()
        say("cancelled", nursery.cancel_scope.cancelled_caught)
    trio.run(main)
''',
}


class Program:
    """A running program: what it prints, line by line, and how it ends."""

    def __init__(self, folder: Path, source: str, library: str) -> None:
        path = folder / "program.py"
        path.write_text(PRELUDE + LIBRARIES[library] + textwrap.dedent(source))
        self._errors = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, path],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    @property
    def errors(self) -> str:
        """Its standard error so far."""
        return Path(self._errors.name).read_text()

    def line(self) -> str:
        """The next line that it prints."""
        try:
            return self._lines.get(timeout=DEADLINE)
        except queue.Empty:
            raise TimeoutError(f"the program prints nothing\n{self.errors}") from None

    def listening(self) -> list[str]:
        """The URLs that it prints next."""
        word, *urls = self.line().split()
        assert word == "listening", word
        return urls

    def say(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def edges(self) -> list[int]:
        """The processes of its edges."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def end(self, code: int = 0) -> list[str]:
        """Waits for its end and returns the lines that are left."""
        assert self.process.wait(DEADLINE) == code, self.errors
        lines = []
        while True:
            try:
                lines.append(self._lines.get(timeout=0.2))
            except queue.Empty:
                return lines

    def destroy(self) -> None:
        """Kills what is left of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            if pipe is not None:
                pipe.close()


class Asking:
    """A request that is made in the background."""

    def __init__(self, url: str) -> None:
        self._answers: list[httpx.Response] = []
        self._thread = threading.Thread(target=self._ask, args=(url,))
        self._thread.start()

    def _ask(self, url: str) -> None:
        with contextlib.suppress(httpx.TransportError):
            self._answers.append(get(url))

    def answer(self) -> httpx.Response | None:
        """Waits for the answer. There is none if the connection was lost."""
        self._thread.join()
        return self._answers[0] if self._answers else None


def get(url: str, **options: object) -> httpx.Response:
    """Makes one request on a connection of its own."""
    with httpx.Client(timeout=DEADLINE, **options) as client:  # type: ignore[arg-type]
        return client.get(url)


@pytest.fixture
def start_on(tmp_path: Path) -> Iterator[Callable[[str, str], Program]]:
    """Starts a program for a library, whose source follows the preludes. If it still runs after the test it is killed."""
    programs: list[Program] = []

    def started(library: str, source: str) -> Program:
        folder = tmp_path / f"program-{len(programs)}"
        folder.mkdir()
        programs.append(Program(folder, source, library))
        return programs[-1]

    yield started
    for program in programs:
        program.destroy()


@pytest.fixture
def start(start_on: Callable[[str, str], Program]) -> Start:
    """Starts a program on asyncio."""
    return lambda source: start_on("asyncio", source)


@pytest.fixture
def start_on_trio(start_on: Callable[[str, str], Program]) -> Start:
    """Starts a program on trio."""
    pytest.importorskip("trio")
    return lambda source: start_on("trio", source)


@pytest.fixture(params=list(LIBRARIES))
def start_on_each(request: pytest.FixtureRequest, start_on: Callable[[str, str], Program]) -> Start:
    """Starts a program on each library in turn."""
    pytest.importorskip(request.param)
    return lambda source: start_on(request.param, source)
