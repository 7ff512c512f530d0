"""The load of WebSocket scenarios: a closed loop of text messages to an echo, by a client of our own.

The client is an example of the crate hcrs-ws, built as released: one read and one write for a message, so that it is
not the client that is measured. It compares every byte of every echo.
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from load import BELIEVED_S, CALIBRATIONS, children_cpu_s


@dataclass(frozen=True)
class Chat:
    """How many talk, and with what."""

    connections: int = 64
    message_bytes: int = 32


@dataclass(frozen=True)
class Echoed:
    """The outcome of `asked` messages."""

    asked: int
    done: int
    seconds: float
    mean_us: float
    p50_us: float
    p99_us: float
    client_cpu_s: float
    words: str  # of the client, if it failed

    @property
    def failed(self) -> int:
        return self.asked - self.done

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class EchoLoader:
    """The client as this run uses it."""

    command: Path
    cpus: frozenset[int] | None
    limit_s: float  # when a run is cut

    def run(self, port: int, chat: Chat, count: int) -> Echoed:
        told = [str(number) for number in (port, chat.connections, chat.message_bytes, count)]
        before = children_cpu_s()
        process = subprocess.Popen(
            [self.command, *told], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            if self.cpus:
                os.sched_setaffinity(process.pid, self.cpus)
            out, words = process.communicate(timeout=self.limit_s)
        except subprocess.TimeoutExpired:
            out, words = "", f"cut after {self.limit_s:.0f} s"
        finally:
            process.kill()
            process.wait()
        said = {"done": 0, "seconds": 0.0, "mean_us": 0.0, "p50_us": 0, "p99_us": 0}
        said |= json.loads(out) if out else {}
        return Echoed(asked=count, client_cpu_s=children_cpu_s() - before, words=words.strip(), **said)

    def calibrate(self, port: int, chat: Chat) -> Echoed:
        """Warms the server up, and says how many messages/s it does."""
        count = chat.connections * 8
        for _ in range(CALIBRATIONS):
            begun = time.monotonic()
            echoed = self.run(port, chat, count)
            if echoed.failed or echoed.seconds >= BELIEVED_S or time.monotonic() - begun > self.limit_s / 2:
                break
            count = int(count * min(8.0, max(1.5, 1.5 * BELIEVED_S / max(echoed.seconds, 1e-6))))
        return echoed
