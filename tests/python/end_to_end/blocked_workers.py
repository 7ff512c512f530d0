"""Workers that stand still for as long as a test likes, by ``/block`` of numbered.py and of plain.py."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from end_to_end.crowd import Connection, Crowd
from end_to_end.h1_client import H1Client
from end_to_end.server import Server, wait_until

#: No deadline of the server is meant to pass: a test says so by this, in seconds.
LONG = 300


def patient(**hcrs: Any) -> dict[str, Any]:
    """The configuration of a server none of whose deadlines passes, but for keys of its own table."""
    return {
        "keep_alive_timeout": LONG,
        "keep_alive_max_requests": 1_000_000,
        "backlog": 1024,
        "hcrs": {"queue_timeout": LONG, "worker_timeout": LONG, "lifespan": "off", **hcrs},
    }


def is_written(file: Path) -> bool:
    """Whether an app has written a file, and something into it."""
    return file.exists() and bool(file.read_text())


@contextmanager
def blocked(server: Server, file: Path, count: int = 1) -> Iterator[set[int]]:
    """Blocks the event loops of ``count`` workers for the time of a ``with``. Yields their process ids."""
    blockers, files = [], [file.with_suffix(f".{number}") for number in range(count)]
    try:
        for named in files:
            blockers.append(H1Client(server.listener, deadline=LONG))
            blockers[-1].request("GET", f"/block?file={named}")
            wait_until(functools.partial(is_written, named), f"{named} to be written")
        yield {int(named.read_text()) for named in files}
    finally:
        for named in files:
            named.unlink(missing_ok=True)
    for blocker in blockers:
        assert blocker.response().status == 200
        blocker.close()


def numbers_run(server: Server) -> list[str]:
    """The numbers of the requests that the only worker has run, in order."""
    with H1Client(server.listener) as client:
        return [number for number, _ in json.loads(client.get("/ran").body)]


#: States of TCP as /proc writes them.
ESTABLISHED, CLOSE_WAIT = "01", "08"


def has_pongs(connection: Connection, count: int) -> bool:
    return connection.pings == count


def unread(server: Server, state: str) -> list[int]:
    """How many bytes the edge has not read on each of its connections that are in a state of TCP."""
    ports = {f"{where.port:04X}" for where in server.listeners}
    rows = [line.split() for line in Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]]
    return [
        int(row[4].rpartition(":")[2], 16) for row in rows if row[1].rpartition(":")[2] in ports and row[3] == state
    ]


def everything_is_read(server: Server) -> None:
    """Waits until the edge has read what was sent before."""
    wait_until(lambda: not any(unread(server, ESTABLISHED)), "the edge to read everything")
    # A few turns of its loop more: what was ready before is served before these are answered.
    with Crowd(server.listener, 1) as crowd:
        for turn in range(1, 4):
            crowd.ping(crowd.connections[0])
            crowd.run(functools.partial(has_pongs, crowd.connections[0], turn), "a ping's answer")
