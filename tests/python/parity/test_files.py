"""The same file starts both servers and means the same to both."""

from __future__ import annotations

import re
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h2.settings
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import APPS, Server, command, wait_until
from parity.conversation import Request, Speaker, ask_h1
from parity.servers import Hypercorn

PLAIN = "plain.py:app"


class Named(Server):
    """hcrs with the app on its command line, as Hypercorn has it."""

    def _command_line(self, flags: list[str], app: str | None) -> list[str]:
        assert app is not None
        return [command(), *flags, app]


@contextmanager
def started(
    kind: type[Server],
    folder: Path,
    text: str,
    *,
    app: str = PLAIN,
    source: str = "hypercorn.toml",
    listeners: int = 1,
    files: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Server]:
    """A server that reads a file, which lies in its working directory."""
    folder.mkdir()
    for name, content in {source.removeprefix("file:"): text, **(files or {})}.items():
        if not name.startswith("python:"):
            (folder / name).write_text(content)
    server = kind(folder, app, config_file=Path(source), bind=["counted"] * listeners, **options)
    try:
        yield server
    finally:
        server.destroy()


BOTH = (Hypercorn, Named)


def seen(folder: Path, text: str, look: Callable[[Server], Any], **options: Any) -> tuple[Any, Any]:
    """The observation of Hypercorn, and that of hcrs."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started(kind, folder / kind.__name__, text, **options)) for kind in BOTH]
        theirs, ours = (look(server.wait_until_running()) for server in servers)
    return theirs, ours


def served(server: Server) -> dict[str, Any]:
    """What both have to serve alike, from the first listener."""
    speaker = Speaker(server.listener, lambda *_: None)  # type: ignore[arg-type]
    try:
        answer = ask_h1(speaker, Request(target="/scope?x")) | {
            "echo": ask_h1(speaker, Request("POST", "/echo", body=b"abc"))["body"]
        }
    finally:
        speaker.close()
    return {name: answer[name] for name in ("status", "echo", "headers", "after", *FACTS)}


#: Of a scope, what does not differ.
FACTS = tuple(
    f"scope.{name}"
    for name in ("type", "method", "scheme", "path", "root_path", "headers", "client", "server", "state")
)


def test_toml_with_several_binds_workers_and_a_root_path(tmp_path: Path) -> None:
    text = 'bind = ["127.0.0.1:0", "localhost:0"]\nworkers = 2\nroot_path = "/mounted/"\nbacklog = 10\n'

    def look(server: Server) -> Any:
        hosts = [listener.host for listener in server.listeners]
        with H1Client(server.listeners[1]) as second:
            return served(server), hosts, second.get().body

    theirs, ours = seen(tmp_path, text, look, listeners=2)
    assert theirs == ours
    assert ours[0]["scope.root_path"] == "/mounted"


def test_unix_socket_and_its_permissions(tmp_path: Path) -> None:
    text = 'bind = "unix:sock"\numask = 0o027\n'

    def look(server: Server) -> Any:
        path = server.folder / "sock"
        where = server.listener._replace(path=str(path))
        with H1Client(where) as client:
            scope = eval(client.get("/scope").body)
            client.get("/")
        return stat.S_IMODE(path.stat().st_mode), scope["client"], scope["server"], scope["scheme"]

    theirs, ours = seen(tmp_path, text, look)
    assert theirs == ours == (0o750, None, None, "http")


def test_inherited_descriptor(tmp_path: Path) -> None:
    for kind in BOTH:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            number = listening.fileno()
            text = f'bind = "fd://{number}"\n'
            with started(kind, tmp_path / kind.__name__, text, pass_fds=[number]) as server:
                server.wait_until_running()
                with socket.create_connection(listening.getsockname()) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                    assert b"".join(iter(lambda: client.recv(1000), b"")).endswith(b"hello"), server.log


def test_file_of_python(tmp_path: Path) -> None:
    text = 'bind = ["127.0.0.1:0"]\nroot_path = "/" + "computed"\nworkers = 1 + 1\n'
    theirs, ours = seen(tmp_path, text, served, source="file:conf.py")
    assert theirs == ours
    assert ours["scope.root_path"] == "/computed"


def test_module_of_python(tmp_path: Path) -> None:
    text = 'bind = "127.0.0.1:0"\nroot_path = "/from/a/module"\n'
    theirs, ours = seen(tmp_path, "", served, source="python:settings_module", files={"settings_module.py": text})
    assert theirs == ours
    assert ours["scope.root_path"] == "/from/a/module"


@pytest.mark.parametrize("alpn", [None, ["http/1.1"], ["h2"]])
def test_tls_and_what_is_negotiated(
    tmp_path: Path, certificate: dict[str, str], trust: Callable[..., ssl.SSLContext], alpn: Any
) -> None:
    text = "bind = '127.0.0.1:0'\n" + "".join(f"{key} = '{path}'\n" for key, path in certificate.items())
    if alpn is not None:
        text += f"alpn_protocols = {alpn}\n"

    def look(server: Server) -> Any:
        found = []
        for offered in (["h2", "http/1.1"], ["http/1.1"], []):
            context: ssl.SSLContext = trust(*offered)
            with (
                socket.create_connection((server.listener.host, server.listener.port)) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as tls,
            ):
                found.append((tls.selected_alpn_protocol(), tls.version()))
        return found, server.listener.scheme

    if alpn == ["h2"]:
        # A client that offers none of ours is refused, where Hypercorn goes on without a protocol.
        with started(Hypercorn, tmp_path / "hypercorn", text) as server:
            assert look(server.wait_until_running())[0][1][0] is None
        with started(Named, tmp_path / "hcrs", text) as server, pytest.raises(ssl.SSLError):
            look(server.wait_until_running())
        return
    theirs, ours = seen(tmp_path, text, look)
    assert theirs == ours
    assert ours[0][0][0] == (alpn[0] if alpn else "h2")


def test_logs_in_files(tmp_path: Path) -> None:
    text = 'bind = "127.0.0.1:0"\naccesslog = "access.log"\nerrorlog = "error.log"\naccess_log_format = "%(m)s %(U)s %(q)s %(H)s %(s)s %(b)s %({x-a}i)s %({x-status}o)s %(S)s"\n'
    lines: list[list[str]] = []
    for kind in BOTH:
        folder = tmp_path / kind.__name__
        folder.mkdir()
        (folder / "hypercorn.toml").write_text(text.replace("127.0.0.1:0", f"unix:{folder}/sock"))
        server = kind(folder, PLAIN, config_file=Path("hypercorn.toml"))
        try:
            error, access = folder / "error.log", folder / "access.log"
            wait_until(lambda: error.exists() and "Running on" in error.read_text(), "the log")  # noqa: B023
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(folder / "sock"))
            client.settimeout(10)
            client.sendall(
                b"GET /status?status=201&body=ab HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nconnection: close\r\n\r\n"
            )
            while client.recv(1000):
                pass
            client.close()
            wait_until(access.read_text, "the access log")
            both = access.read_text() + error.read_text().replace(str(folder), "<folder>")
            both = re.sub(r"^\[[^\]]+\] \[\d+\]", "[<time>] [<pid>]", both, flags=re.MULTILINE)
            lines.append(both.splitlines())
            assert server.output == ""
        finally:
            server.destroy()
    assert (
        lines[0]
        == lines[1]
        == [
            "[<time>] [<pid>] [INFO] GET /status status=201&body=ab 1.1 201 - 1 yes http",
            "[<time>] [<pid>] [INFO] Running on http://unix:<folder>/sock (CTRL + C to quit)",
        ]
    )


def test_date_and_server_can_be_left_out(tmp_path: Path) -> None:
    text = 'bind = "127.0.0.1:0"\ninclude_date_header = false\ninclude_server_header = false\n'

    def look(server: Server) -> Any:
        with H1Client(server.listener) as h1, H2Client(server.listener) as h2_client:
            return h1.get().headers, h2_client.get().headers

    theirs, ours = seen(tmp_path, text, look)
    assert theirs == ours
    assert [name for name, _ in ours[0]] == ["content-length", "content-type"]


def test_connections_end_after_their_requests_and_their_time(tmp_path: Path) -> None:
    text = 'bind = "127.0.0.1:0"\nkeep_alive_max_requests = 3\nkeep_alive_timeout = 0.5\n'

    def look(server: Server) -> Any:
        with H1Client(server.listener) as counted, H1Client(server.listener) as idle:
            kept = [counted.get().header("connection") for _ in range(3)]
            counted.assert_closed()
            idle.get()
            idle.assert_closed()
        return kept

    theirs, ours = seen(tmp_path, text, look)
    assert theirs == ours == [None, None, "close"]


def test_connections_end_after_a_thousand_requests_only_where_a_file_says_so(tmp_path: Path) -> None:
    def look(server: Server) -> Any:
        with H1Client(server.listener) as client:
            return [client.get().header("connection") for _ in range(1000)][-1]

    (tmp_path / "unset").mkdir()
    assert seen(tmp_path / "unset", 'bind = "127.0.0.1:0"\n', look) == ("close", None)
    (tmp_path / "set").mkdir()
    text = 'bind = "127.0.0.1:0"\nkeep_alive_max_requests = 1000\n'
    assert seen(tmp_path / "set", text, look) == ("close", "close")


def test_limits_of_http2_are_announced(tmp_path: Path) -> None:
    text = 'bind = "127.0.0.1:0"\nh2_max_concurrent_streams = 7\nh2_max_header_list_size = 5000\n'
    codes = h2.settings.SettingCodes

    def look(server: Server) -> Any:
        with H2Client(server.listener) as client:
            client.get()
            settings = client.protocol.remote_settings
            return [
                settings[code]
                for code in (codes.MAX_CONCURRENT_STREAMS, codes.MAX_HEADER_LIST_SIZE, codes.ENABLE_CONNECT_PROTOCOL)
            ]

    theirs, ours = seen(tmp_path, text, look)
    assert theirs == ours == [7, 5000, 1]


LOGCONFIG = """
[loggers]
keys = root, site
[handlers]
keys = file
[formatters]
keys = short
[logger_root]
handlers =
[logger_site]
level = DEBUG
handlers = file
propagate = 0
qualname = site
[handler_file]
class = FileHandler
formatter = short
args = ("site.log",)
[formatter_short]
format = %(levelname)s of %(name)s: %(message)s
"""
LOGGING_APP = """
import logging
log = logging.getLogger("site")
async def app(scope, receive, send):
    assert scope["type"] == "http"
    log.debug("path %s", scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"logged"})
"""


def test_configuration_of_pythons_logging(tmp_path: Path) -> None:
    def look(server: Server) -> Any:
        with H1Client(server.listener) as client:
            assert client.get("/a").body == b"logged"
        return (server.folder / "site.log").read_text()

    files = {"logging.ini": LOGCONFIG, "site_app.py": LOGGING_APP}
    found = []
    for kind in BOTH:
        folder = tmp_path / kind.__name__
        text = 'bind = "127.0.0.1:0"\nlogconfig = "logging.ini"\n'
        with started(kind, folder, text, app=f"{folder}/site_app.py:app", files=files) as server:
            found.append(look(server.wait_until_running()))
    assert found == ["DEBUG of site: path /a\n"] * 2


def test_the_file_that_people_write(tmp_path: Path) -> None:
    text = """
bind = ["0.0.0.0:0"]
workers = 4
worker_class = "asyncio"
log_level = "info"
access_log = "-"
keep_alive_timeout = 5
graceful_timeout = 30
"""

    def look(server: Server) -> Any:
        server.listeners = [listener._replace(host="127.0.0.1") for listener in server.listeners]
        count = 4 if isinstance(server, Named) else 5  # Hypercorn has multiprocessing's own process beside them
        return served(server), bool(wait_until(lambda: len(server.worker_pids()) == count, "the workers"))

    theirs, ours = seen(tmp_path, text, look)
    assert theirs == ours


def test_wsgi_app(tmp_path: Path) -> None:
    text = 'bind = "127.0.0.1:0"\nroot_path = "/mounted"\nwsgi_max_body_size = 100\n'

    def look(server: Server) -> Any:
        with H1Client(server.listener) as client:
            client.request("POST", "/mounted/echo", body=b"abc")
            echoed = client.response().body
            environ = eval(client.get("/mounted/environ").body)
            elsewhere = client.get("/echo").status
        return echoed, [environ[name] for name in ("SCRIPT_NAME", "PATH_INFO", "REQUEST_METHOD")], elsewhere

    theirs, ours = seen(tmp_path, text, look, app="wsgi.py:plain")
    assert theirs == ours


def test_table_of_hcrs_beside_hypercorns_keys(tmp_path: Path) -> None:
    text = 'bind = "127.0.0.1:0"\nroot_path = "/both"\n\n[hcrs]\nqueue_timeout = 5\nio_threads = 1\nlifespan = "on"\n'
    theirs, ours = seen(tmp_path, text, served)
    assert theirs == ours
    assert ours["scope.root_path"] == "/both"


def test_bind_of_two_kinds_with_tls_and_without(
    tmp_path: Path, certificate: dict[str, str], trust: Callable[..., ssl.SSLContext]
) -> None:
    text = 'bind = "127.0.0.1:0"\ninsecure_bind = ["127.0.0.1:0", "unix:plain"]\nworkers = 2\n'
    text += "".join(f"{key} = '{path}'\n" for key, path in certificate.items())

    def look(server: Server) -> Any:
        schemes = []
        for listener in server.listeners:
            where = listener._replace(path=str(server.folder / listener.path)) if listener.path else listener
            with H1Client(where, tls=trust("http/1.1") if listener.scheme == "https" else None) as client:
                schemes.append(eval(client.get("/scope").body)["scheme"])
        return sorted(schemes)

    theirs, ours = seen(tmp_path, text, look, listeners=3)
    assert theirs == ours == ["http", "http", "https"]


def test_app_is_named_in_the_same_ways(tmp_path: Path) -> None:
    (tmp_path / "site_app.py").write_text((APPS / "plain.py").read_text())
    (tmp_path / "hypercorn.toml").write_text('bind = "127.0.0.1:0"\n')
    names = ("site_app", "site_app.py:app", "asgi:site_app:app", "site_app:dict(a=app)['a']")
    with ExitStack() as stack:
        servers = []
        for kind in BOTH:
            for number, name in enumerate(names):
                folder = tmp_path / f"{kind.__name__}-{number}"
                folder.mkdir()
                server = kind(
                    folder, None, config_file=tmp_path / "hypercorn.toml", cwd=tmp_path, application_path=name
                )
                stack.callback(server.destroy)
                servers.append(server)
        for server in servers:
            with H1Client(server.wait_until_running().listener) as client:
                assert client.get().body == b"hello", server.arguments
