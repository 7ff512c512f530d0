"""The server's own spans, as a collector gets them."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.certificates import Pki
from end_to_end.collector import Collector, Span, collecting
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Listening, Server

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def start(serve: Callable[..., Server], collector: Collector) -> Callable[..., Server]:
    """Starts a server that exports to the collector."""

    def start(**config: object) -> Server:
        own = {"trace_context": "all", "otlp_endpoint": collector.endpoint, "otlp_service_name": "edge"}
        return serve("plain.py:app", **{"tls": True, "hcrs": own, **config})

    return start


def stages(collector: Collector, span: Span) -> dict[str, Span]:
    """The spans below that of a request, by their names."""
    return {other.name: other for other in collector.wait_for("edge", kind=1) if other.parent_id == span.span_id}


def parent_seen(body: bytes) -> list[str]:
    """The parts of the ``traceparent`` that the app has seen."""
    [parent] = re.findall(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", body.decode())
    return str(parent).split("-")[1:]


def test_a_request_is_a_span_between_those_of_the_client_and_the_app(
    start: Callable[..., Server], connect_h2: Callable[..., H2Client], collector: Collector
) -> None:
    before = time.time_ns()
    stream = connect_h2(start().listener).get(
        "/scope?secret=1", [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=1")]
    )
    assert b"(b'tracestate', b'a=1')" in stream.body
    [span] = collector.wait_for("edge")
    assert (span.name, span.trace_id, span.parent_id, span.is_error) == ("GET", TRACE, SPAN, False)
    assert parent_seen(stream.body) == [TRACE, span.span_id, "01"]
    told = {key: span.attributes[key] for key in ("url.path", "url.scheme", "network.protocol.version", "http.response.status_code")}
    assert told == {
        "url.path": "/scope", "url.scheme": "https", "network.protocol.version": "2", "http.response.status_code": 200,
    }  # fmt: skip
    below = stages(collector, span)
    queue, app, send = below["queue"], below["app"], below["send"]
    assert before <= span.start == queue.start <= queue.end == app.start <= app.end == send.start <= send.end == span.end
    assert span.end <= time.time_ns()
    assert len({other.span_id for other in (span, queue, app, send)}) == 4
    assert len({other.trace_id for other in (span, queue, app, send)}) == 1


def test_requests_that_are_not_sampled_have_none(
    start: Callable[..., Server], connect_h1: Callable[..., H1Client], collector: Collector
) -> None:
    server = start()
    client = connect_h1(server.listener)
    assert f"00-{TRACE}-{SPAN}-00".encode() in client.get("/scope", f"traceparent: 00-{TRACE}-{SPAN}-00\r\n").body
    body = client.get("/scope").body
    [span] = collector.wait_for("edge")
    assert parent_seen(body) == [span.trace_id, span.span_id, "03"]
    assert span.parent_id == ""


def test_refusals_and_failures_are_errors(
    start: Callable[..., Server], connect_h1: Callable[..., H1Client], collector: Collector
) -> None:
    server = start()
    assert connect_h1(server.listener).get("/fail?after=nothing").status == 500
    assert connect_h1(server.listener).get("/nothing").status == 404
    failed, missing = collector.wait_for("edge", 2)
    assert (failed.is_error, failed.attributes["http.response.status_code"], "error.type" in failed.attributes) == (
        True,
        500,
        True,
    )
    assert (missing.is_error, missing.attributes["http.response.status_code"]) == (False, 404)


def test_what_waits_when_the_server_stops_is_exported(
    run: Callable[..., Server], collector: Collector
) -> None:
    server = run(
        """
        def app(environ, start_response):
            start_response("200 OK", [])
            return [environ["HTTP_TRACEPARENT"].encode()]
        """,
        hcrs={"trace_context": "all", "otlp_endpoint": collector.endpoint + "/", "otlp_service_name": "edge"},
    )
    with H1Client(server.listener) as client:
        for _ in range(3):
            client.get("/")
    assert server.stop() == 0
    assert len([span for span in collector.spans if span.kind == 2]) == 3
    assert collector.requests[0]["user-agent"].startswith("hcrs/")


def test_a_collector_that_fails_costs_spans_and_nothing_else(
    start: Callable[..., Server], connect_h1: Callable[..., H1Client], collector: Collector, tmp_path: Path
) -> None:
    collector.status = 503
    admin = tmp_path / "admin"
    own = {"trace_context": "all", "otlp_endpoint": collector.endpoint, "admin_bind": f"unix:{admin}"}
    server = start(hcrs=own)
    client = connect_h1(server.listener)
    assert all(client.get("/").status == 200 for _ in range(5))
    server.wait_for_log(r"Spans cannot be exported to http://localhost:\d+/v1/traces: it answers with the status 503; those of 5 ")
    with H1Client(Listening("http", "localhost", 0, str(admin))) as scraper:
        metrics = scraper.get("/metrics").body.decode()
    assert 'hcrs_traced_requests_total{outcome="dropped"} 5\n' in metrics
    assert 'hcrs_traced_requests_total{outcome="exported"} 0\n' in metrics


def test_a_collector_with_tls_has_to_be_known(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], pki: Pki
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "localhost.pem")
    with collecting(context) as collector:
        own = {"trace_context": "all", "otlp_endpoint": collector.endpoint, "otlp_service_name": "edge"}
        connect_h1(serve("plain.py:app", hcrs=own, env={"SSL_CERT_FILE": pki / "ca.pem"}).listener).get("/")
        collector.wait_for("edge")
        stranger = serve("plain.py:app", hcrs=own)
        connect_h1(stranger.listener).get("/")
        stranger.wait_for_log("Spans (cannot be|are not) exported")
