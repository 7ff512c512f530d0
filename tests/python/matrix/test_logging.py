"""Logs of apps that were written for Uvicorn or Gunicorn."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from end_to_end.server import Server
from matrix.servers import running
from matrix.talks import Talk
from parity.conversation import Request

#: What ``uvicorn --log-config`` is often given: Uvicorn's own formatters, and the app's logs in the same form.
FOR_UVICORN = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s {mine} %(message)s", "use_colors": False},
        "access": {
            "()": "uvicorn.logging.AccessFormatter",
            "fmt": '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s',
            "use_colors": False,
        },
    },
    "handlers": {
        "default": {"formatter": "default", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"},
        "access": {"formatter": "access", "class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "uvicorn.error": {"level": "INFO"},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        "site": {"handlers": ["default"], "level": "INFO", "propagate": False},
    },
}


def ask(servers: dict[str, Server], *targets: str) -> None:
    """Asks all servers for these."""
    for server in servers.values():
        for target in targets:
            assert Talk(server.listener, "h1").ask(Request(target=target))["status"] in (200, 500)


def said(server: Server, pattern: str, last: str) -> list[str]:
    """The matches of a pattern in the log, once the last of them is there."""
    server.wait_for_log(last)
    return [found[0] for found in re.finditer(pattern, server.log, re.MULTILINE)]


def test_what_apps_say_to_uvicorns_loggers_is_logged(tmp_path: Path) -> None:
    with running(tmp_path, "logging_behind.py:uvicorn", ("hcrs", "uvicorn")) as servers:
        ask(servers, "/logged")
        for server in servers.values():
            assert said(server, "told to .*", "told to uvicorn.error") == [
                "told to uvicorn at the start",
                "told to uvicorn.error",
            ]


def test_what_apps_say_to_gunicorns_logger_is_logged(tmp_path: Path) -> None:
    with running(tmp_path, "logging_behind.py:gunicorn", ("hcrs", "gunicorn")) as servers:
        ask(servers, "/logged")
        for server in servers.values():
            assert said(server, "told (to|by) .*", "told to gunicorn.error") == ["told by the app", "told to gunicorn.error"]


def test_a_log_configuration_for_uvicorn(tmp_path: Path) -> None:
    file = tmp_path / "log.json"
    file.write_text(json.dumps(FOR_UVICORN))
    flags = {"hcrs": ["--log-config", f"json:{file}"], "uvicorn": ["", "", "--log-config", str(file)]}
    with running(tmp_path, "logging_behind.py:uvicorn", ("hcrs", "uvicorn"), flags) as servers:
        ask(servers, "/logged", "/error")
        lines = {}
        for kind, server in servers.items():
            found = said(server, "^.*{mine}.*$|^.*RuntimeError: .*$", "^RuntimeError: as it was told to")
            lines[kind] = [line for line in found if re.search("told|Error|ASGI", line)]
        # Each server has words of its own for the app's error.
        own = {"hcrs": "Error in ASGI Framework", "uvicorn": "Exception in ASGI application"}
        for kind, words in own.items():
            assert lines[kind] == [
                "INFO:     {mine} told to uvicorn at the start",
                "INFO:     {mine} told to uvicorn.error",
                f"ERROR:    {{mine}} {words}",
                "RuntimeError: as it was told to",
            ]


def test_loguru_has_all_of_pythons_logging(tmp_path: Path) -> None:
    flags = {"uvicorn": ["", "", "--factory"]}
    with running(tmp_path, "logging_behind.py:with_loguru()", ("hcrs", "uvicorn"), flags) as servers:
        ask(servers, "/logged", "/error")
        told = {kind: Talk(server.listener, "h1").told("/recorded") for kind, server in servers.items()}
    site = [["WARNING", "from Python's logging", None], ["INFO", "from loguru", None]]
    for records in told.values():
        assert [record for record in records if record in site] == site
        assert [record[2] for record in records if record[0] == "ERROR"] == ["RuntimeError"]


def test_structlog_renders_all_of_pythons_logging(tmp_path: Path) -> None:
    flags = {"uvicorn": ["", "", "--factory"]}
    with running(tmp_path, "logging_behind.py:with_structlog()", ("hcrs", "uvicorn"), flags) as servers:
        ask(servers, "/logged", "/error")
        for server in servers.values():
            events = [json.loads(line) for line in said(server, "^{.*}$", "RuntimeError: as it was told to")]
            assert [event for event in events if event["level"] == "warning"] == [
                {"event": "from structlog", "level": "warning", "number": 1, "user": "ada"},
                {"event": "from Python's logging", "level": "warning", "user": "ada"},
            ]
            errors = [event for event in events if event["level"] == "error"]
            assert len(errors) == 1 and "RuntimeError: as it was told to" in errors[0]["exception"]


@pytest.mark.parametrize(
    ("app", "worker_class"), [("app", "asyncio"), ("app", "uvloop"), ("on_trio", "trio"), ("wsgi", "asyncio")]
)
def test_log_records_of_an_error_are_in_its_requests_context(app: str, worker_class: str, tmp_path: Path) -> None:
    if worker_class == "uvloop" and sys.version_info < (3, 11):
        pytest.skip("tasks of this loop do not tell their context before Python 3.11")
    with running(tmp_path, f"in_context.py:{app}", ("hcrs",), worker_class=worker_class) as servers:
        for path in ("/at-once", "/later"):
            assert Talk(servers["hcrs"].listener, "h1").ask(Request(target=path))["status"] == 500
            servers["hcrs"].wait_for_log(rf"Error in (ASGI|WSGI) Framework \(request {path}\)")
