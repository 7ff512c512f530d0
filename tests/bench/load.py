"""h2load, or over HTTP/3 h3_load: one run of it, and what its per-request log says.

h2load 1.52 prints min, max, mean and deviation only, so latencies come from its log: a line
for each request with its start (µs since the epoch), its status and how long it took (µs).
h3_load writes the same log.
h2load reads no status of an HTTP/1.1 response that has no reason phrase, as Hypercorn's have none,
and logs 0. Such answers count as 200 if the bytes of all bodies are what they are to be.
"""

import os
import re
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# How long a run must take before its rate is believed, and how often it is made longer.
BELIEVED_S = 0.4
CALIBRATIONS = 8


@dataclass(frozen=True)
class Shape:
    """How h2load talks: protocol, connections x streams, and what it sends."""

    h1: bool = False
    h3: bool = False
    connections: int = 1
    streams: int = 1
    upload: Path | None = None
    paths: tuple[str, ...] = ("/",)
    fields: tuple[str, ...] = ()  # of the requests, as "name: value"
    per_second: int | None = None  # an open loop at this rate; None: as fast as answers come

    def arguments(self, base: str, scratch: Path) -> list[str]:
        told = ["-c", str(self.connections), "-m", str(self.streams), "-t", "1"]
        if self.h1:
            told.append("--h1")
        if self.upload:
            told += ["-d", str(self.upload)]
        for line in self.fields:
            told += ["-H", line]
        if self.per_second:
            told += ["--rps", str(self.per_second)]
        if len(self.paths) == 1:
            return [*told, base + self.paths[0]]
        listing = scratch / "paths"
        listing.write_text("".join(f"{base}{path}\n" for path in self.paths))
        return [*told, "-i", str(listing)]


@dataclass(frozen=True)
class Outcome:
    """The outcome of `asked` requests."""

    asked: int
    seconds: float  # from the first request sent to the last response's end
    latencies: dict[int, list[int]]  # by status: µs, ascending
    client_cpu_s: float

    @property
    def succeeded(self) -> int:
        return sum(len(taken) for status, taken in self.latencies.items() if status // 100 == 2)

    @property
    def failed(self) -> int:
        """Requests without a 2xx, those that h2load could not even send among them."""
        return self.asked - self.succeeded

    @property
    def rate(self) -> float:
        return self.succeeded / self.seconds if self.seconds else 0.0

    def good(self) -> list[int]:
        """The latencies of all 2xx, µs, ascending."""
        pairs = self.latencies.items()
        return sorted(us for status, taken in pairs if status // 100 == 2 for us in taken)


@dataclass(frozen=True)
class Loader:
    """h2load and h3_load as this run uses them."""

    command: str
    h3_command: Path | None  # where a scenario wants it
    scratch: Path
    cpus: frozenset[int] | None
    limit_s: float  # when a run is cut

    def run(self, base: str, shape: Shape, count: int, body: int) -> Outcome:
        """Sends `count` requests, each to be answered with `body` bytes."""
        report = self.scratch / "h2load.out"
        log = self.scratch / "h2load.log"
        log.unlink(missing_ok=True)
        told = shape.arguments(base, self.scratch)
        before = children_cpu_s()
        with report.open("wb") as out:
            process = subprocess.Popen(
                [self.h3_command if shape.h3 and self.h3_command else self.command, "-n", str(count), "-N", "20", f"--log-file={log}", *told],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            if self.cpus:
                os.sched_setaffinity(process.pid, self.cpus)
            process.wait(self.limit_s)
        except subprocess.TimeoutExpired:
            pass  # what is missing in the log counts as failed
        finally:
            process.kill()
            process.wait()
        latencies, seconds = _read(log)
        if shape.h1 and 0 in latencies and _body_bytes(report) == count * body:
            latencies[200] = sorted(latencies.pop(0) + latencies.get(200, []))
        return Outcome(count, seconds, latencies, children_cpu_s() - before)

    def calibrate(self, base: str, shape: Shape, body: int) -> float:
        """Warms the server up and says how many requests/s it does, or 0 if it fails them."""
        count = shape.connections * shape.streams
        for _ in range(CALIBRATIONS):
            begun = time.monotonic()
            outcome = self.run(base, shape, count, body)
            if outcome.failed or time.monotonic() - begun > self.limit_s / 2:
                break
            if outcome.seconds >= BELIEVED_S:
                break
            # At most eight times as many, so that one odd small run does no harm.
            growth = 1.5 * BELIEVED_S / max(outcome.seconds, 1e-6)
            count = int(count * min(8.0, max(1.5, growth)))
        return outcome.rate


def percentile(ascending: list[int], share: float) -> float:
    """The smallest value that `share` of them do not exceed; 0 for none."""
    if not ascending:
        return 0.0
    return ascending[max(0, -(-round(share * 10_000) * len(ascending) // 10_000) - 1)]


def children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _body_bytes(report: Path) -> int | None:
    """The bytes of all bodies together, as h2load's last lines say."""
    found = re.search(r"\((\d+)\) data", report.read_text(errors="replace"))
    return int(found[1]) if found else None


def _read(log: Path) -> tuple[dict[int, list[int]], float]:
    """Latencies by status, and the s from the first request's start to the last one's end."""
    latencies: dict[int, list[int]] = {}
    first, last = None, 0
    lines = log.read_text().splitlines() if log.exists() else []
    for line in lines:
        columns = line.split("\t")
        if len(columns) < 3:
            continue  # the last line of a run that was cut
        start, status, took = int(columns[0]), int(columns[1]), int(columns[2])
        latencies.setdefault(status, []).append(took)
        first = start if first is None or start < first else first
        last = max(last, start + took)
    for taken in latencies.values():
        taken.sort()
    return latencies, (last - first) / 1e6 if first is not None else 0.0
