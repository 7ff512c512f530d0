"""The effects of the keys of logs and metrics: rows of the table of keys (key_rows.py)."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from end_to_end.collector import collecting
from end_to_end.h1_client import H1Client
from end_to_end.key_rows import shows
from end_to_end.server import Listening, Server, wait_until


@shows(
    "plain.py:app",
    waits=False,
    errorlog="<folder>/error.log",
    accesslog="<folder>/access.log",
    access_log_format="%(m)s %(U)s %(s)s",
    loglevel="debug",
)
def test_logs_have_the_configured_target_format_and_level(server: Server, tmp_path: Path) -> None:
    errors, lines = tmp_path / "error.log", tmp_path / "access.log"
    running = wait_until(
        lambda: errors.exists() and re.search(r"Running on http://127\.0\.0\.1:(\d+)", errors.read_text()), "the log"
    )
    with H1Client(Listening("http", "127.0.0.1", int(running[1]))) as client:
        client.get("/a%20b")
        client.send("nonsense\r\n\r\n")
        client.response()
    wait_until(lambda: "GET /a b 404\n" in lines.read_text(), "the line")
    wait_until(lambda: "[DEBUG]" in errors.read_text(), "what only the level debug shows")
    assert server.stop() == 0
    assert (server.log.replace("lifespan.shutdown was seen\n", ""), server.output) == ("", "")


@shows("plain.py:app", accesslog="-", access_log_json=True)
def test_lines_are_objects(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    connect_h1(server.listener).get("/a")
    assert json.loads(wait_until(lambda: server.output, "the line"))["path"] == "/a"


@shows("plain.py:app", trace_context="all", trace_sample_ratio=0.5, request_id="x-id", access_log_json=True, accesslog="-")
def test_requests_get_a_trace_and_an_id(server: Server, connect_h1: Callable[..., H1Client]) -> None:
    client = connect_h1(server.listener)
    answers = [client.get("/scope", "x-id: theirs\r\n") for _ in range(64)]
    parents = [re.findall(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-(0[23])'", answer.body)[0] for answer in answers]
    # All or none of 64 are sampled once in 2 ** 63 runs.
    assert {flags for _, flags in parents} == {b"02", b"03"}
    lines = wait_until(lambda: server.output.splitlines() if server.output.count("\n") == 64 else None, "the lines")
    logged = [json.loads(line) for line in lines]
    assert [line["request_id"] for line in logged] == [answer.header("x-id") for answer in answers]
    assert [line["trace_id"].encode() for line in logged] == [trace for trace, _ in parents]


@shows(otlp_endpoint="http://127.0.0.1:<port>", otlp_service_name="shop")
def test_spans_go_to_the_endpoint(serve: Callable[..., Server], connect_h1: Callable[..., H1Client]) -> None:
    with collecting() as collector:
        own = {"trace_context": "all", "otlp_endpoint": collector.endpoint, "otlp_service_name": "shop"}
        connect_h1(serve("plain.py:app", hcrs=own).listener).get("/")
        assert collector.wait_for("shop")


@pytest.mark.parametrize("how", ["file", "environment", "flag"])
@shows(logconfig="json:<folder>/log.json")
def test_the_workers_logging_is_configured_by_a_file(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path, how: str
) -> None:
    log, path = tmp_path / "app.log", f"json:{tmp_path}/log.json"
    handler = {"class": "logging.FileHandler", "filename": str(log)}
    loggers = {"hcrs.error": {"handlers": ["file"], "propagate": False}}
    (tmp_path / "log.json").write_text(json.dumps({"version": 1, "handlers": {"file": handler}, "loggers": loggers}))
    ways: dict[str, dict[str, Any]] = {
        "file": {"logconfig": path},
        "environment": {"env": {"HCRS_LOGCONFIG": path}},
        "flag": {"flags": [f"--log-config={path}"]},
    }
    server = serve("plain.py:app", **ways[how])
    connect_h1(server.listener).get("/fail?after=nothing")
    wait_until(lambda: log.exists() and "Teapot" in log.read_text(), "the traceback")


@shows(
    "plain.py:app",
    loglevel="info",
    logconfig_dict={
        "version": 1,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": "<folder>/app.log"}},
        "loggers": {"hypercorn.error": {"handlers": ["file"], "propagate": False}},
    },
)
def test_the_workers_logging_is_configured_by_a_table(
    server: Server, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    connect_h1(server.listener).get("/fail?after=nothing")
    log = tmp_path / "app.log"
    wait_until(lambda: log.exists() and "Teapot" in log.read_text(), "the traceback")


@shows(
    "plain.py:app",
    statsd_host="127.0.0.1:<port>",
    statsd_prefix="shop",
    dogstatsd_tags="env:test,zone:1",
)
def test_metrics_go_where_they_are_wanted(
    server: Server, udp: socket.socket, connect_h1: Callable[..., H1Client]
) -> None:
    connect_h1(server.listener).get()
    assert re.search(rb"^shop\.hypercorn\.requests:1\|c\|@1\.0\|#env:test,zone:1$", udp.recv(65_536), re.MULTILINE)
