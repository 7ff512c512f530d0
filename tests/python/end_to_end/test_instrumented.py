"""Programs that start the server and instrument the app, by the environment and ``sitecustomize``, reach the workers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.collector import Collector, collecting
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Server, wait_until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

SITE = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{number}")
async def item(number: int) -> dict[str, int]:
    return {"number": number}
"""

MARKED = """
import json, os, sys

def mark():
    return json.dumps([getattr(sys, "_mark", None), os.environ.get("MARK"), __name__])

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": mark().encode()})

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [mark().encode()]
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def instrumented(serve: Callable[..., Server], collector: Collector, tmp_path: Path) -> Callable[..., Server]:
    """Starts ``opentelemetry-instrument hcrs``; both come from the environment of the tests."""

    def start(**own: object) -> Server:
        (tmp_path / "shop.py").write_text(SITE)
        return serve(
            str(tmp_path / "shop.py") + ":app",
            tls=True,
            accesslog="-",
            # Without the dashes it takes --config for an option of its own.
            started_by=[str(Path(sys.executable).parent / "opentelemetry-instrument"), "--"],
            env={
                "OTEL_SERVICE_NAME": "shop",
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
                "OTEL_BSP_SCHEDULE_DELAY": "50",
            },
            hcrs={"access_log_json": True, **own},
        )

    return start


@pytest.mark.parametrize("preload", [False, True])
def test_opentelemetry_instruments_the_app_in_its_workers(
    instrumented: Callable[..., Server], connect_h2: Callable[..., H2Client], collector: Collector, preload: bool
) -> None:
    server = instrumented(preload=preload)
    stream = connect_h2(server.listener).get("/items/3", [("traceparent", f"00-{TRACE}-{SPAN}-01")])
    assert stream.body == b'{"number":3}'
    [span] = collector.wait_for("shop")
    assert (span.name, span.trace_id, span.parent_id) == ("GET /items/{number}", TRACE, SPAN)
    assert span.attributes.get("http.flavor", span.attributes.get("network.protocol.version")) == "2"


def test_the_apps_spans_are_below_the_servers(
    instrumented: Callable[..., Server], connect_h2: Callable[..., H2Client], collector: Collector
) -> None:
    server = instrumented(trace_context="all", otlp_endpoint=collector.endpoint, otlp_service_name="edge")
    connect_h2(server.listener).get("/items/3", [("traceparent", f"00-{TRACE}-{SPAN}-01")])
    [of_server], [of_app] = collector.wait_for("edge"), collector.wait_for("shop")
    assert (of_server.trace_id, of_server.parent_id) == (TRACE, SPAN)
    assert (of_app.trace_id, of_app.parent_id) == (TRACE, of_server.span_id)
    assert of_server.start <= of_app.start <= of_app.end <= of_server.end


def test_a_trace_that_begins_here_is_that_of_the_app_and_the_access_log(
    instrumented: Callable[..., Server], connect_h1: Callable[..., H1Client], collector: Collector
) -> None:
    server = instrumented(trace_context="all")
    client = connect_h1(server.listener)
    client.get("/items/1", f"traceparent: 00-{TRACE}-{SPAN}-00\r\n")
    client.get("/items/2")
    [span] = collector.wait_for("shop")
    wait_until(lambda: server.output.count("\n") == 2, "the lines of the access log")
    unsampled, sampled = [json.loads(line) for line in server.output.splitlines()]
    assert (unsampled["trace_id"], unsampled["span_id"]) == (TRACE, SPAN)
    assert (sampled["trace_id"], sampled["span_id"]) == (span.trace_id, span.parent_id)


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("app", ["app", "wsgi"])
def test_a_sitecustomize_of_the_starter_runs_in_workers(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path, app: str, preload: bool
) -> None:
    """This is how ``ddtrace-run`` and other wrappers work."""
    bootstrap = tmp_path / "bootstrap"
    bootstrap.mkdir()
    (bootstrap / "sitecustomize.py").write_text("import os, sys\nsys._mark = f'{os.environ[\"MARK\"]} was here'\n")
    (tmp_path / "marked.py").write_text(MARKED)
    server = serve(
        f"{'wsgi:' if app == 'wsgi' else ''}{tmp_path / 'marked.py'}:{app}",
        env={"PYTHONPATH": os.pathsep.join([str(bootstrap), os.environ.get("PYTHONPATH", "")]), "MARK": "the wrapper"},
        hcrs={"preload": preload},
    )
    told = json.loads(connect_h1(server.listener).get().body)
    assert told == ["the wrapper was here", "the wrapper", "marked"]
