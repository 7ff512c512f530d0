"""Replacing all workers of a server by SIGHUP, and the log's lines about it."""

from __future__ import annotations

import signal

from end_to_end.server import Server

READY = r"Worker \d+ is ready and replaces worker \d+"
ALL = "All workers have been replaced"


def replace(server: Server, rounds: int = 1) -> None:
    """Replaces all workers, and waits until the old ones are gone."""
    for number in range(server.log.count(ALL) + 1, server.log.count(ALL) + rounds + 1):
        server.signal(signal.SIGHUP)
        server.wait_for_log(ALL, number)
