"""Starts the command under test, reads its log, and stops it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

#: How long anything that ought to happen may take, in seconds. Generous: it is only waited for when it fails.
DEADLINE = 20.0

#: How long a server may take to start, in seconds: some apps import a lot, on a machine that is busy.
START_DEADLINE = 60.0

APPS = Path(__file__).parent / "apps"

_QUIC = re.compile(r"Running on https://(\S+):(\d+) \(QUIC\) \(CTRL \+ C to quit\)")
_RUNNING = re.compile(r"Running on (https?)://(\S+) \(CTRL \+ C to quit\)")


def command() -> str:
    """The path of the ``hcrs`` under test: the one that ``HCRS_BIN`` names, otherwise the one beside the Python that runs
    the tests."""
    named = os.environ.get("HCRS_BIN")
    path = Path(named).absolute() if named else Path(sys.executable).parent / "hcrs"
    if not path.is_file():
        remedy = "HCRS_BIN has to name a command" if named else "run `make build`, or `make dev`"
        raise FileNotFoundError(f"{path} does not exist: {remedy}")
    return str(path)


def environment() -> dict[str, str]:
    """The environment of a server: no virtual environment is active, unless the command of ``HCRS_BIN`` needs it."""
    return {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV" or "HCRS_BIN" in os.environ}


def wait_until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Polls something that sends no event, such as ``/proc``, until it is true. Returns its value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline:g} s in vain: {what}")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not only waiting to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


class Listening(NamedTuple):
    """A listener as the command has announced it."""

    scheme: str
    host: str
    port: int
    path: str | None = None
    #: Whether it is for HTTP/3.
    quic: bool = False

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """As a client writes it into ``host``."""
        return f"{self.host}:{self.port}"


class Server:
    """A running ``hcrs``."""

    def __init__(
        self,
        folder: Path,
        app: str | None,
        *,
        tls: Mapping[str, str] | None = None,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        config_file: Path | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        started_by: Sequence[str] = (),
        **config: Any,
    ) -> None:
        """``app`` is ``FILE:ATTRIBUTE`` in the folder of apps; ``config`` holds keys of the TOML file. The words of
        ``started_by`` stand before the command."""
        self.folder = folder
        keys: dict[str, Any] = {"bind": "127.0.0.1:0", **(tls or {}), **config}
        if app is not None:
            keys["application_path"] = str(APPS / app) if not app.startswith(("asgi:", "wsgi:")) else (
                app[:5] + str(APPS / app[5:])
            )
        self.listeners: list[Listening] = []
        self._expected = len(_as_list(keys["bind"])) + (
            len(_as_list(keys.get("insecure_bind", []))) if "certfile" in keys or "acme" in keys.get("hcrs", {}) else 0
        )
        if config_file is None:
            config_file = folder / "hcrs.toml"
            config_file.write_text(to_toml(keys))
        self.arguments = self._command_line(["--config", str(config_file), *flags], keys.get("application_path"))
        self._stdout = (folder / "stdout").open("wb")
        self._process = subprocess.Popen(
            [*started_by, *self.arguments],
            cwd=cwd or folder,
            env={**environment(), **(env or {})},
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        self.pid = self._process.pid
        self._lines: list[str] = []
        self._said = threading.Condition()
        self._silent = False
        self._reader = threading.Thread(target=self._read, name="stderr", daemon=True)
        self._reader.start()
        self._workers_seen: set[int] = set()

    def _command_line(self, flags: list[str], app: str | None) -> list[str]:
        """The command; the app stands in the file."""
        return [command(), *flags]

    # ---- its log ----

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._said:
                self._lines.append(line)
                self._said.notify_all()
        with self._said:
            self._silent = True
            self._said.notify_all()

    @property
    def log(self) -> str:
        """Standard error so far."""
        with self._said:
            return "".join(self._lines)

    @property
    def output(self) -> str:
        """Standard output so far."""
        return (self.folder / "stdout").read_text()

    def wait_for_log(self, pattern: str, count: int = 1, deadline: float = DEADLINE) -> list[re.Match[str]]:
        """Waits until standard error holds the pattern at least ``count`` times. Returns all matches."""
        compiled = re.compile(pattern, re.MULTILINE)
        with self._said:
            end = time.monotonic() + deadline
            while True:
                found = list(compiled.finditer("".join(self._lines)))
                if len(found) >= count:
                    return found
                if self._silent or not self._said.wait(max(0.0, end - time.monotonic())):
                    raise AssertionError(f"{pattern!r} is not in the log:\n{''.join(self._lines)}")

    def wait_until_running(self) -> Server:
        """Waits until every listener is announced."""
        for scheme, address in self._announced(self._expected):
            if address.startswith("unix:"):
                self.listeners.append(Listening(scheme, "localhost", 0, address[5:]))
            else:
                host, _, port = address.rpartition(":")
                self.listeners.append(Listening(scheme, host, int(port)))
        self.worker_pids()
        return self

    def _announced(self, count: int) -> list[tuple[str, str]]:
        """The schemes and addresses of the listeners that it has announced."""
        found = self.wait_for_log(_RUNNING.pattern, count, START_DEADLINE)
        return [(match[1], match[2]) for match in found]

    @property
    def listener(self) -> Listening:
        """The first listener."""
        return self.listeners[0]

    @property
    def quic(self) -> Listening:
        """The first address for HTTP/3."""
        match = self.wait_for_log(_QUIC.pattern)[0]
        return Listening("https", match[1], int(match[2]), quic=True)

    def listener_speaking(self, version: str) -> Listening:
        """The first listener for ``h3``, or for ``h1`` and ``h2``."""
        return self.quic if version == "h3" else self.listener

    def listener_for(self, protocol: str) -> Listening:
        """The listener for a value of the fixture ``protocol``, where the first has TLS and the second has not."""
        return self.quic if protocol == "h3" else self.listeners[1 if protocol in ("h1", "h2c") else 0]

    # ---- its processes ----

    def worker_pids(self) -> list[int]:
        """The living child processes of the edge."""
        children: list[int] = []
        try:
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                children += map(int, (thread / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            return []
        living = sorted(pid for pid in children if is_alive(pid))
        self._workers_seen.update(living)
        return living

    def memory(self, pid: int | None = None) -> tuple[int, int]:
        """Resident bytes of the edge, or of another process, now and at most."""
        status = Path(f"/proc/{pid or self.pid}/status").read_text()
        sizes = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
        now, most = int(sizes["VmRSS"]), int(sizes["VmHWM"])
        return now * 1024, most * 1024

    def shared_memory(self) -> int:
        """Resident bytes of the edge that it shares with workers."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"^RssShmem:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024

    def signal(self, number: int) -> None:
        """Sends a signal to the edge."""
        self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether the edge has not ended."""
        return self._process.poll() is None

    def wait_for_exit(self, deadline: float = DEADLINE) -> int:
        """Waits for the edge's end and returns its exit code. The log is complete then."""
        code = self._process.wait(deadline)
        self._reader.join(deadline)
        self._stdout.close()
        return code

    def stop(self, deadline: float = DEADLINE) -> int:
        """Sends SIGTERM and returns the exit code."""
        if self.is_running:
            self.worker_pids()
            self.signal(signal.SIGTERM)
        return self.wait_for_exit(deadline)

    def assert_nothing_left(self) -> None:
        """Asserts that no edge thread has found streams, slots, credits or bytes left over at the end of its drain."""
        left = [line for line in self.log.splitlines() if "accounting:" in line]
        assert not left, "\n".join(left)

    def wait_for_workers_end(self, deadline: float = DEADLINE) -> None:
        """Waits until none of the workers that were seen is alive."""
        wait_until(
            lambda: not any(map(is_alive, self._workers_seen)),
            f"the workers {sorted(self._workers_seen)} to end",
            deadline,
        )

    def stop_and_check(self, number: int | None = None) -> int:
        """Stops it by SIGTERM or another signal, asserts that it leaves nothing behind, and returns the exit code."""
        self.worker_pids()
        self.signal(number or signal.SIGTERM)
        code = self.wait_for_exit()
        self.wait_for_workers_end()
        self.assert_nothing_left()
        return code

    def assert_ends_well(self) -> None:
        """Stops it, and asserts that it exits with 0 and leaves nothing behind."""
        assert self.stop_and_check() == 0, f"the exit code after SIGTERM\n{self.log}"

    @contextmanager
    def serving(self) -> Iterator[Server]:
        """Waits until it runs; afterwards it has to end well. It is killed in any case."""
        try:
            yield self.wait_until_running()
            self.assert_ends_well()
        finally:
            self.destroy()

    def destroy(self) -> None:
        """Kills it, and whatever it has left behind."""
        if self.is_running:
            self.worker_pids()
            self._process.kill()
            self.wait_for_exit()
        for pid in self._workers_seen:
            if is_alive(pid) and b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def with_quic(certificate: Mapping[str, str]) -> dict[str, Any]:
    """Keys of a server whose first listener has no TLS, and that has one for HTTP/3 beside it."""
    return {**certificate, "bind": [], "insecure_bind": "127.0.0.1:0", "quic_bind": "127.0.0.1:0"}


def to_toml(keys: Mapping[str, Any]) -> str:
    """The keys as TOML; tables come after all plain keys."""
    lines = [f"{key} = {literal(value)}" for key, value in keys.items() if not isinstance(value, Mapping)]
    for name, table in keys.items():
        if isinstance(table, Mapping):
            lines += [f"[{name}]", *(f"{json.dumps(key)} = {literal(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def literal(value: Any) -> str:
    """A value as TOML. JSON's strings and numbers are TOML's too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {literal(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


def find_tool(name: str, package: str) -> str | None:
    """The path of a program that a test wants, if there is one."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI"):
        raise FileNotFoundError(f"{name} is missing, and CI must have it: apt-get install {package}")
    return path


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
