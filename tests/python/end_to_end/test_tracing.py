"""Trace context and ids of requests: what the app, the client and the logs see of them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-00"
NEW = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-03")

Fields = list[tuple[str, str]]
#: The fields of the request as the app sees them, and the id in the response.
Ask = Callable[..., tuple[dict[str, list[str]], str | None]]


@pytest.fixture
def ask(protocol: str, connect_h1: Callable[..., H1Client], connect_multiplexed: Callable[..., Any]) -> Ask:
    def get(server: Server, fields: Fields) -> tuple[dict[str, list[str]], str | None]:
        where = server.listener_for(protocol)
        own: str | None
        if protocol.startswith("h1"):
            response = connect_h1(where).get("/scope", "".join(f"{name}: {value}\r\n" for name, value in fields))
            body, own = response.body, response.header("x-request-id")
        else:
            h2 = connect_multiplexed(where)
            stream = h2.response(h2.request("GET", "/scope", fields))
            body, value = stream.body, stream.header(b"x-request-id")
            own = value.decode() if value is not None else None
        seen: dict[str, list[str]] = {}
        for name, value in ast.literal_eval(body.decode())["headers"]:
            seen.setdefault(name.decode(), []).append(value.decode())
        return seen, own

    return get


@pytest.fixture
def start(serve: Callable[..., Server]) -> Callable[..., Server]:
    """Starts a server with both listeners and these keys of its own; lines of its access log are objects."""

    def start(**own: Any) -> Server:
        keys = {"access_log_json": True, **own}
        return serve("plain.py:app", tls=True, insecure_bind="127.0.0.1:0", accesslog="-", loglevel="debug", hcrs=keys)

    return start


def lines(server: Server, count: int) -> list[dict[str, Any]]:
    wait_until(lambda: len(server.output.splitlines()) >= count, "the lines of the access log")
    return [json.loads(line) for line in server.output.splitlines()]


def test_by_default_the_fields_are_those_of_the_client(start: Callable[..., Server], ask: Ask) -> None:
    server = start()
    given = [("traceparent", "nonsense"), ("traceparent", PARENT), ("tracestate", "a=1"), ("x-request-id", "mine")]
    seen, own = ask(server, given)
    assert seen["traceparent"] == ["nonsense", PARENT] and seen["tracestate"] == ["a=1"]
    assert (seen["x-request-id"], own) == (["mine"], None)
    assert not {"trace_id", "span_id", "request_id"} & lines(server, 1)[0].keys()


def test_a_trace_is_continued_or_begun(start: Callable[..., Server], ask: Ask) -> None:
    server = start(trace_context="all")
    seen, _ = ask(server, [("tracestate", "a=1"), ("traceparent", PARENT)])
    assert (seen["traceparent"], seen["tracestate"]) == ([PARENT], ["a=1"])
    begun = []
    for fields in ([], [("traceparent", PARENT.upper()), ("tracestate", "a=1")], [("traceparent", PARENT)] * 2):
        seen, _ = ask(server, fields)
        [parent] = seen["traceparent"]
        assert NEW.fullmatch(parent) and "tracestate" not in seen
        begun.append(parent.split("-")[1:3])
    logged = [[line["trace_id"], line["span_id"]] for line in lines(server, 4)]
    assert logged == [PARENT.split("-")[1:3], *begun]
    assert len({trace for trace, _ in begun}) == 3


def test_what_trusted_proxies_send_is_passed_on(start: Callable[..., Server], ask: Ask) -> None:
    own = {"trace_context": "trusted", "trace_sample_ratio": 0, "request_id": "X-Request-Id"}
    given = [("traceparent", PARENT), ("tracestate", "a=1"), ("x-request-id", "theirs")]
    seen, own_id = ask(start(forwarded_allow_ips="127.0.0.1", **own), given)
    assert (seen["traceparent"], seen["tracestate"], seen["x-request-id"]) == ([PARENT], ["a=1"], ["theirs"])
    assert own_id == "theirs"


def test_what_strangers_send_is_replaced(start: Callable[..., Server], ask: Ask) -> None:
    server = start(trace_context="trusted", trace_sample_ratio=0, request_id="X-Request-Id")
    seen, own_id = ask(server, [("traceparent", PARENT), ("tracestate", "a=1"), ("x-request-id", "theirs")])
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-02", seen["traceparent"][0]) and TRACE not in seen["traceparent"][0]
    assert "tracestate" not in seen
    assert own_id is not None and re.fullmatch(r"[0-9a-f]{32}", own_id) and seen["x-request-id"] == [own_id]
    assert lines(server, 1)[0]["request_id"] == own_id


def test_each_answer_has_an_id_that_the_logs_know(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], connect_h2: Callable[..., H2Client]
) -> None:
    form = "%(s)s %(request_id)s %({x-request-id}i)s %({x-request-id}o)s %(trace_id)s"
    own = {"request_id": "x-request-id", "live_path": "/live", "public_health": True}
    server = serve("plain.py:app", tls=True, accesslog="-", access_log_format=form, loglevel="debug", hcrs=own)
    ids = []
    for path in ("/", "/nothing", "/fail?after=nothing", "/live"):
        response = connect_h1(server.listener).get(path)
        stream = connect_h2(server.listener).get(path)
        assert response.header("x-request-id") and stream.header(b"x-request-id")
        ids += [(response.status, response.header("x-request-id")), (stream.status, (stream.header(b"x-request-id") or b"").decode())]
    assert [status for status, _ in ids] == [200, 200, 404, 404, 500, 500, 200, 200]
    wait_until(lambda: len(server.output.splitlines()) == len(ids), "the lines of the access log")
    for (status, own_id), line in zip(ids, server.output.splitlines(), strict=True):
        shown, *found = line.rpartition("] ")[2].split()
        # Fields of responses to faults are not the app's.
        assert (shown, found) == (str(status), [own_id, own_id, own_id if status != 500 else "-", "-"])
    for _, failed in ids[4:6]:
        server.wait_for_log(rf"Request failed: .* request_id={failed}\b")


def test_an_app_that_sets_the_id_itself_has_the_last_word(
    run: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = run(
        """
        def app(environ, start_response):
            start_response("200 OK", [("X-Request-Id", "the app's")])
            return [environ["HTTP_X_REQUEST_ID"].encode()]
        """,
        hcrs={"request_id": "x-request-id"},
    )
    with H1Client(server.listener) as client:
        response = client.get("/", "x_request_id: theirs\r\n")
        assert response.all("x-request-id") == ["the app's"]
        assert re.fullmatch(rb"[0-9a-f]{32}", response.body)
    assert server.stop() == 0
