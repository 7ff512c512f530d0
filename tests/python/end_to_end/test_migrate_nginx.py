"""From nginx: a converted configuration starts, and answers as nginx itself does."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import pytest

from end_to_end.server import DEADLINE, Server, find_tool, wait_until
from end_to_end.test_fleet import free_port
from end_to_end.test_migrate import run

CASES = Path(__file__).parents[3] / "crates" / "hcrs-migrate" / "tests" / "nginx"

#: An app that names itself and the path that it gets.
APP = '''
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"].upper()})
        return
    fields = {name.decode(): value.decode() for name, value in scope["headers"]}
    body = f"app {scope['method']} {scope['path']} {scope['query_string'].decode()}".encode()
    kind = fields.get("x-forwarded-proto", "none") if scope["path"] == "/proto" else scope["scheme"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-scheme", kind.encode()), (b"x-host", fields["host"].encode())]})
    await send({"type": "http.response.body", "body": body})
'''


class Answer(NamedTuple):
    """What a client sees."""

    status: int
    #: Of a redirect, as an absolute URL without a port.
    location: str | None
    body: bytes
    fields: Mapping[str, str]


@dataclass
class Place:
    """Ports and the certificate's authority of a server with a configuration."""

    http: int = field(default_factory=free_port)
    https: int = field(default_factory=free_port)

    def ask(
        self, url: str, method: str = "GET", body: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> Answer:
        """Asks for a URL whose host and scheme are those of the configuration."""
        parts = urlsplit(url)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.https, timeout=DEADLINE, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=DEADLINE)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("host", parts.netloc)
        for name, value in (fields or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        try:
            response = connection.getresponse()
        except http.client.RemoteDisconnected:
            return Answer(0, None, b"", {})
        content = response.read()
        connection.close()
        location = response.getheader("location")
        if location is not None:
            where = urlsplit(urljoin(url, location))
            location = where._replace(netloc=(where.hostname or "")).geturl()  # in lower case, without the port
        return Answer(response.status, location, content, {name.lower(): value for name, value in response.getheaders()})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder in place of ``/srv`` and the like."""
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def write(folder: Path, contents: Mapping[str, str]) -> None:
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def app(tmp_path: Path) -> str:
    """The app, as ``--app`` names it."""
    (tmp_path / "named.py").write_text(APP)
    return f"{tmp_path}/named:app"


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """The text with these replacements, each of which has to apply."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


# ---- the configuration of the deployment guide ----


def test_the_deployment_guide_is_converted_and_served(
    tmp_path: Path, app: str, serve: Callable[..., Server], certificate: dict[str, str]
) -> None:
    run(tmp_path, str(CASES / "deployment-guide" / "nginx.conf"), "--app", app, "-o", "hypercorn.toml")
    text = (tmp_path / "hypercorn.toml").read_text()
    write(tmp_path, {"static/style.css": "a {}"})
    place = Place()
    text = replaced(text, {
        "0.0.0.0:443": f"127.0.0.1:{place.https}",
        "0.0.0.0:80": f"127.0.0.1:{place.http}",
        "/etc/letsencrypt/live/example.com/fullchain.pem": certificate["certfile"],
        "/etc/letsencrypt/live/example.com/privkey.pem": certificate["keyfile"],
        "/opt/fastapi-app/static": f"{tmp_path}/static",
    })
    (tmp_path / "hypercorn.toml").write_text(text)
    server = serve(
        None, config_file=tmp_path / "hypercorn.toml", cwd=tmp_path, bind=["tls"], insecure_bind=["plain"], certfile="given"
    )
    wait_until(lambda: len(server.worker_pids()) == 4, "four workers")
    redirect = place.ask("http://example.com/a?b=1")
    assert (redirect.status, redirect.location) == (308, "https://example.com/a?b=1")
    answer = place.ask("https://example.com/a?b=1")
    assert (answer.status, answer.body, answer.fields["x-scheme"]) == (200, b"app GET /a b=1", "https")
    assert answer.fields["x-host"] == "example.com"
    # An app that reads the field of a proxy would believe it.
    assert place.ask("https://example.com/proto", fields={"x-forwarded-proto": "ftp"}).fields["x-scheme"] == "none"
    style = place.ask("https://example.com/static/style.css")
    assert (style.status, style.body) == (200, b"a {}")
    assert place.ask("https://example.com/static/missing.css").status == 404
    assert place.ask("https://example.com/static/../etc/passwd").body.startswith(b"app")
    too_long = place.ask("https://example.com/", method="POST", fields={"content-length": str(10 * 1024 * 1024 + 1)})
    assert too_long.status == 413
    context = ssl.create_default_context(cafile=str(Path(certificate["certfile"]).with_name("ca.pem")))
    context.check_hostname = False
    assert websocket_says(place.https, context) == "HELLO"


def websocket_says(port: int, context: ssl.SSLContext) -> str:
    """The answer to a text over a WebSocket."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as plain, context.wrap_socket(plain) as stream:
        stream.sendall(
            b"GET /ws HTTP/1.1\r\nhost: example.com\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += stream.recv(4096)
        assert received.startswith(b"HTTP/1.1 101 "), received
        mask, text = b"\1\2\3\4", b"hello"
        stream.sendall(b"\x81" + bytes([0x80 | len(text)]) + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(text)))
        frame = received.partition(b"\r\n\r\n")[2]
        while len(frame) < 7:
            frame += stream.recv(4096)
        return frame[2:7].decode()


# ---- beside nginx itself ----


@dataclass
class Case:
    """A configuration, the files of its folders, and requests with a method, a URL and what is compared."""

    name: str
    #: Path in the configuration, and the folder of the test that takes its place.
    folders: Mapping[str, str]
    files: Mapping[str, str]
    requests: list[str]
    #: Texts that are no folders.
    changes: Mapping[str, str] = field(default_factory=dict)
    #: Requests that hcrs answers in another way, with a status and a location.
    otherwise: Mapping[str, tuple[int, str | None]] = field(default_factory=dict)


LOCATIONS = [
    "/", "/index.html", "/a/b?c=d", "/static/", "/static/x.css", "/static/none.css", "/static/../static/x.css",
    "/%73tatic/x.css", "//static//x.css", "/statics", "/a%20b?x=%2F&y",
]

BESIDE = [
    Case(
        "deployment-guide",
        {"/opt/fastapi-app/static": "static"},
        {"static/x.css": "a {}"},
        [
            *(f"GET https://example.com{path}" for path in LOCATIONS if path != "/statics"),
            "GET http://example.com/a?b=c", "GET http://other.test/", "POST http://example.com/form",
            "GET https://other.test/static/x.css",
        ],
        {f"127.0.0.1:800{number}": "127.0.0.1:<app>" for number in range(4)},
    ),
    Case(
        "django",
        {"/srv/books": "books"},
        {"books/static/x.css": "a {}", "books/static/robots.txt": "robots", "books/media/p.txt": "picture"},
        [
            *(f"GET http://books.example.net{path}" for path in LOCATIONS),
            "GET http://other.test/x", "GET http://books.example.net/robots.txt", "GET http://books.example.net/favicon.ico",
            "GET http://books.example.net/media/p.txt", "HEAD http://books.example.net/media/p.txt",
            "GET http://books.example.net/media/none", "POST http://books.example.net/form",
        ],
        {"unix:/run/books/gunicorn.sock": "127.0.0.1:<app>"},
    ),
    Case(
        "certbot",
        {},
        {},
        [
            "GET http://notes.example.com/a?b=c", "GET http://www.notes.example.com/", "POST http://notes.example.com/x",
            "GET https://notes.example.com/a", "GET https://other.test/",
        ],
        {
            "127.0.0.1:5000": "127.0.0.1:<app>",
            "    include /etc/letsencrypt/options-ssl-nginx.conf;": "",
            "    ssl_dhparam /etc/letsencrypt/ssl-dhparams.pem;": "",
        },
    ),
    Case(
        "spa-beside-api",
        {"/usr/share/planner/dist": "dist"},
        {"dist/index.html": "<h1>", "dist/assets/a.1f3e.js": "let a", "dist/about/index.html": "about", "dist/x.txt": "x"},
        [
            f"GET http://planner.test{path}"
            for path in (
                "/", "/index.html", "/tasks/7?open", "/api/tasks?x=1", "/api/", "/apis", "/assets/a.1f3e.js", "/assets/none.js",
                "/about/", "/about", "/x.txt", "/x.txt/",
            )
        ],
        {"listen 8080": "listen 80", "127.0.0.1:9100": "127.0.0.1:<app>"},
    ),
    Case(
        "cached-assets",
        {"/var/www/store": "store"},
        {
            "store/site.css": "a {}", "store/img/cat.png": "cat", "store/about/index.html": "about", "store/page.html": "page",
            "store/downloads/a.css": "download", "store/downloads/b.zip": "zip",
        },
        [
            f"GET http://store.example.com{path}"
            for path in (
                "/", "/site.css", "/none.css", "/a/site.css", "/img/cat.png", "/img/dog.png", "/en/print/1", "/de/print/", "/fr/print/",
                "/item/7/reviews", "/item/7/review", "/about", "/page.html", "/page", "/downloads/a.css", "/downloads/b.zip",
                "/downloads/none", "/a.css/b",
            )
        ]
        + ["POST http://store.example.com/page.html", "POST http://store.example.com/order"],
        {"127.0.0.1:8000": "127.0.0.1:<app>"},
        {
            # The folder gets the slash that relative links in its index need.
            "GET http://store.example.com/about": (301, "http://store.example.com/about/"),
            # A form is for the app, even if there is a file of its name.
            "POST http://store.example.com/page.html": (200, None),
        },
    ),
    Case(
        "www-redirect",
        {},
        {},
        [
            f"GET {scheme}://{host}{path}"
            for scheme in ("http", "https")
            for host in ("garden.example", "www.garden.example", "other.test")
            for path in (
                *("/", "/plants", "/plants/?a=b", "/plants/rose", "/start", "/startx", "/blog", "/blog/1", "/blogger"),
                *("/x?y", "/old/", "/old/a/b?c"),
            )
        ],
        {"127.0.0.1:8000": "127.0.0.1:<app>"},
    ),
    Case(
        "old-guide",
        {"/path/to/app": "app"},
        {"app/current/public/logo.svg": "<svg>", "app/current/public/500.html": "sorry", "app/current/public/index.html": "i"},
        [
            "GET http://example.com/", "GET http://example.com/logo.svg", "GET http://www.example.com/none.svg",
            "POST http://example.com/form", "POST http://example.com/logo.svg", "GET http://example.com/500.html",
        ],
        {"unix:/tmp/gunicorn.sock": "127.0.0.1:<app>"},
        {"POST http://example.com/logo.svg": (200, None)},
    ),
    Case(
        "allow-deny",
        {},
        {},
        [
            f"GET http://intra.example.com{path}"
            for path in (
                "/", "/metrics", "/metrics/x", "/metricsx", "/.git/config", "/a/.env", "/dump.sql", "/DUMP.SQL", "/a.php/b", "/sql",
                "/upload", "/upload/x",
            )
        ]
        + ["PUT http://intra.example.com/upload", "DELETE http://intra.example.com/upload/x", "POST http://intra.example.com/upload"],
        {"127.0.0.1:8000": "127.0.0.1:<app>"},
    ),
    Case(
        "websockets",
        {},
        {},
        ["GET http://chat.example.com/", "GET http://chat.example.com/ws/room?x=1", "POST http://chat.example.com/ws/room"],
        {"unix:/run/chat/web.sock": "127.0.0.1:<app>", "127.0.0.1:9001": "127.0.0.1:<app>", "127.0.0.1:9002": "127.0.0.1:<app>"},
    ),
    Case(
        "dashboards",
        {},
        {},
        [
            f"GET http://bi.test{path}"
            for path in ("/", "/bi/", "/bi/chart/7?a=b", "/bi/a%20b", "/bix", "/bi//x")
        ]
        + ["POST http://bi.test/bi/query"],
        {
            "10.0.3.11:8088": "127.0.0.1:<app>", "10.0.3.12:8088": "127.0.0.1:<app>", "10.0.3.13:8088": "127.0.0.1:<app>",
            "10.0.3.20:3000": "127.0.0.1:<app>",
        },
    ),
    Case(
        "several-hosts",
        {"/srv/shop/static": "shop", "/srv/docs": "docs"},
        {"shop/x.css": "a {}", "docs/guide/index.html": "guide", "docs/a.txt": "a"},
        [
            f"GET {scheme}://{host}{path}"
            for scheme in ("http", "https")
            for host in ("shop.example.com", "blog.example.com", "docs.example.com", "SHOP.example.com")
            for path in ("/", "/static/x.css", "/a.txt", "/guide/", "/guide?x=1")
            if (host, path) != ("docs.example.com", "/")
        ]
        + ["GET http://other.test/", "GET https://other.test/a.txt"],
        {"127.0.0.1:8001": "127.0.0.1:<app>", "127.0.0.1:8002": "127.0.0.1:<app>"},
        {
            # nginx closes the connection.
            "GET http://other.test/": (404, None),
            "GET https://other.test/a.txt": (404, None),
        },
    ),
    Case(
        "protected-media",
        {"/srv/archive": "archive"},
        {"archive/uploads/a.txt": "a", "archive/uploads/b.php": "b", "archive/files/secret.txt": "secret"},
        [
            f"GET http://archive.example.com{path}"
            for path in ("/", "/uploads/a.txt", "/uploads/b.php", "/uploads/none", "/protected/secret.txt", "/check", "/x.php")
        ],
        {"127.0.0.1:8000": "127.0.0.1:<app>", "        auth_request /check;\n": "        deny all;\n"},
        # The files are for responses of the app alone; a path of this name is the app's own.
        {"GET http://archive.example.com/protected/secret.txt": (200, None)},
    ),
]


class Nginx:
    """nginx with a configuration of a site."""

    def __init__(self, folder: Path, site: str) -> None:
        tool = find_tool("nginx", "nginx-light")
        if tool is None:
            pytest.skip("nginx is missing: apt-get install nginx-light")
        (folder / "logs").mkdir(parents=True)
        paths = "".join(
            f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = f"daemon off;\nmaster_process off;\npid {folder}/pid;\nevents {{}}\nhttp {{\n{paths}access_log off;\n{site}\n}}\n"
        if "http {" in site:
            # A whole configuration, whose process is that of the test.
            site = re.sub(r"^(user|pid|error_log|worker_processes)\s.*?;", "", site, flags=re.MULTILINE)
            site = re.sub(r"access_log .*?;|include mime.types;|accept_mutex off;|use epoll;", "", site)
            text = f"daemon off;\nmaster_process off;\npid {folder}/pid;\n" + site.replace("http {", f"http {{\n{paths}access_log off;", 1)
        (folder / "whole.conf").write_text(text)
        self._process = subprocess.Popen(
            [tool, "-p", str(folder), "-c", str(folder / "whole.conf"), "-e", str(folder / "logs" / "error.log")],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, port: int) -> None:
        def is_open() -> bool:
            assert self._process.poll() is None, self._process.stderr and self._process.stderr.read()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(is_open, "nginx")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)
        if self._process.stderr:
            self._process.stderr.close()


@pytest.fixture(scope="module")
def behind(share: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The app behind nginx."""
    folder = tmp_path_factory.mktemp("behind")
    (folder / "named.py").write_text(APP)
    (folder / "behind.toml").write_text(f'application_path = "{folder}/named:app"\nbind = "127.0.0.1:0"\n')
    return share(None, config_file=folder / "behind.toml")


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[Callable[[str, int], None]]:
    running: list[Nginx] = []

    def start(site: str, port: int) -> None:
        running.append(Nginx(tmp_path / f"nginx-{len(running)}", site))
        running[-1].wait_for(port)

    yield start
    for server in running:
        server.stop()


def with_ports(text: str, place: Place) -> str:
    """The configuration with free ports in place of 80 and 443, on the loopback interface."""
    text = re.sub(r"listen \[::\]:(80|443)[^;]*;", "", text)
    return re.sub(
        r"listen(\s+)(\*:)?(80|443)\b",
        lambda found: f"listen{found[1]}127.0.0.1:{place.http if found[3] == '80' else place.https}",
        text,
    )


@pytest.mark.parametrize("case", BESIDE, ids=lambda case: case.name)
def test_it_answers_as_nginx_does(
    case: Case,
    tmp_path: Path,
    app: str,
    behind: Server,
    serve: Callable[..., Server],
    start_nginx: Callable[[str, int], None],
    certificate: dict[str, str],
) -> None:
    write(tmp_path, case.files)
    text = (CASES / case.name / "nginx.conf").read_text()
    text = replaced(text, {old: new.replace("<app>", str(behind.listener.port)) for old, new in case.changes.items()})
    text = replaced(text, {old: f"{tmp_path}/{new}" for old, new in case.folders.items()})
    text = re.sub(r"ssl_certificate .*?;", f"ssl_certificate {certificate['certfile']};", text)
    text = re.sub(r"ssl_certificate_key .*?;", f"ssl_certificate_key {certificate['keyfile']};", text)
    text = re.sub(r"^(user|pid|error_log)\s.*?;", "", text, flags=re.MULTILINE)
    text = re.sub(r"access_log /.*?;", "", text)
    nginx, hcrs = Place(), Place()
    start_nginx(with_ports(text, nginx), nginx.http)
    (tmp_path / "nginx.conf").write_text(with_ports(text, hcrs))
    run(tmp_path, "nginx.conf", "--app", app, "-o", "hypercorn.toml")
    has_tls = "ssl_certificate" in text
    serve(
        None,
        config_file=tmp_path / "hypercorn.toml",
        cwd=tmp_path,
        **({"bind": ["tls"], "insecure_bind": ["plain"], "certfile": "given"} if has_tls else {}),
    )
    differences = []
    for request in case.requests:
        method, _, url = request.partition(" ")
        of_nginx, of_hcrs = nginx.ask(url, method), hcrs.ask(url, method)
        if request in case.otherwise:
            assert (of_hcrs.status, of_hcrs.location) == case.otherwise[request] != (of_nginx.status, of_nginx.location)
            continue
        # A folder without an index is forbidden for nginx, and for hcrs it is not there.
        is_folder = (of_nginx.status, of_hcrs.status) == (403, 404) and urlsplit(url).path.endswith("/")
        is_same = (of_nginx.status, of_nginx.location) == (of_hcrs.status, of_hcrs.location)
        has_body = of_nginx.status < 300
        if (not is_folder and not is_same) or (has_body and of_nginx.body != of_hcrs.body):
            differences.append((request, of_nginx[:3], of_hcrs[:3]))
    assert not differences, "\n".join(map(str, differences))
