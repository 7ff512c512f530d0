"""Fixtures: pairs of servers, each started once in a module."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from parity.comparison import Case, compare, patience
from parity.conversation import Answer, Speaker
from parity.differences import DIFFERENCES
from parity.servers import Pair, running

#: So that Python's sets are in the same order in both.
SAME = {"PYTHONHASHSEED": "0"}


class Pairs:
    """The pairs of a module by their app."""

    def __init__(self, start: Callable[[str, bool], Pair], trust: Callable[..., ssl.SSLContext]) -> None:
        self._start, self._trust = start, trust
        self._pairs: dict[tuple[str, bool], Pair] = {}

    def of(self, app: str, *, quic: bool = False) -> Pair:
        """The pair that serves an app, and over HTTP/3 if asked for: that changes responses over other protocols."""
        if (app, quic) not in self._pairs:
            self._pairs[app, quic] = self._start(app, quic)
        return self._pairs[app, quic]

    def check(self, name: str, case: Case) -> None:
        """Says it to both servers, and compares."""
        answers: dict[str, Answer] = {}
        for kind, server in self.of(case.app, quic=case.quic):
            scheme = "https" if case.tls else "http"
            beside = next(listener for listener in server.listeners if listener.scheme == scheme)
            where = server.quic if case.quic else beside
            waits = patience(name, kind, DIFFERENCES)
            speaker = Speaker(where, self._trust, patience=waits, beside=beside)
            try:
                answers[kind] = case.says(speaker)
            finally:
                speaker.close()
        compare(name, answers["hypercorn"], answers["hcrs"], DIFFERENCES)


@pytest.fixture(scope="module")
def pairs(
    tmp_path_factory: pytest.TempPathFactory,
    certificate: dict[str, str],
    trust: Callable[..., ssl.SSLContext],
) -> Iterator[Pairs]:
    """Starts a pair for each app that is asked for: the first listener has TLS, the second has not."""
    with ExitStack() as stack:

        def start(app: str, quic: bool) -> Pair:
            folder = tmp_path_factory.mktemp("pair")
            # Each announces HTTP/3 for a time of its own if it is not told how.
            more = {"quic_bind": "127.0.0.1:0", "alt_svc_headers": ['h3=":443"']} if quic else {}
            return stack.enter_context(running(folder, app, tls=certificate, keep_alive_timeout=30, env=SAME, **more))

        yield Pairs(start, trust)
