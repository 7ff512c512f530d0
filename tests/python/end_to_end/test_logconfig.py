"""How ``logconfig`` and ``logconfig_dict`` configure the workers' logging."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import Server, wait_until


def test_logconfig_is_applied_in_the_workers(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    ini = tmp_path / "log.ini"
    ini.write_text(
        """
[loggers]
keys=root, hypercorn
[handlers]
keys=file
[formatters]
keys=plain
[logger_root]
handlers=
[logger_hypercorn]
qualname=hypercorn.error
handlers=file
propagate=0
[handler_file]
class=FileHandler
args=("%(here)s/app.log",)
formatter=plain
[formatter_plain]
format=configured %(levelname)s %(message)s
"""
    )
    as_json = tmp_path / "log.json"
    handler = {"class": "logging.FileHandler", "filename": str(tmp_path / "json.log")}
    logger = {"handlers": ["file"], "propagate": False}
    as_json.write_text(
        json.dumps({"version": 1, "handlers": {"file": handler}, "loggers": {"hcrs.error": logger}})
    )
    for config, written, begin in (
        (str(ini), "app.log", "configured ERROR Error in ASGI Framework"),
        (f"json:{as_json}", "json.log", "Error in ASGI Framework"),
        (str(as_json), "json.log", "Error in ASGI Framework"),
    ):
        server = serve("plain.py:app", logconfig=config)
        assert connect_h1(server.listener).get("/fail?after=nothing").status == 500
        log = tmp_path / written
        wait_until(log.exists, "the log")
        assert wait_until(log.read_text, "the log").startswith(begin)


@pytest.mark.parametrize("app", ["main:app", "src/main.py:app"])
def test_logconfig_may_name_what_stands_beside_the_app(serve: Callable[..., Server], tmp_path: Path, app: str) -> None:
    folder = tmp_path / Path(app).parent
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text(
        "import logging\n\nclass Form(logging.Formatter):\n    def format(self, record): return 'own ' + record.getMessage()\n"
    )
    (folder / "main.py").write_text(
        "import logging\n\nlogging.warning('loaded')\nasync def app(scope, receive, send): assert scope['type'] == 'http'\n"
    )
    handler = {"class": "logging.StreamHandler", "formatter": "own"}
    config = {"version": 1, "formatters": {"own": {"()": "own.Form"}}, "handlers": {"it": handler}, "root": {"handlers": ["it"]}}
    (tmp_path / "log.json").write_text(json.dumps(config))
    (tmp_path / "hcrs.toml").write_text(f"bind = '127.0.0.1:0'\napplication_path = '{app}'\nlogconfig = 'log.json'\n")
    server = serve(config_file=tmp_path / "hcrs.toml", cwd=tmp_path)
    server.wait_for_log("^own loaded$")


def test_a_logconfig_that_is_wrong_stops_the_start_with_its_name(launch: Callable[..., Server]) -> None:
    server = launch("plain.py:app", logconfig="missing.ini")
    assert server.wait_for_exit() == 1
    assert "logconfig: there is no file 'missing.ini'" in server.log


def test_logconfig_dict_is_applied_in_the_workers(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    config = {
        "version": 1,
        "formatters": {"plain": {"format": "configured %(levelname)s %(name)s %(message)s"}},
        "handlers": {
            "file": {"class": "logging.FileHandler", "filename": str(tmp_path / "app.log"), "formatter": "plain"}
        },
        "loggers": {"hypercorn.error": {"handlers": ["file"], "propagate": False}},
    }
    server = serve("plain.py:app", logconfig_dict=config)
    assert connect_h1(server.listener).get("/fail?after=nothing").status == 500
    log = tmp_path / "app.log"
    assert wait_until(lambda: log.exists() and log.read_text(), "the log").startswith(
        "configured ERROR hcrs.error Error in ASGI Framework"
    )
    arguments = connect_h1(server.listener).get("/arguments").body
    assert b"--links" in arguments and b"configured" not in arguments, "passwords in it would be seen by others"


def test_a_logconfig_dict_without_the_servers_loggers_leaves_them_alone(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    config = {"version": 1, "root": {"level": "WARNING"}}
    server = serve("plain.py:app", logconfig_dict=config, accesslog="-", access_log_format="%(r)s %(s)s")
    assert connect_h1(server.listener).get("/fail?after=nothing").status == 500
    server.wait_for_log(r"\[ERROR\] Error in ASGI Framework")
    wait_until(lambda: "GET /fail 1.1 500\n" in server.output, "the access log")


def test_errors_are_counted_also_where_the_workers_logging_is_configured(
    serve: Callable[..., Server], udp: socket.socket, connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    handler = {"class": "logging.FileHandler", "filename": str(tmp_path / "app.log")}
    loggers = {"hcrs.error": {"handlers": ["file"], "propagate": False}}
    server = serve(
        "plain.py:app",
        statsd_host=f"127.0.0.1:{udp.getsockname()[1]}",
        logconfig_dict={"version": 1, "handlers": {"file": handler}, "loggers": loggers},
    )
    connect_h1(server.listener).get("/fail?after=nothing")
    seen = b""
    while b"hypercorn.log.exception:1|c|@1.0" not in seen:
        seen += udp.recv(65_536)
    assert "Teapot" in (tmp_path / "app.log").read_text()
    assert "Teapot" not in server.log


def test_the_error_log_goes_on_by_udp_where_the_workers_logging_is_configured(
    launch: Callable[..., Server], udp: socket.socket, tmp_path: Path
) -> None:
    """Before Python 3.11 a handler for syslog that was closed could not go on."""
    launch(
        "plain.py:app",
        errorlog=f"syslog:udp://127.0.0.1:{udp.getsockname()[1]}",
        logconfig_dict={"version": 1},
        bind=f"unix:{tmp_path}/s",
    )
    assert b"Running on" in udp.recv(65_536)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/s")
        client.sendall(b"GET /fail?after=nothing HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 500 ")
    assert b"Error in ASGI Framework" in udp.recv(65_536)


def test_a_logconfig_dict_that_is_wrong_stops_the_start_and_says_what_python_says(
    launch: Callable[..., Server]
) -> None:
    server = launch("plain.py:app", logconfig_dict={"version": 2})
    assert server.wait_for_exit() == 1
    assert "Unsupported version: 2" in server.log
