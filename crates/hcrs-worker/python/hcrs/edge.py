"""The edge beside a calling program: the command ``hcrs`` as a child process, and what the two say to each other.

They share a socket that keeps messages apart (``SOCK_SEQPACKET``), which is the child's standard input. The edge's end of
it closes when the edge ends, and the program's when the program does, however that happens.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hcrs import _hcrs
from hcrs.config import Config, ConfigError
from hcrs.logger_pipe import LoggerPipe

log = logging.getLogger("hcrs.error")

#: The longest message that the edge sends, in bytes: a failure's text.
_MESSAGE_MAX = 128 << 10
#: How long the edge may take to end once its end of the socket is closed, in seconds; it is killed then.
END_TIMEOUT = 5.0
#: How often that end is looked for, in seconds.
END_POLL = 0.005
#: Exit codes of an edge that was told to end, perhaps by a signal from outside: drained, or cut off.
_TOLD_TO_END = (0, 3)
#: What a program that calls ``serve`` decides by itself, or has no process for.
_OF_WORKERS = (
    "application_path",
    "daemon",
    "debug",
    "logconfig",
    "logconfig_dict",
    "max_requests",
    "max_requests_jitter",
    "pid_path",
    "use_reloader",
    "worker_class",
    "workers",
)


class EdgeStartError(OSError):
    """The server cannot start; ``errno`` is the system's number of the error, if there is one."""


class EdgeLostError(ConnectionError):
    """The server has ended although nobody has asked it to."""


class LinkMessage(NamedTuple):
    """One link, of ``links`` that come."""

    links: int
    socket: int
    memory: int


class RunningMessage(NamedTuple):
    """Clients are served."""

    addresses: list[str]


def command() -> str:
    """The path of the command ``hcrs`` that was installed with this package."""
    package = Path(__file__).resolve().parent
    beside_python = Path(sys.executable or sys.prefix).parent
    # site-packages stand in lib/pythonX.Y (or below a folder given to `pip install --target`) of what has a bin.
    around_package = [folder / "bin" for folder in package.parents[:4]]
    for folder in [beside_python, Path(sys.prefix) / "bin", *around_package]:
        if (folder / "hcrs").is_file() and os.access(folder / "hcrs", os.X_OK):
            return str(folder / "hcrs")
    found = shutil.which("hcrs")
    if found is None:
        raise FileNotFoundError("the command hcrs is not installed: it belongs to the package hcrs, beside Python")
    return found


@contextlib.contextmanager
def configuration(text: str) -> Iterator[int]:
    """A descriptor that a child process can read ``text`` from."""
    memory = os.memfd_create("hcrs.toml", os.MFD_CLOEXEC)
    try:
        with open(memory, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        yield memory
    finally:
        os.close(memory)


def listening_descriptors(config: Config) -> list[int]:
    """The descriptors that ``fd://N`` names, which the edge has to inherit."""
    numbers = []
    for binds in (config.bind, config.insecure_bind, config.quic_bind):
        if isinstance(binds, (list, tuple)):  # else the server refuses it
            numbers += [bind[5:] for bind in binds if isinstance(bind, str) and bind.startswith("fd://")]
    return [int(number) for number in numbers if number.isdecimal()]


class Edge:
    """A running edge."""

    def __init__(self, config: Config, name: str) -> None:
        """Starts it. ``name`` is what the list of processes shows as its app."""
        self._is_told = False
        with contextlib.ExitStack() as undo:
            pipes = {}
            for log_name in ("accesslog", "errorlog"):
                if isinstance(logger := getattr(config, log_name), logging.Logger):
                    pipes[log_name] = LoggerPipe(logger)
                    undo.callback(pipes[log_name].discard)
            paths = {log_name: pipe.path for log_name, pipe in pipes.items()}
            text = config.to_toml(without=_OF_WORKERS, instead=paths)
            self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self.socket.close)
            # A process that the program forks must not keep the edge alive that has lost the program.
            _hcrs.withhold(self.socket.fileno())
            undo.callback(_hcrs.release, self.socket.fileno())
            self.socket.setblocking(False)
            inherited = [*listening_descriptors(config), *(pipe.descriptor for pipe in pipes.values())]
            with theirs, configuration(text) as memory:
                self._process = subprocess.Popen(
                    [command(), "--caller", "--config", f"/dev/fd/{memory}", name],
                    stdin=theirs.fileno(),
                    pass_fds=[memory, *inherited],
                    start_new_session=True,  # the terminal's Ctrl-C is for the program, which then says stop
                )
            undo.pop_all()
        self._pipes = list(pipes.values())
        for pipe in self._pipes:
            pipe.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def receive(self) -> LinkMessage | RunningMessage | None:
        """The next message; ``None`` if the edge has ended.

        Raises ``BlockingIOError`` if there is none yet, and ``EdgeStartError`` or ``ConfigError`` if that is the message.
        """
        try:
            message, descriptors, _, _ = socket.recv_fds(self.socket, _MESSAGE_MAX, 2, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return None
        if not message:
            return None
        head, _, text = message.decode(errors="replace").partition("\n")
        word, _, number = head.partition(" ")
        if word == "link" and len(descriptors) == 2:
            return LinkMessage(int(number), *descriptors)
        if word == "running":
            return RunningMessage(text.splitlines())
        if word == "failed":
            raise self._failure(int(number), text)
        raise EdgeLostError(f"the edge has said {head!r}, which this package does not know: are they of one version?")

    def _failure(self, number: int, text: str) -> Exception:
        if number:
            return EdgeStartError(number, text)
        code = self.wait()
        return ConfigError(text) if code == os.EX_CONFIG else EdgeStartError(text)

    def stop(self) -> None:
        """Asks the edge to finish what is under way and end; asked again, it ends at once."""
        self._is_told = True
        with contextlib.suppress(OSError):  # it has ended already
            self.socket.send(b"stop")

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that has killed it; ``None`` while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Blocks until it has ended, which it is about to do; gives what ``poll`` does."""
        try:
            return self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def check_end(self) -> None:
        """Looks at how it has ended, which it is about to do. Raises ``EdgeLostError`` if that was by itself."""
        if self.wait() in _TOLD_TO_END:
            return
        if not self._is_told:
            raise self.lost()
        log.error("The server has not ended well: %s", self.lost())

    def close(self) -> None:
        """Ends it at once if it still runs."""
        if self.socket.fileno() >= 0:
            _hcrs.release(self.socket.fileno())
        self.socket.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            pipe.finish()

    def lost(self) -> EdgeLostError:
        """The error that it has ended by itself."""
        code = self.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        return EdgeLostError(f"the edge, process {self.pid}, {how}")

