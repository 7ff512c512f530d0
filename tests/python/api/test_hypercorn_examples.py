"""Programs of Hypercorn's documentation, with another import."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.conftest import DEADLINE, Program, Start
from end_to_end.server import command, wait_until

#: Apps whose answers show what came in.
APPS = '''
async def app(scope, receive, send):
    assert scope["type"] in ("http", "websocket"), scope["type"]
    host = dict(scope["headers"]).get(b"host", b"").decode()
    client = scope["client"][0]
    body = " ".join(["app", scope["scheme"], host, client, scope["root_path"] or "-", scope["path"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

def wsgi_app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi ", environ["PATH_INFO"].encode(), b" ", environ["wsgi.input"].read()]
'''


class Example:
    """Programs with the apps, whose ``serve`` announces nothing: they listen on an address that was free."""

    def __init__(self, start: Start, port: int, folder: Path) -> None:
        self._start = start
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self.folder = folder

    def start(self, source: str) -> Program:
        """Starts one, and waits until it listens."""
        program = self._start(f"{APPS}\nconfig.bind = ['{self.address}']\n{source}")
        wait_until(
            lambda: "Running on " in program.errors or program.process.poll() is not None, "to listen", DEADLINE
        )
        assert program.process.poll() is None, program.errors
        return program

    def get(self, path: str = "/", **headers: str) -> httpx.Response:
        """Asks it, over HTTP/1.1."""
        return self.send("GET", path, headers=headers)

    def send(self, method: str, path: str, **options: object) -> httpx.Response:
        """Asks it, over HTTP/1.1."""
        return httpx.request(method, self.url + path, timeout=DEADLINE, **options)  # type: ignore[arg-type]


@pytest.fixture
def example(start: Start, tmp_path: Path) -> Iterator[Example]:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    yield Example(start, port, tmp_path)


def end(program: Program) -> list[str]:
    """Ends it as Ctrl-C does."""
    program.process.send_signal(signal.SIGINT)
    return program.end()


# ---- "API usage" ----

SERVE = {
    "asyncio": "asyncio.run(serve(app, config))",
    "trio": "import trio\nfrom hcrs.trio import serve\ntrio.run(serve, app, config)",
    "uvloop": "import uvloop\nuvloop.install()\nasyncio.run(serve(app, config))",
}


@pytest.mark.parametrize("loop", SERVE)
@pytest.mark.parametrize("kind", ["app", "wsgi_app"])
def test_an_app_is_served_on_each_loop(example: Example, loop: str, kind: str) -> None:
    pytest.importorskip(loop)
    program = example.start(SERVE[loop].replace("app", kind))
    assert example.get("/a").text.split()[0] == kind.removesuffix("_app")
    end(program)


def test_the_configuration_is_exported_by_the_package_too(example: Example) -> None:
    program = example.start(f"""
import hcrs
from hcrs import Config as Exported
assert Exported is Config and hcrs.Config is Config
config = Exported.from_mapping({{"bind": ["{example.address}"], "root_path": "/root"}})
asyncio.run(serve(app, config))
""")
    assert example.get("/a").text.split()[-2:] == ["/root", "/a"]
    end(program)


def test_a_signal_handler_of_the_program_triggers_the_end(example: Example) -> None:
    program = example.start("""
import signal
shutdown_event = asyncio.Event()

def _signal_handler(*_):
    print("handled", flush=True)
    shutdown_event.set()

loop = asyncio.new_event_loop()
loop.add_signal_handler(signal.SIGTERM, _signal_handler)
loop.run_until_complete(serve(app, config, shutdown_trigger=shutdown_event.wait))
print("end")
""")
    assert example.get().status_code == 200
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == ["handled", "end"]


def test_a_trigger_that_never_completes_leaves_signals_alone(example: Example) -> None:
    program = example.start("""
loop = asyncio.new_event_loop()
loop.run_until_complete(serve(app, config, shutdown_trigger=lambda: asyncio.Future()))
""")
    assert example.get().status_code == 200
    program.process.send_signal(signal.SIGTERM)
    assert program.end(-signal.SIGTERM) == []


def test_an_exception_handler_of_the_loop_hears_of_no_handshake(example: Example, certificate: dict[str, str]) -> None:
    program = example.start(f"""
config.certfile, config.keyfile = {certificate["certfile"]!r}, {certificate["keyfile"]!r}
loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda loop, context: print("exception", context, flush=True))
loop.run_until_complete(serve(app, config))
""")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://{example.address}/", timeout=DEADLINE)  # it does not trust the certificate
    assert end(program) == []


@pytest.mark.parametrize(("mode", "status"), [("wsgi", 200), ("asgi", 500)])
def test_the_mode_can_be_forced(example: Example, mode: str, status: int) -> None:
    program = example.start(f"""
class Hidden:
    def __getattr__(self, name):
        raise AttributeError(name)
    def __call__(self, *arguments):
        return wsgi_app(*arguments)

config.hcrs = {{"lifespan": "off"}}
asyncio.run(serve(Hidden(), config, mode="{mode}"))
""")
    assert example.get().status_code == status
    end(program)


# ---- The guides ----


def test_dispatch_to_several_apps(example: Example) -> None:
    program = example.start("""
from hcrs.middleware import DispatcherMiddleware

async def graphql_app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": scope["root_path"].encode()})

dispatcher_app = DispatcherMiddleware({"/graphql": graphql_app, "/": app})
asyncio.run(serve(dispatcher_app, config))
""")
    answer = example.get("/graphql/query")
    assert (answer.status_code, answer.text) == (201, "/graphql")
    assert example.get("/style.css").text.endswith(" /style.css")
    end(program)


@pytest.mark.parametrize(
    ("mode", "headers"),
    [
        ("legacy", {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", "x-forwarded-host": "a.test"}),
        ("modern", {"forwarded": "for=192.0.2.7;proto=https;host=a.test"}),
    ],
)
def test_proxy_fix(example: Example, mode: str, headers: dict[str, str]) -> None:
    program = example.start(f"""
from hcrs.middleware import ProxyFixMiddleware
fixed_app = ProxyFixMiddleware(app, mode="{mode}", trusted_hops=1)
asyncio.run(serve(fixed_app, config))
""")
    assert example.send("GET", "/", headers=headers).text.split()[1:4] == ["https", "a.test", "192.0.2.7"]
    end(program)


def test_redirects_from_http_to_https(example: Example, certificate: dict[str, str]) -> None:
    program = example.start(f"""
from hcrs.middleware import HTTPToHTTPSRedirectMiddleware
config.certfile, config.keyfile = {certificate["certfile"]!r}, {certificate["keyfile"]!r}
config.insecure_bind, config.bind = config.bind, ["127.0.0.1:0"]
redirected_app = HTTPToHTTPSRedirectMiddleware(app, host="example.com")
asyncio.run(serve(redirected_app, config))
""")
    answer = example.get("/a?b=c")
    assert (answer.status_code, answer.headers["location"]) == (307, "https://example.com/a?b=c")
    end(program)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_wsgi_apps_within_asgi_middleware(example: Example, loop: str) -> None:
    pytest.importorskip(loop)
    run = SERVE[loop].replace("app", "wrapped")
    program = example.start(f"""
from hcrs.middleware import AsyncioWSGIMiddleware, TrioWSGIMiddleware
from hcrs.middleware.dispatcher import AsyncioDispatcherMiddleware, TrioDispatcherMiddleware
if "{loop}" == "asyncio":
    wrapped = AsyncioDispatcherMiddleware({{"/w": AsyncioWSGIMiddleware(wsgi_app, max_body_size=20), "/": app}})
else:
    wrapped = TrioDispatcherMiddleware({{"/w": TrioWSGIMiddleware(wsgi_app, max_body_size=20), "/": app}})
{run}
""")
    assert example.send("POST", "/w/a", content=b"x" * 20).text == "wsgi /a " + "x" * 20
    assert example.send("POST", "/w/a", content=b"x" * 21).status_code == 413
    assert example.get("/b").text.endswith(" /b")
    end(program)


def test_wsgi_bodies_have_a_greatest_length(example: Example) -> None:
    program = example.start("config.wsgi_max_body_size = 20\nasyncio.run(serve(wsgi_app, config))\n")
    assert example.send("POST", "/", content=b"x" * 20).status_code == 200
    assert example.send("POST", "/", content=b"x" * 21).status_code == 413
    end(program)


def test_metrics_go_to_statsd(example: Example) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(DEADLINE)
        program = example.start(f"""
config.statsd_host, config.statsd_prefix = "127.0.0.1:{statsd.getsockname()[1]}", "shop"
asyncio.run(serve(app, config))
""")
        assert example.get().status_code == 200
        received = ""
        while "shop.hypercorn.requests:1|c" not in received:
            received += statsd.recv(1 << 16).decode() + "\n"
        end(program)


@pytest.mark.parametrize("kind", ["dict", "json", "ini"])
def test_pythons_logging_is_configured(example: Example, kind: str) -> None:
    program = example.start(f"""
import json
form = "own form: %(message)s"
by_dict = {{
    "version": 1,
    "formatters": {{"own": {{"format": form}}}},
    "handlers": {{"own": {{"class": "logging.FileHandler", "filename": "own.log", "formatter": "own"}}}},
    "root": {{"handlers": ["own"], "level": "INFO"}},
}}
if "{kind}" == "dict":
    config.logconfig_dict = by_dict
elif "{kind}" == "json":
    open("log.json", "w").write(json.dumps(by_dict))
    config.logconfig = "json:log.json"
else:
    open("log.ini", "w").write('''
[loggers]
keys=root
[handlers]
keys=own
[formatters]
keys=own
[logger_root]
level=INFO
handlers=own
[handler_own]
class=FileHandler
args=("own.log",)
formatter=own
[formatter_own]
format=own form: %(message)s
''')
    config.logconfig = "log.ini"

async def failing(scope, receive, send):
    raise ArithmeticError("of the app")

config.hcrs = {{"lifespan": "off"}}
asyncio.run(serve(failing, config))
""")
    assert example.get().status_code == 500
    folder = Path(f"/proc/{program.process.pid}/cwd").resolve()
    end(program)
    written = (folder / "own.log").read_text()
    assert "own form: Error in ASGI Framework" in written and "ArithmeticError: of the app" in written
    assert "logconfig" not in program.errors


def test_the_access_log_has_the_form_that_was_asked_for(example: Example) -> None:
    program = example.start("""
config.accesslog, config.access_log_format = "access.log", "%(m)s %(Uq)s %(s)s %({x-one}i)s"
asyncio.run(serve(app, config))
""")
    example.get("/a?b", **{"x-one": "1"})
    folder = Path(f"/proc/{program.process.pid}/cwd").resolve()
    end(program)
    assert (folder / "access.log").read_text().endswith("] GET /a?b 200 1\n")


# ---- The module as a command ----


def test_python_m_runs_the_command() -> None:
    for arguments in (["--version"], ["--no-such-flag"]):
        ours = subprocess.run([sys.executable, "-m", "hcrs", *arguments], capture_output=True, text=True)
        theirs = subprocess.run([command(), *arguments], capture_output=True, text=True)
        assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_hosts_can_be_named(example: Example) -> None:
    example.start("config.server_names = ['known.test']\nasyncio.run(serve(app, config))\n")
    assert example.get(host="known.test").status_code == 200
    assert example.get(host="other.test").status_code == 404
