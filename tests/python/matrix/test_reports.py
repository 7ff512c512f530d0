"""Reports about an app: Sentry, Prometheus over several processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server, wait_until
from matrix.servers import APPS, running
from matrix.talks import ALWAYS, Talk, differences
from parity.conversation import Request

JSON = (("content-type", "application/json"),)

ASKED: dict[str, Request] = {
    "json": Request(target="/json?q=1"),
    "error": Request(target="/error?why=1"),
    "missing": Request(target="/nowhere"),
    "logged": Request(target="/logged"),
    "posted": Request("POST", "/posted", JSON, b'{"a": 1}'),
    "stream": ALWAYS["stream"],
}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    with running(tmp_path_factory.mktemp("reported"), "reported.py:app", ("hcrs", "uvicorn")) as started:
        yield started


@pytest.mark.parametrize("over", ["h1", "h2"])
@pytest.mark.parametrize("name", ASKED)
def test_sentry_gets_the_same_events(name: str, over: str, reported: dict[str, Server]) -> None:
    talks = [Talk(reported["hcrs"].listener, over), Talk(reported["uvicorn"].listener, "h1")]
    ours, theirs = ({name: talk.ask(ASKED[name])} for talk in talks)
    assert differences(ours, theirs) == {}
    told = [talk.told("/recorded") for talk in talks]
    assert told[0] == told[1] and told[0]


def test_sentry_says_nothing_of_clients_that_leave(reported: dict[str, Server]) -> None:
    for over in ("h1", "h2"):
        talk = Talk(reported["hcrs"].listener, over)
        assert talk.leave(f"sentry-{over}") == ["ended"]
        assert [event for event in talk.told("/recorded") if event["kind"] == "error"] == []


@pytest.mark.slow
def test_sentry_gets_the_same_events_from_flask(tmp_path: Path) -> None:
    asked = {name: request for name, request in ASKED.items() if name in ("json", "error", "missing", "stream")}
    with running(tmp_path, "reported.py:flask", ("hcrs", "gunicorn")) as servers:
        for name, request in asked.items():
            ours, theirs = (Talk(servers[kind].listener, "h1") for kind in ("hcrs", "gunicorn"))
            assert differences({name: ours.ask(request)}, {name: theirs.ask(request)}) == {}
            told = ours.told("/recorded"), theirs.told("/recorded")
            assert told[0] == told[1] and told[0], name


@pytest.mark.parametrize("app", ["app", "wsgi"])
def test_workers_share_metrics(
    app: str,
    tmp_path: Path,
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
) -> None:
    files = tmp_path / "metrics"
    files.mkdir()
    server = serve(f"{APPS}/counted.py:{app}", workers=2, env={"PROMETHEUS_MULTIPROC_DIR": str(files)})
    client = connect_h1(server.listener)

    def metrics() -> dict[str, float]:
        lines = client.get("/metrics").body.decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def asked_by_both() -> bool:
        pids.extend(client.get("/").body for _ in range(4))
        return len(set(pids)) == 2

    pids: list[bytes] = []
    wait_until(asked_by_both, "both workers to answer")
    assert metrics() == {"answered_total": len(pids), "alive": 2}
    # What workers have counted that were replaced counts on, and they are alive no more.
    server.signal(signal.SIGHUP)
    server.wait_for_log("All workers have been replaced")
    wait_until(lambda: len(list(files.glob("gauge_livesum_*"))) == 2, "the old workers' files to be gone")
    assert metrics() == {"answered_total": len(pids), "alive": 2}
