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

    def __init__(self, start: Callable[[str], Pair], trust: Callable[..., ssl.SSLContext]) -> None:
        self._start, self._trust = start, trust
        self._pairs: dict[str, Pair] = {}

    def of(self, app: str) -> Pair:
        """The pair that serves an app."""
        if app not in self._pairs:
            self._pairs[app] = self._start(app)
        return self._pairs[app]

    def check(self, name: str, case: Case) -> None:
        """Says it to both servers, and compares."""
        answers: dict[str, Answer] = {}
        for kind, server in self.of(case.app):
            scheme = "https" if case.tls else "http"
            where = next(listener for listener in server.listeners if listener.scheme == scheme)
            speaker = Speaker(where, self._trust, patience=patience(name, kind, DIFFERENCES))
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

        def start(app: str) -> Pair:
            folder = tmp_path_factory.mktemp("pair")
            return stack.enter_context(running(folder, app, tls=certificate, keep_alive_timeout=30, env=SAME))

        yield Pairs(start, trust)
