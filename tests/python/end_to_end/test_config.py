"""Configuration as an operator meets it: file, flags, mistakes, logs."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import APPS, Server, command, wait_until


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run that ends by itself."""
    return subprocess.run(
        [command(), *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=False
    )


def test_flags_win_over_the_file_and_lists_are_replaced(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    server = serve(
        "wsgi.py:app",
        bind=[f"unix:{tmp_path}/a"],
        workers=3,
        root_path="/file",
        flags=["--bind", f"unix:{tmp_path}/b", "-w", "2", str(APPS / "plain.py") + ":app"],
    )
    assert [listener.path for listener in server.listeners] == [f"{tmp_path}/b"]
    assert not (tmp_path / "a").exists()
    assert len(server.worker_pids()) == 2
    scope = eval(connect_h1(server.listener).get("/scope").body)
    assert scope["root_path"] == "/file", "what no flag says comes from the file"


def test_app_is_found_from_the_working_directory(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "web.py").write_text(
        "def make(word):\n"
        "    async def app(scope, receive, send):\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "        await send({'type': 'http.response.body', 'body': word})\n"
        "    return app\n"
    )
    server = serve(None, cwd=tmp_path, flags=["package.web:make(b'made')"])
    assert connect_h1(server.listener).get().body == b"made"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bind = '127.0.0.1:0'\nworkers = 'two'\n", ["hcrs.toml:2:11", "workers", "expected a whole number"]),
        ("[hcrs]\nqueue_timeout = true\n", ["hcrs.toml:2", "queue_timeout"]),
        ("bind = [\n  '127.0.0.1:99999'\n]\n", ["hcrs.toml:2:3", "127.0.0.1:99999"]),
        ("workers = \n", ["hcrs.toml:1"]),
        ("worker_class = 'gevent'\n", ["hcrs.toml:1:16", "worker_class"]),
        ("certfile = 'cert.pem'\n", ["keyfile is not"]),
        ("verify_mode = 3\n", ["verify_mode", "CERT_REQUIRED"]),
    ],
)
def test_mistake_in_the_file_is_shown_with_its_place(tmp_path: Path, text: str, words: Any) -> None:
    (tmp_path / "hcrs.toml").write_text(text)
    result = run(tmp_path, "--config", "hcrs.toml")
    assert (result.returncode, result.stdout) == (78, "")
    for word in words:
        assert word in result.stderr


def test_every_mistake_is_shown_at_once(tmp_path: Path) -> None:
    (tmp_path / "hcrs.toml").write_text("workers = 'two'\nbacklog = -1\n")
    result = run(tmp_path, "--config", "hcrs.toml", "--worker-class", "threads")
    assert result.returncode == 78
    assert all(word in result.stderr for word in ("workers", "backlog", "--worker-class"))


def test_unknown_key_is_a_warning_that_names_what_was_meant(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", log_level="debug", keep_alive_timout=1)
    assert connect_h1(server.listener).get().status == 200
    warnings = [line for line in server.log.splitlines() if "unknown key" in line]
    assert "log_level is taken as loglevel" in server.log
    assert any("keep_alive_timout" in line and "keep_alive_timeout" in line for line in warnings), server.log


def test_key_that_is_ignored_is_named_with_the_reason(serve: Callable[..., Server]) -> None:
    server = serve("plain.py:app", daemon=True)
    assert re.search(r"daemon is ignored: Workers are ordinary processes", server.log)


def test_certificates_are_read_again_on_a_signal_and_broken_ones_are_not(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    def make() -> None:
        subprocess.run([command(), "cert", "dev", "--force", "--dir", str(tmp_path)], check=True, capture_output=True)

    def presented() -> Any:
        return ssl.get_server_certificate(("127.0.0.1", server.listener.port))

    make()
    server = serve(
        "plain.py:app",
        bind="127.0.0.1:0",
        certfile=str(tmp_path / "cert.pem"),
        keyfile=str(tmp_path / "key.pem"),
    )
    first = presented()
    make()
    server.signal(signal.SIGHUP)
    server.wait_for_log("The certificates were read again")
    second = presented()
    assert first != second
    (tmp_path / "key.pem").write_text("broken")
    server.signal(signal.SIGHUP)
    server.wait_for_log("The certificates cannot be read again, .*key.pem")
    assert presented() == second
    make()
    server.wait_for_log("The certificates were read again", count=2)
    assert presented() not in (first, second), "what has changed is found without a signal"


def test_clients_have_to_show_a_certificate_when_they_are_asked_to(
    serve: Callable[..., Server], certificate: dict[str, str]
) -> None:
    server = serve(
        "plain.py:app",
        bind="127.0.0.1:0",
        loglevel="debug",
        ca_certs=certificate["certfile"],
        verify_mode=2,
        **certificate,
    )
    context = ssl.create_default_context(cafile=certificate["certfile"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the client learns of it in the handshake
    with (
        socket.create_connection(("127.0.0.1", server.listener.port), timeout=10) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection, server_hostname="localhost")
    server.wait_for_log("TLS handshake failed: .*certificate")


def test_file_that_people_write_starts_unchanged(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve(
        "plain.py:app",
        bind=["127.0.0.1:0"],
        workers=4,
        worker_class="asyncio",
        log_level="info",
        access_log="-",
        keep_alive_timeout=5,
        graceful_timeout=30,
    )
    assert connect_h1(server.listener).get().status == 200
    assert len(server.worker_pids()) == 4
    wait_until(lambda: '"GET / 1.1" 200' in server.output, "the line of the access log")


def test_configuration_in_python_and_variables_are_obeyed(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    (tmp_path / "conf.py").write_text("import os\nroot_path = '/' + 'mounted'\nworkers = 3\n")
    server = serve(
        "plain.py:app",
        env={"WEB_CONCURRENCY": "2"},
        flags=["--config", f"file:{tmp_path / 'conf.py'}", "-b", "127.0.0.1:0", str(APPS / "plain.py") + ":app"],
    )
    assert eval(connect_h1(server.listener).get("/scope").body)["root_path"] == "/mounted"
    assert len(server.worker_pids()) == 2


def test_wrong_flag_and_missing_file_have_their_exit_codes(tmp_path: Path) -> None:
    assert run(tmp_path, "--no-such-flag").returncode == 2
    missing = run(tmp_path, "--config", "missing.toml")
    assert missing.returncode == 78
    assert "missing.toml" in missing.stderr
    (tmp_path / "hcrs.toml").write_text("certfile = 'no.pem'\nkeyfile = 'no.pem'\n")
    assert run(tmp_path, "-c", "hcrs.toml").returncode == 78


def test_help_and_version_go_to_standard_output(tmp_path: Path) -> None:
    helped = run(tmp_path, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "--bind" in helped.stdout and "Deadlines" in helped.stdout
    version = run(tmp_path, "--version")
    assert re.fullmatch(r"hcrs \d+\.\d+\.\d+\n", version.stdout)


def test_missing_interpreter_is_named(launch: Callable[..., Server]) -> None:
    server = launch("plain.py:app", flags=["--python", "/nowhere/python3"])
    assert server.wait_for_exit() == 1
    assert "/nowhere/python3" in server.log


def test_interpreter_without_hcrs_is_named_with_a_remedy(launch: Callable[..., Server], tmp_path: Path) -> None:
    subprocess.run(["python3", "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    server = launch("plain.py:app", flags=["--python", f"{tmp_path}/venv/bin/python"])
    assert server.wait_for_exit() == 1
    assert "hcrs is not installed in" in server.log and "-m pip install hcrs" in server.log


ERROR_LINE = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[(DEBUG|INFO|WARNING|ERROR)\] .+$"


def test_error_log_has_hypercorns_form(serve: Callable[..., Server]) -> None:
    server = serve("plain.py:app", tls=True, insecure_bind="127.0.0.1:0")
    lines = server.log.splitlines()
    assert len(lines) == 2
    for line, scheme in zip(lines, ("https", "http"), strict=True):
        assert re.fullmatch(ERROR_LINE, line)
        assert f"[{server.pid}] [INFO] Running on {scheme}://127.0.0.1:" in line


def test_error_log_goes_to_a_file(launch: Callable[..., Server], tmp_path: Path) -> None:
    server = launch("plain.py:app", errorlog=f"{tmp_path}/error.log")
    path = tmp_path / "error.log"
    wait_until(lambda: path.exists() and "Running on" in path.read_text(), "the log")
    assert server.stop() == 0
    assert server.log.replace("lifespan.shutdown was seen\n", "") == ""


@pytest.mark.parametrize("level", ["warning", "ERROR"])
def test_level_of_the_log_is_obeyed(launch: Callable[..., Server], level: str, tmp_path: Path) -> None:
    server = launch("plain.py:app", loglevel=level, accesslog="-", pid_path=f"{tmp_path}/pid", bind=f"unix:{tmp_path}/s")
    wait_until((tmp_path / "s").exists, "the socket")
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{tmp_path}/s", retries=20)) as client:
        assert client.get("http://localhost/").text == "hello"
    assert server.stop() == 0
    assert server.log == "lifespan.shutdown was seen\n"
    assert server.output == ""


@pytest.mark.parametrize("bind", ["127.0.0.1", "unix"])
def test_a_second_start_leaves_the_first_servers_pid_file_and_address_alone(
    serve: Callable[..., Server],
    launch: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    tmp_path: Path,
    bind: str,
) -> None:
    pid_path = tmp_path / "edge.pid"
    first = serve(
        "plain.py:app", bind=f"unix:{tmp_path}/socket" if bind == "unix" else "127.0.0.1:0", pid_path=str(pid_path)
    )
    again = f"unix:{tmp_path}/socket" if bind == "unix" else first.listener.authority
    second = launch("plain.py:app", bind=again, pid_path=str(pid_path))
    assert second.wait_for_exit() == 1
    assert f"cannot listen on {again}" in second.log
    assert pid_path.read_text() == str(first.pid)
    assert connect_h1(first.listener).get().status == 200


def test_pid_file_names_the_edge_and_goes_with_it(serve: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = serve("plain.py:app", pid_path=str(path))
    assert path.read_text() == str(server.pid)
    assert server.stop() == 0
    assert not path.exists()


def test_access_log_has_hypercorns_default_form(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", accesslog="-")
    h1 = connect_h1(server.listener)
    h1.get("/?q=1", headers="user-agent: tests/1\r\nreferer: http://a/\r\n")
    h1.get("/missing%20path")
    h1.get("/fail?after=nothing")
    h2 = connect_h2(server.listener)
    h2.get("/echo")
    stream = h2.request("GET", "/forever?key=f")
    h2.get("/note?key=f")
    h2.reset(stream)
    h2.get()
    addresses = [":".join(map(str, client.socket.getsockname())) for client in (h1, h2)]
    h1.close()
    h2.close()
    lines = wait_until(
        lambda: (found := server.output.splitlines()) and len(found) >= 7 and found, "the lines of the log"
    )
    prefix = rf"\[\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{{4}}\] \[{server.pid}\] \[INFO\] "
    time = r"- - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    expected = [
        rf'{addresses[0]} {time} "GET / 1\.1" 200 5 "http://a/" "tests/1"',
        rf'{addresses[0]} {time} "GET /missing path 1\.1" 404 17 "-" "-"',
        rf'{addresses[0]} {time} "GET /fail 1\.1" 500 - "-" "-"',
        rf'{addresses[1]} {time} "GET /echo 2" 200 - "-" "-"',
        rf'{addresses[1]} {time} "GET /note 2" 200 5 "-" "-"',
        rf'{addresses[1]} {time} "GET /forever 2" - - "-" "-"',
        rf'{addresses[1]} {time} "GET / 2" 200 5 "-" "-"',
    ]
    for line, form in zip(lines, expected, strict=True):
        assert re.fullmatch(prefix + form, line), (line, form)


def test_clients_cannot_forge_lines_of_the_access_log(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    server = serve("plain.py:app", accesslog="-")
    client = connect_h1(server.listener)
    client.get("/%0a[INFO]%20forged%1b[2J", headers='user-agent: "quoted" \\x\r\n')
    client.close()
    line = wait_until(lambda: server.output, "the line")
    assert line.count("\n") == 1 and "\x1b" not in line
    assert '\\"quoted\\"' in line or '"quoted"' not in line


def test_access_log_in_a_file_is_opened_anew_on_sigusr1(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    import signal

    path = tmp_path / "access.log"
    server = serve("plain.py:app", accesslog=str(path))
    client = connect_h1(server.listener)
    client.get("/first")
    wait_until(lambda: "/first" in path.read_text(), "the first line")
    path.rename(tmp_path / "access.log.1")
    server.signal(signal.SIGUSR1)
    wait_until(path.exists, "the new file")
    client.get("/second")
    wait_until(lambda: "/second" in path.read_text(), "the second line")
    assert "/second" not in (tmp_path / "access.log.1").read_text()


def test_server_and_date_headers_can_be_left_out(
    serve: Callable[..., Server], connect_h1: Callable[..., Any], connect_h2: Callable[..., Any]
) -> None:
    server = serve("plain.py:app", include_date_header=False, include_server_header=False)
    response = connect_h1(server.listener).get()
    assert (response.header("date"), response.header("server")) == (None, None)
    response = connect_h2(server.listener).get()
    assert (response.header(b"date"), response.header(b"server")) == (None, None)
