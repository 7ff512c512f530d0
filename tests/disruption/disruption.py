#!/usr/bin/env python3
"""Measures what operations cost the clients of hcrs and of other servers; README.md says how.

`make disruption` runs it and writes the table into results/.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "python"))

from end_to_end.certificates import Pki  # noqa: E402
from end_to_end.server import APPS, is_alive  # noqa: E402
from end_to_end.steady_load import WS_H1, WS_H2, Load  # noqa: E402
from operations import LOSSES, OPERATIONS, Run, Unfinished  # noqa: E402
from peers import PEERS, WORKERS, Peer, Place  # noqa: E402

SOURCES = ("crates", "Cargo.toml", "Cargo.lock", "pyproject.toml")
PACKAGES = ("granian", "uvicorn", "uvicorn-worker", "hypercorn", "gunicorn", "h2", "uvloop")
#: The settings of these would change what is measured.
FOREIGN = ("GRANIAN_", "UVICORN_", "HYPERCORN_", "GUNICORN_", "HCRS_", "WEB_CONCURRENCY", "PORT", "VIRTUAL_ENV")
START_S, STOP_S = 30, 15
#: How long clients wait for an answer, in seconds.
PATIENCE_S = 10.0
#: Bytes that a request keeps when workers are recycled by their memory.
KEPT_BYTES = 1 << 18


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--hcrs", type=Path, default=CHECKOUT / ".venv/bin/hcrs", help="the command (default: of .venv)")
    add("--servers", default=",".join(PEERS), help="those that are measured (default: all)")
    add("--operations", default="", help="those that are done, separated by semicolons (default: all that a server has)")
    add("--times", type=int, default=3, help="how often each operation is done under one load (default 3)")
    add("--import-seconds", type=float, default=1.0, help="how long the app takes to load (default 1)")
    add("--interval", type=float, default=0.05, help="from one request of a client to the next, in seconds (default 0.05)")
    add("--commit", default=commit(), help="of the command (default: the checkout's)")
    add("--python", default=sys.executable, help="makes the venv of the peers")
    add("--name", default="", help="what the table is called, such as `slow-import`")
    add("--out", type=Path, default=HERE / "results", help="folder for the table (default results/)")
    told = parser.parse_args()
    told.hcrs = told.hcrs.absolute()
    return told


def venv(python: str) -> Path:
    """The venv with the peers, made anew when the requirements have changed."""
    folder = HERE / ".venv"
    wanted = [HERE / "requirements.txt", HERE.parent / "bench" / "requirements.txt"]
    text, stamp = "".join(file.read_text() for file in wanted), folder / "requirements.stamp"
    if not stamp.exists() or stamp.read_text() != text:
        print(f"making {folder}", flush=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted[0]], check=True)
        stamp.write_text(text)
    return folder


@dataclass(slots=True)
class Measured:
    """One operation under one load."""

    server: str
    operation: str
    times: int
    load: Load
    #: Why the operation was not over in time; empty if it was.
    note: str
    #: The numbers of the requests that the app has seen.
    begun: set[int]

    @property
    def lost(self) -> int:
        """Requests and WebSockets that were not answered."""
        return len(self.load.failures)

    @property
    def unseen(self) -> int:
        """Those among them that the app has never seen."""
        return sum(asked.number not in self.begun for asked in self.load.failures)

    @property
    def is_wrong(self) -> bool:
        """Whether hcrs has lost what it should not have lost."""
        if self.server != "hcrs":
            return False
        if self.note or self.operation not in LOSSES:
            return bool(self.note or self.lost)
        # A worker that is killed may have claimed a request whose app it had no time to call.
        return self.operation != "reload" and self.unseen > self.times


def members(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(entry.name))
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(peer: Peer, place: Place, operation: str, options: argparse.Namespace) -> Iterator[int]:
    """Runs a server in a session of its own. Yields its process id."""
    own = place.hcrs.parent if peer.command is PEERS["hcrs"].command else place.bin
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
        "STEADY_IMPORT": str(options.import_seconds),
        "STEADY_BEGUN": str(place.begun),
        "STEADY_KEPT": str(KEPT_BYTES if operation == "RSS" else 0),
        "PYTHONPATH": str(place.folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{own}:{os.environ['PATH']}",
    }
    with (place.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            peer.command(place, operation),
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", place.port), 1):
                break
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError(f"it did not start: {(place.folder / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        time.sleep(2 * options.import_seconds + 0.5)  # some accept before their workers are ready
        yield process.pid
    finally:
        everything = members(process.pid)
        for pid in {process.pid, *(pid for pid in everything if not is_alive(process.pid))}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_S
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        for pid in members(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def measure(name: str, operation: str, place: Place, pki: Pki, options: argparse.Namespace) -> Measured:
    """Does an operation some times under one load."""
    peer = PEERS[name]
    do, fixed = OPERATIONS[operation]
    times = fixed or options.times
    note, done = "", 0
    place.begun.mkdir()
    load = Load(place.port, mix=peer.mix, interval=options.interval, patience=PATIENCE_S)
    run = Run(0, load, place.folder, pki, is_slow=name == "granian" and operation == "age")
    run.renew()
    with started(peer, place, operation, options) as pid:
        run.pid = pid
        with load.running():
            load.wait_for_more(8)
            try:
                for _ in range(times):
                    done += 1
                    do(run)
                    time.sleep(1)
            except Unfinished as reason:
                note = str(reason)
                print((place.folder / "log").read_text(errors="replace")[-1500:], file=sys.stderr)
    begun = {int(line) for file in place.begun.iterdir() for line in file.read_text().split()}
    return Measured(name, operation, done, load, note, begun)


def words(measured: Measured) -> list[str]:
    """The row of a measurement."""
    load = measured.load
    outcomes = Counter(asked.outcome for asked in load.failures)
    kinds = Counter("WebSocket" if asked.kind in (WS_H1, WS_H2) else "h1" if asked.kind != "h2" else "h2" for asked in load.failures)
    begun = max(asked.at for asked in load.asked)
    gap = max(load.longest_gap(), begun - max(load.completions, default=begun))
    return [
        measured.server,
        measured.operation,
        str(measured.times),
        str(len(load.asked)),
        str(measured.lost) if not measured.lost else f"**{measured.lost}**",
        ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "–",
        ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()) or "–",
        str(measured.unseen),
        str(len(load.moved)),
        str(load.reopened),
        f"{gap:.2f}",
        f"{load.slowest():.2f}",
        measured.note or "–",
    ]


HEADS = [
    "server", "operation", "times", "requests", "failed", "of clients", "how", "never seen by the app", "asked to come again", "connections opened anew",
    "longest gap s", "slowest s", "note",
]  # fmt: skip


def document(options: argparse.Namespace, cells: list[Measured]) -> str:
    """The page."""
    version = subprocess.run([options.hcrs, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    listing = f"import importlib.metadata as m, json; print(json.dumps({{p: m.version(p) for p in {PACKAGES}}}))"
    python = HERE / ".venv/bin/python"
    others = any(cell.server != "hcrs" for cell in cells)
    packages = json.loads(subprocess.run([python, "-c", listing], capture_output=True, text=True, check=True).stdout) if others else {}
    lines = [
        f"# What operations cost clients, {today()}{options.name and ', ' + options.name}",
        "",
        f"- hcrs: {version}, commit {options.commit}",
        *([f"- others: {', '.join(f'{package} {number}' for package, number in packages.items())}"] if others else []),
        f"- machine: {os.cpu_count()} CPUs, Linux {'.'.join(platform.release().split('.')[:2])}, Python {platform.python_version()}",
        f"- {WORKERS} workers; the app takes {options.import_seconds:g} s to load, and a request 10 ms",
        f"- a request of each client every {options.interval * 1000:g} ms",
        "",
        "What the columns mean is in [../README.md](../README.md).",
        "",
        *("| " + " | ".join(line) + " |" for line in [HEADS, ["---"] * len(HEADS), *map(words, cells)]),
    ]
    return "\n".join(lines) + "\n"


def today() -> str:
    return time.strftime("%Y-%m-%d")


def commit() -> str:
    """The checkout's commit; called dirty if hcrs's sources are not as committed."""
    git = ["git", "-C", str(CHECKOUT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    dirty = subprocess.run([*git, "status", "--porcelain", "--", *SOURCES], capture_output=True, text=True, check=True)
    return head.strip() + ("-dirty" if dirty.stdout else "")


def end(*_: object) -> None:
    """Ends the run by an exception, so that it ends the server."""
    sys.exit(1)


def main() -> int:
    options = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that runs it in the background has SIGINT ignored
        signal.signal(number, end)
    names = options.servers.split(",")
    chosen = options.operations.split(";") if options.operations else list(OPERATIONS)
    bin_ = venv(options.python) / "bin" if names != ["hcrs"] else Path(sys.executable).parent
    cells: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="hcrs-disruption-") as scratch:
        pki_folder = Path(scratch, "pki")
        pki_folder.mkdir()
        pki = Pki(pki_folder)
        for operation in OPERATIONS:
            for name in names:
                if operation not in chosen or operation not in PEERS[name].operations:
                    continue
                folder = Path(scratch, f"{len(cells)}")
                folder.mkdir()
                shutil.copy(APPS / "steady.py", folder)
                place = Place(bin_, options.hcrs, folder, free_port())
                cells.append(measure(name, operation, place, pki, options))
                print(" | ".join(words(cells[-1])), flush=True)
    page = document(options, cells)
    print(page)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{'-'.join(filter(None, [today(), options.commit, options.name]))}.md").write_text(page)
    wrong = [cell for cell in cells if cell.is_wrong]
    for cell in wrong:
        print(f"hcrs, {cell.operation}: {cell.note or cell.load.failures[:5]}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
