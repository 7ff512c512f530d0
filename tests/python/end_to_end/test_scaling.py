"""Signals that change the number of workers while they serve, and no client notices."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.load import H2Load
from end_to_end.server import Server, wait_until

#: Every connection is the client's own to end.
LASTING = {"keep_alive_max_requests": 10_000_000, "keep_alive_timeout": 60}


@contextmanager
def loaded(server: Server) -> Iterator[None]:
    """Keeps clients busy for the time of a ``with``, over HTTP/2 and HTTP/1.1, and checks that no request of theirs has failed."""
    loads = [H2Load(server.listener.url, 0, 2, streams, "-D", "6", *flags) for streams, flags in ((8, []), (1, ["--h1"]))]
    yield
    assert all(load.is_running for load in loads), "they have seen all of it"
    for load in loads:
        result = load.result()
        assert result.succeeded == result.ok > 100, result.output
        assert result.failed == result.errored == result.timed_out == 0, result.output


def has_workers(server: Server, count: int) -> bool:
    """Whether exactly so many worker processes run."""
    return len(server.worker_pids()) == count


@pytest.mark.slow
def test_sigttin_and_sigttou_change_the_number_of_workers_under_load(serve: Callable[..., Server]) -> None:
    server = serve("plain.py:app", workers=2, hcrs={"retire_timeout": 5}, **LASTING)
    with loaded(server):
        for count, number in ((3, signal.SIGTTIN), (4, signal.SIGTTIN), (3, signal.SIGTTOU), (2, signal.SIGTTOU), (1, signal.SIGTTOU)):
            ready = server.log.count("is ready")
            server.signal(number)
            if number is signal.SIGTTIN:
                server.wait_for_log(r"Worker \d+ is ready", ready + 1)
            wait_until(functools.partial(has_workers, server, count), f"{count} workers")
    assert "Changing the number of workers from 2 to 3 (SIGTTIN)" in server.log
    server.signal(signal.SIGTTOU)
    server.wait_for_log("SIGTTOU is ignored: there is no more than one worker")
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"Changing the number of workers from 1 to 2 \(SIGHUP\)")
    wait_until(lambda: has_workers(server, 2), "the configured number")
    assert "ERROR" not in server.log


@pytest.mark.slow
def test_requests_wait_while_sigwinch_has_ended_all_workers(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    # A session of its own, as that of a daemon: a terminal's WINCH is about the size of its window.
    server = serve("plain.py:app", workers=2, hcrs={"queue_timeout": 60}, started_by=["setsid"], **LASTING)
    with loaded(server):
        server.signal(signal.SIGWINCH)
        server.wait_for_log(r"Changing the number of workers from 2 to 0 \(SIGWINCH\)")
        wait_until(lambda: has_workers(server, 0), "the end of the workers")
        waiting = connect_h1(server.listener)
        waiting.request("GET", "/")
        server.signal(signal.SIGTTIN)
        assert waiting.response().status == 200
        server.signal(signal.SIGHUP)
        wait_until(lambda: has_workers(server, 2), "the configured number")
    server.signal(signal.SIGTERM)
    assert server.wait_for_exit() == 0


def test_a_worker_that_scaling_ends_finishes_its_requests(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], tmp_path: Any
) -> None:
    server = serve("plain.py:app", workers=3, keep_alive_timeout=60)
    client = connect_h2(server.listener)
    streams = [client.request("GET", f"/nap?seconds=1&file={tmp_path}/{number}") for number in range(6)]
    wait_until(lambda: len(list(tmp_path.glob("[0-9]"))) == 6, "all of them to begin")
    server.signal(signal.SIGTTOU)
    server.wait_for_log(r"from 3 to 2 \(SIGTTOU\)")
    server.signal(signal.SIGTTOU)
    wait_until(lambda: has_workers(server, 1), "one worker")
    served = [client.response(stream) for stream in streams]
    assert [response.status for response in served] == [200] * 6
    assert len({response.body for response in served}) == 3, "all workers had some of them"


def test_sigquit_cuts_off_what_is_in_flight_at_once(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str
) -> None:
    server = serve("plain.py:app", graceful_timeout=60)
    client = connect_h1(server.listener)
    client.request("GET", f"/gate?key={key}")
    assert connect_h1(server.listener).get(f"/note?key={key}-begun").status == 200
    server.signal(signal.SIGTERM)
    server.wait_for_log(r"Shutting down \(SIGTERM\)")
    server.signal(signal.SIGQUIT)  # at once, and still meant
    assert server.wait_for_exit() == 3
    assert "Cutting off requests in flight (SIGQUIT)" in server.log


def test_sigquit_alone_runs_the_shutdown(serve: Callable[..., Server], connect_h1: Callable[..., H1Client], key: str) -> None:
    server = serve("plain.py:app", graceful_timeout=60)
    client = connect_h1(server.listener)
    client.request("GET", f"/gate?key={key}")
    assert connect_h1(server.listener).get(f"/note?key={key}-begun").status == 200
    server.signal(signal.SIGQUIT)
    assert server.wait_for_exit() == 3
    assert "1 request was cut off (SIGQUIT)" in server.log
    assert "lifespan.shutdown was seen" in server.log
