"""The edge of a program that calls ``serve``: the command ``hcrs`` as a child process, and the messages between them.

They share a socket that preserves message boundaries (``SOCK_SEQPACKET``) and is the child's standard input. When
either process ends, in whatever way, its end of the socket closes.
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

#: Bytes of the longest message of the edge, the text of a failure.
_MESSAGE_MAX = 128 << 10
#: Seconds that the edge may take to exit after it has closed its end of the socket, before it is killed.
END_TIMEOUT = 5.0
#: Seconds between two checks whether the edge has exited.
END_POLL = 0.005
#: Exit codes of an edge that was stopped, perhaps by a signal: after it has drained, or after it has cut off requests.
_STOPPED = (0, 3)
#: Settings that the edge of such a program does not get: the program decides them, or they concern worker processes.
_NOT_PASSED = (
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
    """The server cannot start; ``errno`` is the system's error number, if there is one."""


class EdgeLostError(ConnectionError):
    """The server's process has exited unexpectedly."""


class LinkMessage(NamedTuple):
    """The descriptors of a link, one of ``links`` in all."""

    links: int
    socket: int
    memory: int


class RunningMessage(NamedTuple):
    """The report that clients are served, with the URLs of the listeners."""

    addresses: list[str]


def command() -> str:
    """Returns the path of the command ``hcrs`` that was installed with this package."""
    package = Path(__file__).resolve().parent
    beside_python = Path(sys.executable or sys.prefix).parent
    # site-packages is in lib/pythonX.Y of a prefix that has a bin, or in a directory given to `pip install --target`.
    around_package = [folder / "bin" for folder in package.parents[:4]]
    for folder in [beside_python, Path(sys.prefix) / "bin", *around_package]:
        if (folder / "hcrs").is_file() and os.access(folder / "hcrs", os.X_OK):
            return str(folder / "hcrs")
    found = shutil.which("hcrs")
    if found is None:
        raise FileNotFoundError("the command hcrs is not installed: reinstall the package hcrs, which contains it")
    return found


@contextlib.contextmanager
def configuration(text: str) -> Iterator[int]:
    """Provides a descriptor from which a child process can read ``text``."""
    memory = os.memfd_create("hcrs.toml", os.MFD_CLOEXEC)
    try:
        with open(memory, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        yield memory
    finally:
        os.close(memory)


def listening_descriptors(config: Config) -> list[int]:
    """Returns the descriptors of ``fd://N`` addresses, which the edge has to inherit."""
    numbers = []
    for binds in (config.bind, config.insecure_bind, config.quic_bind):
        if isinstance(binds, (list, tuple)):  # the server rejects anything else
            numbers += [bind[5:] for bind in binds if isinstance(bind, str) and bind.startswith("fd://")]
    return [int(number) for number in numbers if number.isdecimal()]


class Edge:
    """The running child process."""

    def __init__(self, config: Config, name: str) -> None:
        """Starts the edge. ``name`` is the app's name in the list of processes."""
        self._is_stopping = False
        with contextlib.ExitStack() as undo:
            pipes = {}
            for log_name in ("accesslog", "errorlog"):
                if isinstance(logger := getattr(config, log_name), logging.Logger):
                    pipes[log_name] = LoggerPipe(logger)
                    undo.callback(pipes[log_name].discard)
            paths = {log_name: pipe.path for log_name, pipe in pipes.items()}
            text = config.to_toml(without=_NOT_PASSED, instead=paths)
            self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self.socket.close)
            # A process that the program forks must not keep the edge alive once the program has ended.
            _hcrs.withhold(self.socket.fileno())
            undo.callback(_hcrs.release, self.socket.fileno())
            self.socket.setblocking(False)
            inherited = [*listening_descriptors(config), *(pipe.descriptor for pipe in pipes.values())]
            with theirs, configuration(text) as memory:
                self._process = subprocess.Popen(
                    [command(), "--embedded", "--config", f"/dev/fd/{memory}", name],
                    stdin=theirs.fileno(),
                    pass_fds=[memory, *inherited],
                    start_new_session=True,  # the terminal's Ctrl-C is for the program, which then stops the edge
                )
            undo.pop_all()
        self._pipes = list(pipes.values())
        for pipe in self._pipes:
            pipe.start()

    @property
    def pid(self) -> int:
        """The process id of the edge."""
        return self._process.pid

    def receive(self) -> LinkMessage | RunningMessage | None:
        """Returns the next message, or ``None`` if the edge has ended.

        Raises ``BlockingIOError`` if there is no message yet, and ``EdgeStartError`` or ``ConfigError`` if the message
        reports that the edge cannot start.
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
        raise EdgeLostError(f"unknown message {head!r} from the edge: its version may differ from this package's")

    def _failure(self, number: int, text: str) -> Exception:
        if number:
            return EdgeStartError(number, text)
        code = self.wait()
        return ConfigError(text) if code == os.EX_CONFIG else EdgeStartError(text)

    def stop(self) -> None:
        """Requests the edge to drain and exit. A second request makes it exit at once."""
        self._is_stopping = True
        with contextlib.suppress(OSError):  # it has exited already
            self.socket.send(b"stop")

    def poll(self) -> int | None:
        """Returns the exit code, or minus the signal that has killed the edge; ``None`` while it is running."""
        return self._process.poll()

    def wait(self) -> int:
        """Blocks until the edge has exited, and kills it after ``END_TIMEOUT``. Returns what ``poll`` does."""
        try:
            return self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def check_end(self) -> None:
        """Waits for the exit of the edge. Raises ``EdgeLostError`` if nothing has asked it to."""
        if self.wait() in _STOPPED:
            return
        if not self._is_stopping:
            raise self.lost()
        log.error("The server exited abnormally: %s", self.lost())

    def close(self) -> None:
        """Kills the edge if it is still running, and waits until its logs are written."""
        if self.socket.fileno() >= 0:
            _hcrs.release(self.socket.fileno())
        self.socket.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            pipe.finish()

    def lost(self) -> EdgeLostError:
        """Returns the error of an edge that has exited unexpectedly."""
        code = self.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        return EdgeLostError(f"the edge, process {self.pid}, {how}")

