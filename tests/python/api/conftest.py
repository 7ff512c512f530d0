"""Programs that serve an app of their own, run as users run them, and talked with by lines."""

from __future__ import annotations

import queue
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: How long anything that ought to happen may take, in seconds.
DEADLINE = 30.0

#: What every program begins with: an app that answers with its path, and a configuration with a free port.
PRELUDE = '''
import asyncio, os, sys
from hcrs.asyncio import serve
from hcrs.config import Config

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
        await asyncio.sleep(3600)
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


class Program:
    """A running program: what it prints, line by line, and how it ends."""

    def __init__(self, folder: Path, source: str) -> None:
        path = folder / "program.py"
        path.write_text(PRELUDE + textwrap.dedent(source))
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
        """What it has written to standard error."""
        return Path(self._errors.name).read_text()

    def line(self) -> str:
        """The next line that it prints."""
        try:
            return self._lines.get(timeout=DEADLINE)
        except queue.Empty:
            raise TimeoutError(f"the program says nothing\n{self.errors}") from None

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
        """Waits for its end; gives the lines that are left."""
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


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Starts a program, whose source follows the prelude; it is killed after the test if it still runs."""
    programs: list[Program] = []

    def started(source: str) -> Program:
        folder = tmp_path / f"program-{len(programs)}"
        folder.mkdir()
        programs.append(Program(folder, source))
        return programs[-1]

    yield started
    for program in programs:
        program.destroy()
