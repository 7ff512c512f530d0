"""One site behind each middleware, on hcrs and on Uvicorn: both have to answer the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from end_to_end.server import Server
from matrix.servers import running
from matrix.talks import ALWAYS, ASGI, Talk, differences
from parity.conversation import Request

pytestmark = pytest.mark.slow

#: Of apps/wrapped.py.
BEHIND = (
    "nothing", "gzip", "brotli", "sessions", "cors", "trusted-host", "trusted-host-other", "https-redirect", "base-header",
    "base-read", "base-replace", "base-deny", "base-many", "delaying", "functional", "otel-asgi", "otel-fastapi",
    "correlation-id", "structlog", "prometheus-instrumentator", "slowapi", "slowapi-asgi", "a2wsgi",
)

#: Those that answer themselves, or want the whole response first: nothing endless gets through them.
WITHOUT_STREAMS = ("trusted-host-other", "https-redirect", "base-replace", "base-deny", "a2wsgi")

#: Those that say what they have recorded.
RECORDING = ("otel-asgi", "otel-fastapi", "correlation-id", "structlog", "prometheus-instrumentator")

TRACE = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)

#: What is asked of those that have more to say.
MORE: dict[str, dict[str, Request]] = {
    "correlation-id": {
        "given": Request(target="/logged", headers=(("x-request-id", "given-by-the-client"),)),
        "in-a-thread": Request(target="/logged-in-a-thread", headers=(("x-request-id", "another"),)),
    },
    "structlog": {
        "logged": Request(target="/logged"),
        "in-a-thread": Request(target="/logged-in-a-thread"),
    },
    "otel-asgi": {"child": Request(target="/json", headers=TRACE)},
    "otel-fastapi": {"child": Request(target="/json", headers=TRACE)},
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    # Python's sets are in the same order in both.
    same = {"PYTHONHASHSEED": "0"}
    with running(tmp_path_factory.mktemp("behind"), "wrapped.py:app", ("hcrs", "uvicorn"), env=same) as started:
        yield started


Both = tuple[Talk, Talk]


@pytest.fixture(params=["h1", "h2"])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def both(servers: dict[str, Server], over: str, behind: str) -> Both:
    """A client of hcrs, and one of Uvicorn, which speaks HTTP/1.1 alone."""
    return Talk(servers["hcrs"].listener, over, behind), Talk(servers["uvicorn"].listener, "h1", behind)


@pytest.mark.parametrize("behind", BEHIND)
def test_answers(over: str, behind: str, servers: dict[str, Server]) -> None:
    talks = both(servers, over, behind)
    asked = ALWAYS | ({} if behind == "a2wsgi" else ASGI) | MORE.get(behind, {})
    if behind in RECORDING:
        for talk in talks:
            talk.told("/recorded")
    ours, theirs = ({name: talk.ask(request) for name, request in asked.items()} for talk in talks)
    if behind == "correlation-id":
        for answer in [*ours.values(), *theirs.values()]:
            # An id that nobody has given is another one each time.
            values = [value for name, value in answer["headers"] if name == "x-request-id"]
            assert len(values) == 1, answer
            if values[0] not in ("given-by-the-client", "another"):
                answer["headers"].remove(("x-request-id", values[0]))
    assert differences(ours, theirs) == {}
    if behind in RECORDING:
        recorded = [talk.told("/recorded") for talk in talks]
        assert recorded[0] == recorded[1] and recorded[0]


@pytest.mark.parametrize("behind", [name for name in BEHIND if name not in WITHOUT_STREAMS])
def test_background_tasks_and_clients_that_leave(over: str, behind: str, servers: dict[str, Server]) -> None:
    noted = []
    for talk in both(servers, over, behind):
        name = f"{behind}-{over}-left"
        answer = talk.ask(Request(target=f"/background?name={name}"))
        assert (answer["status"], answer["body"]) == (200, b'"before"')
        assert talk.notes(name) == ["background"]
        noted.append(talk.leave(f"{name}-early"))
    assert noted[0] == noted[1] == ["ended"]


@pytest.mark.parametrize("behind", [name for name in BEHIND if name != "a2wsgi"])
def test_websockets(over: str, behind: str, servers: dict[str, Server]) -> None:
    ours, theirs = (talk.websocket(f"{behind}-{over}-socket") for talk in both(servers, over, behind))
    assert ours == theirs


@pytest.mark.parametrize("behind", ["sessions", "a2wsgi"])
def test_sessions_last(over: str, behind: str, servers: dict[str, Server]) -> None:
    for talk in both(servers, over, behind):
        assert [body["visits"] for body in talk.visits(3)] == [1, 2, 3]


def test_clients_that_leave_are_no_errors(servers: dict[str, Server]) -> None:
    """After all that the tests above have asked for, the log has the errors that the app has raised and no other."""
    servers["hcrs"].wait_for_log("RuntimeError: as it was told to")
    lines = [line for line in servers["hcrs"].log.splitlines() if "[ERROR]" in line or "[WARNING]" in line]
    assert lines and {line.partition("] ")[2].partition("] ")[2] for line in lines} == {"[ERROR] Error in ASGI Framework"}
