"""The way over: how another server was started becomes a configuration with which hcrs starts and serves."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.server import APPS, DEADLINE, Server, command, wait_until

#: How the app of these tests is named where a server is told a folder besides.
PLAIN = ["plain:app", "--app-dir", str(APPS)]

NO_COUNTERPART = "# Without an exact counterpart:"


def run(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """``hcrs migrate`` with these arguments."""
    result = subprocess.run(
        [command(), "migrate", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == code, result.stderr + result.stdout
    return result


def settings(toml: str) -> dict[str, str]:
    """Key and literal of each line, which has to say what it came from."""
    found = {}
    for line in toml.partition(NO_COUNTERPART)[0].splitlines():
        if line and not line.startswith(("#", "[hcrs]")):
            setting = re.fullmatch(r"(\w+) = (.+?)  +# (.+)", line)
            assert setting, line
            found[setting[1]] = setting[2]
    return found


def notes(toml: str) -> str:
    return toml.partition(NO_COUNTERPART)[2]


@pytest.fixture
def migrate(tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Migrates into a file. Returns its text and its path."""

    def made(*arguments: str) -> tuple[str, Path]:
        path = tmp_path / "hypercorn.toml"
        result = run(tmp_path, "-o", str(path), *arguments)
        assert (result.stdout, result.stderr) == (f"wrote {path}\n", "")
        return path.read_text(), path

    return made


@pytest.fixture
def start(serve: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    """Starts hcrs with what was made and nothing else, in the folder where it was made."""

    def started(config: Path, **options: Any) -> Server:
        return serve(None, config_file=config, cwd=tmp_path, **options)

    return started


def access_lines(server: Server, count: int) -> list[str]:
    def lines() -> list[str] | None:
        found = [line for line in server.output.splitlines() if "[INFO]" in line]
        return found if len(found) >= count else None

    return list(wait_until(lines, "the access log"))


# ---- Uvicorn ----


def test_uvicorns_command_with_tls_is_served(
    migrate: Callable[..., tuple[str, Path]],
    start: Callable[..., Server],
    browse: Callable[..., httpx.Client],
    certificate: dict[str, str],
) -> None:
    toml, path = migrate(
        "--", "uvicorn", *PLAIN, "--host", "127.0.0.1", "--port", "0", "--workers", "2", "--log-level", "info",
        "--access-log", "--timeout-keep-alive", "7", "--limit-concurrency", "100", "--backlog", "512",
        "--ssl-certfile", certificate["certfile"], "--ssl-keyfile", certificate["keyfile"],
        "--timeout-worker-healthcheck", "9",
    )
    assert settings(toml) == {
        "application_path": f'"{APPS}/plain:app"',
        "bind": '["127.0.0.1:0"]',
        "backlog": "512",
        "workers": "2",
        "keep_alive_timeout": "7",
        "graceful_timeout": "90",
        "startup_timeout": "600",
        "certfile": f'"{certificate["certfile"]}"',
        "keyfile": f'"{certificate["keyfile"]}"',
        "h11_max_incomplete_size": "65536",
        "websocket_ping_interval": "20",
        "accesslog": '"-"',
        "access_log_format": r'"%(h)s - \"%(m)s %(Uq)s HTTP/%(H)s\" %(s)s"',
        "loglevel": '"info"',
        "max_connections": "200",
        "io_threads": "1",
        "forwarded_allow_ips": '["127.0.0.1", "::1"]',
    }
    assert "--timeout-worker-healthcheck 9: worker_timeout of [hcrs] covers more" in notes(toml)
    server = start(path)
    assert len(server.worker_pids()) == 2
    assert server.listener.scheme == "https"
    response = browse(server, http2=False).get("/?q=1")
    assert (response.status_code, response.text) == (200, "hello")
    [line] = access_lines(server, 1)
    assert re.search(r'127\.0\.0\.1:\d+ - "GET /\?q=1 HTTP/1\.1" 200$', line), line


def test_uvicorns_limit_of_concurrency_bounds_connections(
    migrate: Callable[..., tuple[str, Path]], start: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    _, path = migrate("uvicorn", *PLAIN, "--port", "0", "--limit-concurrency", "1")
    server = start(path)
    first = connect_h1(server.listener)
    assert first.get().status == 200
    H1Client(server.listener).assert_cut()
    assert first.get().status == 200


def test_uvicorns_json_is_served_without_access_log_and_with_trusted_proxies(
    migrate: Callable[..., tuple[str, Path]],
    start: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    tmp_path: Path,
) -> None:
    (tmp_path / "uvicorn.json").write_text(
        json.dumps({
            "app": "settings:app", "app_dir": str(APPS), "host": "127.0.0.1", "port": 0, "access_log": False,
            "log_level": "warning", "root_path": "/below", "server_header": False, "timeout_keep_alive": 11,
            "lifespan": "on", "headers": [["X-A", "b"]], "ssl_keyfile_password": None,
        })
    )
    toml, path = migrate("uvicorn.json")
    assert settings(toml)["keep_alive_timeout"] == "11"
    assert "X-A:b: add fields to every response in the app" in notes(toml)
    toml = toml.replace('loglevel = "warning"', 'loglevel = "info"')  # by which the tests see that it runs
    path.write_text(toml)
    server = start(path)
    response = connect_h1(server.listener).get("/scope", "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n")
    told = json.loads(response.body)
    assert (told["root_path"], told["path"]) == ("/below", "/below/scope")
    assert (told["scheme"], told["client"]) == ("https", "192.0.2.7")
    assert response.header("server") is None
    assert server.output == ""


def test_uvicorns_unix_socket_is_open_to_all_users(
    migrate: Callable[..., tuple[str, Path]], start: Callable[..., Server], tmp_path: Path
) -> None:
    _, path = migrate(f"uvicorn {shlex.join(PLAIN)} --uds {tmp_path}/socket --factory --app-dir {tmp_path}")
    (tmp_path / "plain.py").write_text(
        f"import sys\nsys.path.insert(0, {str(APPS)!r})\nfrom importlib.util import *\n"
        f"spec = spec_from_file_location('real', {str(APPS / 'plain.py')!r})\n"
        "real = module_from_spec(spec)\nspec.loader.exec_module(real)\n"
        "def app():\n    return real.app\n"
    )
    start(path)
    assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o666
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{tmp_path}/socket")) as client:
        assert client.get("http://localhost/").text == "hello"


# ---- Gunicorn ----


def test_gunicorns_file_with_uvicorns_workers_is_served(
    migrate: Callable[..., tuple[str, Path]],
    start: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    tmp_path: Path,
) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "import os\n"
        "bind = ['127.0.0.1:0']\n"
        "workers = len('ab')\n"
        "worker_class = 'uvicorn.workers.UvicornWorker'\n"
        "worker_connections = 500\n"
        "timeout = 120\n"
        "keepalive = 65\n"
        "max_requests = 1000\n"
        "max_requests_jitter = 50\n"
        "preload_app = True\n"
        "accesslog = '-'\n"
        f"wsgi_app = {str(APPS / 'plain')!r} + ':app'\n"
        "def post_fork(server, worker):\n    pass\n"
        "print('as it is evaluated')\n"
    )
    toml, path = migrate("gunicorn.conf.py")
    made = settings(toml)
    expected = {
        "application_path": f'"asgi:{APPS}/plain:app"', "workers": "2", "keep_alive_timeout": "65",
        "max_requests": "1000", "max_requests_jitter": "50", "graceful_timeout": "30", "backlog": "2048", "worker_timeout": "120",
        "websocket_ping_interval": "20", "forwarded_allow_ips": '["127.0.0.1", "::1"]',
    }
    assert {key: made[key] for key in expected} == expected
    assert made["preload"] == "true"
    for without in ("worker_connections = 500: ", "post_fork: move it to a module"):
        assert without in notes(toml)
    server = start(path)
    assert len(server.worker_pids()) == 3, "two workers and their template"
    assert connect_h1(server.listener).get("/?q=1").body == b"hello"
    assert re.search(r'- "GET /\?q=1 HTTP/1\.1" 200$', access_lines(server, 1)[0])


def test_gunicorns_command_with_its_file_serves_a_wsgi_app_one_request_at_a_time(
    migrate: Callable[..., tuple[str, Path]], start: Callable[..., Server], connect_h1: Callable[..., H1Client], tmp_path: Path
) -> None:
    (tmp_path / "conf.py").write_text(
        "import os\nbind = '127.0.0.1:' + os.environ['AT']\nworkers = 3\nkeepalive = 9\nloglevel = 'warning'\n"
        "raw_env = ['SCRIPT_NAME=/mounted']\n"
    )
    toml, path = migrate(
        f"AT=0 {Path(command()).parent}/gunicorn -c conf.py --access-logfile - --workers 1 --chdir {APPS} wsgi:app"
    )
    made = settings(toml)
    assert (made["application_path"], made["chdir"]) == ('"wsgi:wsgi:app"', f'"{APPS}"')
    assert (made["workers"], made["wsgi_threads"], made["keep_alive_timeout"]) == ("1", "1", "9")
    assert made["python"] == f'"{Path(command()).parent}/python"'
    assert made["loglevel"] == '"info"', "or there would be no access lines"
    server = start(path)
    environ = eval(connect_h1(server.listener).get("/mounted/environ?a=1", "User-Agent: tests\r\n").body)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/mounted", "/environ")
    assert environ["wsgi.multithread"] is False
    line = access_lines(server, 1)[0]
    assert re.search(r'"GET /mounted/environ\?a=1 1\.1" 200 \d+ "-" "tests"$', line), line


def test_gunicorns_own_file_of_the_folder_is_followed_unasked(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 7\nclass Mine: pass\nworker_class = Mine\n")
    toml = run(tmp_path, "--", "gunicorn", "m:a").stdout
    assert settings(toml)["workers"] == "7"
    assert "worker_class = <class 'configuration.Mine'>: the class is not known" in notes(toml)


def test_file_in_python_that_fails_is_reported_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("workers = 1 / 0\n")
    result = run(tmp_path, "gunicorn.conf.py", code=78)
    assert "ZeroDivisionError" in result.stderr and result.stdout == ""


# ---- Granian and Hypercorn ----


def test_granians_command_serves_an_asgi_app(
    migrate: Callable[..., tuple[str, Path]], start: Callable[..., Server], connect_h1: Callable[..., H1Client]
) -> None:
    toml, path = migrate(
        "--", "granian", "--interface", "asginl", "--host", "127.0.0.1", "--port", "0", "--workers", "2",
        "--access-log", "--working-dir", str(APPS), "--workers-max-rss", "100", "plain:app",
    )
    assert "--workers-max-rss 100: " in notes(toml)
    server = start(path)
    assert len(server.worker_pids()) == 2
    client = connect_h1(server.listener)
    assert client.get("/?q=1").body == b"hello"
    line = access_lines(server, 1)[0]
    assert re.search(r'\[.+\] 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 \d+$', line), line
    assert server.stop() == 0
    assert "lifespan" not in server.log, "asginl has none"


def test_granians_command_serves_a_wsgi_app_over_tls(
    migrate: Callable[..., tuple[str, Path]],
    start: Callable[..., Server],
    browse: Callable[..., httpx.Client],
    certificate: dict[str, str],
) -> None:
    toml, path = migrate(
        "--", "GRANIAN_WORKERS=1", "python", "-m", "granian", "--interface", "wsgi", "--port", "0", "--blocking-threads",
        "3", "--working-dir", str(APPS), "--http", "2", "--ssl-certificate", certificate["certfile"], "--ssl-keyfile",
        certificate["keyfile"], "wsgi:app",
    )
    made = settings(toml)
    assert (made["alpn_protocols"], made["minimum_version"]) == ('["h2"]', '"1.3"')
    response = browse(start(path)).get("/environ")
    environ = eval(response.text)
    assert (response.http_version, environ["wsgi.multithread"]) == ("HTTP/2", True)


def test_hypercorns_command_passes_as_it_is_with_its_file(
    migrate: Callable[..., tuple[str, Path]],
    start: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    tmp_path: Path,
) -> None:
    (tmp_path / "h.toml").write_text("workers = 2\nroot_path = '/file'\nbacklog = 5\n[hcrs]\nqueue_size = 9\n")
    toml, path = migrate("--", "hypercorn", "-c", "h.toml", "--root-path", "/flag", "-b", "127.0.0.1:0", f"{APPS}/plain:app")
    assert settings(toml) == {
        "application_path": f'"{APPS}/plain:app"', "bind": '["127.0.0.1:0"]', "backlog": "5", "root_path": '"/flag"',
        "workers": "2", "queue_size": "9",
    }
    assert "# h.toml:3\n" in toml
    server = start(path)
    assert eval(connect_h1(server.listener).get("/scope").body)["root_path"] == "/flag"


def test_hypercorns_file_in_python_passes_as_it_is(
    migrate: Callable[..., tuple[str, Path]],
    start: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    tmp_path: Path,
) -> None:
    (tmp_path / "hypercorn_config.py").write_text(
        f"bind = '127.0.0.1:0'\nworkers = 1 + 1\napplication_path = {str(APPS / 'plain')!r} + ':app'\nmine = 5\n"
    )
    toml, path = migrate("hypercorn_config.py")
    assert "mine" not in toml
    server = start(path)
    assert len(server.worker_pids()) == 2
    assert connect_h1(server.listener).get().body == b"hello"


# ---- units of systemd ----


def test_unit_is_migrated_to_start_hcrs_with_type_notify(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    bin_folder = Path(command()).parent
    (tmp_path / "app.env").write_text("WORKERS=2\n")
    (tmp_path / "web.service").write_text(
        "[Unit]\nDescription=The site\nAfter=network.target\n\n"
        "[Service]\nType=simple\n"
        f"WorkingDirectory={tmp_path}\nEnvironment=\"GREETING=two words\" PORT=1\nEnvironmentFile={tmp_path}/app.env\n"
        f"ExecStart={bin_folder}/gunicorn \\\n    -k uvicorn.workers.UvicornWorker \\\n    # where\n"
        f"    -w ${{WORKERS}} --bind unix:{tmp_path}/socket \\\n    --access-logfile - --access-logformat '%%(m)s' "
        f"{APPS}/plain:app\n"
        "ExecReload=/bin/kill -s HUP $MAINPID\nRestart=on-failure\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    result = run(tmp_path, "--systemd", "web.service", "-o", "web.toml", "--unit-output", "new.service")
    assert result.stdout == "wrote new.service\nwrote web.toml\n"
    unit = (tmp_path / "new.service").read_text()
    holds = [line for line in unit.splitlines() if line and not line.startswith("#")]
    assert holds == [
        "[Unit]", "Description=The site", "After=network.target",
        "[Service]", "Type=notify", f"WorkingDirectory={tmp_path}", 'Environment="GREETING=two words" PORT=1',
        f"EnvironmentFile={tmp_path}/app.env",
        f"ExecStart={command()} --config {tmp_path}/web.toml --bind unix:{tmp_path}/socket",
        "KillMode=mixed", "TimeoutStopSec=100", "TimeoutStartSec=620",
        "ExecReload=/bin/kill -s HUP $MAINPID", "Restart=on-failure",
        "[Install]", "WantedBy=multi-user.target",
    ]
    assert "# [Socket]" in unit and f"# ListenStream={tmp_path}/socket" in unit

    # Started as systemd does it.
    _, _, config, *flags = shlex.split(next(line for line in holds if line.startswith("ExecStart="))[len("ExecStart="):])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PORT": "1", "GREETING": "two words", "WORKERS": "2"}
        server = start(Path(config), flags=flags, env=environment)
        while b"READY=1" not in (told := manager.recv(4096)):
            assert told.startswith(b"STATUS=Starting"), told
    assert len(server.worker_pids()) == 2
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{tmp_path}/socket")) as client:
        assert client.get("http://localhost/").text == "hello"


def test_socket_that_systemd_holds_is_served(start: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "web.service").write_text(
        f"[Unit]\nRequires=web.socket\n[Service]\nExecStart={Path(command()).parent}/gunicorn -w 1 --chdir {APPS} wsgi:app\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as held:
        (tmp_path / "web.socket").write_text(f"[Socket]\nListenStream={held.getsockname()[1]}\n")
        printed = run(tmp_path, "web.service").stdout
        unit, _, toml = printed.partition("# ---- /etc/hcrs/web.toml ----\n")
        assert f"ExecStart={command()} --config /etc/hcrs/web.toml\n" in unit
        assert settings(toml)["bind"] == '["fd://3"]'
        # The descriptor has another number here.
        (tmp_path / "web.toml").write_text(toml.replace("fd://3", f"fd://{held.fileno()}"))
        assert f"WorkingDirectory={APPS}\n" in unit and "chdir" not in toml
        start(tmp_path / "web.toml", pass_fds=[held.fileno()], flags=["--chdir", str(APPS)])
        assert httpx.get(f"http://127.0.0.1:{held.getsockname()[1]}/environ").status_code == 200


# ---- the command itself ----


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    (tmp_path / "there.toml").write_text("mine")
    result = run(tmp_path, "-o", "there.toml", "uvicorn", "m:a", code=1)
    assert "there.toml exists; use --force to replace it" in result.stderr
    assert (tmp_path / "there.toml").read_text() == "mine"
    run(tmp_path, "-o", "there.toml", "--force", "uvicorn", "m:a")
    assert 'application_path = "m:a"' in (tmp_path / "there.toml").read_text()


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.json").write_text('{"prot": 80, "workers": "many", "port": 70000}')
    result = run(tmp_path, "uvicorn.json", code=78)
    assert result.stdout == ""
    for told in ("did you mean port?", "expected a whole number", 'uvicorn.json: workers = "many"', "70000"):
        assert told in result.stderr
    run(tmp_path, code=2)
    run(tmp_path, "--from", "daphne", "x.json", code=2)
    assert "hcrs migrate [OPTIONS] FILE" in run(tmp_path, "--help").stdout
