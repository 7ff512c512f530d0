"""A terminal in which the command runs."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from end_to_end.server import DEADLINE, Listening, command


class Terminal:
    """A terminal in which ``hcrs`` runs, in its foreground as a shell would have it."""

    def __init__(self, folder: Path, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self._text = ""
        self.process = subprocess.Popen(
            [command(), *arguments],
            cwd=folder,
            env={**os.environ, "TERM": "dumb", "XDG_DATA_HOME": str(folder / "data"), **(env or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_lead_session,
        )
        self.theirs = theirs  # kept open, or what was written last is lost with the process

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until the terminal shows the pattern, and forgets what stands before its end."""
        end = time.monotonic() + DEADLINE
        while (found := re.search(pattern, self._text, re.MULTILINE)) is None:
            assert self._read(end - time.monotonic()), f"{pattern!r} is not in\n{self._text}"
        self._text = self._text[found.end() :]
        return found

    def wait_for_exit(self) -> int:
        """Waits until ``hcrs`` has ended, and returns its exit code."""
        end = time.monotonic() + DEADLINE
        while (code := self.process.poll()) is None:
            assert time.monotonic() < end, self._text
            self._read(0.02)  # a terminal that nobody reads is full at some time
        return code

    def _read(self, timeout: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, timeout))[0]:
            return False
        self._text += os.read(self._ours, 1 << 16).decode(errors="replace").replace("\r\n", "\n")
        return True

    def press(self, keys: str) -> None:
        """Types a text."""
        os.write(self._ours, keys.encode())

    def listener(self) -> Listening:
        """Waits until ``hcrs`` serves."""
        return Listening("http", "127.0.0.1", int(self.wait_for(r"Running on http://127.0.0.1:(\d+)")[1]))

    def close(self) -> None:
        """Ends what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


def _lead_session() -> None:
    os.setsid()
    os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first terminal that it opens becomes its own
