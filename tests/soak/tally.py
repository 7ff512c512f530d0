"""The outcome of every request: right, a loss that has its reason, or a failure."""

import time
from collections import Counter

# How long after a worker was killed a request may still have been begun by it, in seconds: the signal takes its time.
KILL_S = 0.5
# Failures that are kept in words; the others are only counted.
KEPT = 50


class Lost(Exception):
    """The answer does not come, or not whole: the status, the reset or the end that came in its place."""


class Refused(Exception):
    """The server says that it has not looked at the request: it may be asked again (GOAWAY, REFUSED_STREAM)."""


class Overloaded(Exception):
    """503."""


class Cancelled(Exception):
    """The client has given up by itself."""


class Tally:
    """The counts."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        self.failed = 0
        self.kills: list[float] = []
        self.reloads: list[float] = []
        self.longest = 0.0

    def count(self, kind: str, outcome: str) -> None:
        """One more that has ended so."""
        self.counts[kind, outcome] += 1

    def fail(self, kind: str, words: str) -> None:
        """One that must not have ended so."""
        self.failed += 1
        self.count(kind, "FAILED")
        if len(self.failures) < KEPT:
            self.failures.append(f"{time.monotonic() - self.begun:.1f} s, {kind}: {words}")

    def was_killed(self, since: float) -> bool:
        """Whether a worker that may have begun a request since then was killed."""
        return any(at + KILL_S >= since for at in self.kills)

    def total(self, outcome: str) -> int:
        """Over all kinds."""
        return sum(count for (_, ended), count in self.counts.items() if ended == outcome)
