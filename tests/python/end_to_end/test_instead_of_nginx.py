"""The recipes of docs/guide/instead-of-nginx.md: each passes its check, starts, and does what the page says."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.server import APPS, Server, command

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "instead-of-nginx.md"

#: The headings of the recipes.
RECIPES = [
    "One site",
    "An app in one page, beside an API",
    "Two apps, and a service beside them",
    "Limits and access",
    "Maintenance, and pages for errors",
    "Files that only some may fetch",
]

#: What the recipes serve.
FILES = {
    "shop/static/style.css": b"a { color: red }\n" * 100,
    "shop/static/style.0a1b2c3d4e5f.css": b"b {}",
    "shop/media/evil.html": b"<script>alert(1)</script>",
    "shop/errors/502.html": b"<h1>502</h1>",
    "shop/errors/503.html": b"<h1>503</h1>",
    "shop/protected/7.pdf": b"%PDF invoice 7",
    "web/index.html": b"<h1>app</h1>",
    "web/assets/app.0a1b2c3d4e5f.js": b"run()",
}

#: Apps of the recipes, beside the one that most tests have.
GATEKEEPER = """
async def app(scope, receive, send):
    headers = [(b"x-accel-redirect", b"/protected/7.pdf")] if scope["path"] == "/invoice/7" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"the app"})
"""
#: The word "secret", as ``openssl passwd -6`` writes it.
PASSWORD = "$6$hcrs13test$KOK/O8wLQOjC2XxZLmlwT7Ars.nuEhRXCe05c/w7RZYckFeMsCRcEECtQqfaIkAdaNz7HKrmG.PdtkOp/UWdf."
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"the site"]
"""


def recipes() -> dict[str, str]:
    """The first TOML block below each heading that has one."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    found = {section.split("\n", 1)[0]: re.search(r"```toml\n(.*?)```", section, re.DOTALL) for section in sections}
    return {heading: block[1] for heading, block in found.items() if block}


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Path]:
    """Puts a recipe, apps, files and a certificate where the recipe wants them."""

    def put(heading: str, **replaced: str) -> Path:
        text = recipes()[heading]
        for name, content in FILES.items():
            (tmp_path / "srv" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "srv" / name).write_bytes(content)
        for place, here in {
            "/srv/chat/.venv/bin/python": sys.executable,
            '"0.0.0.0:443", "[::]:443"': '"127.0.0.1:0"',
            '"0.0.0.0:80", "[::]:80"': '"127.0.0.1:0"',
            "/etc/letsencrypt/live/example.com": str(tmp_path),
            "/etc/hcrs": str(tmp_path),
            "/srv/": f"{tmp_path}/srv/",
            **replaced,
        }.items():
            text = text.replace(place, here)
        if "bind = " not in text:
            text = 'bind = "127.0.0.1:0"\n' + text
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        plain = (APPS / "plain.py").read_text()
        for folder in [tmp_path, tmp_path / "srv" / "chat", tmp_path / "srv" / "shop"]:
            (folder / "shop").mkdir(parents=True, exist_ok=True)
            (folder / "shop" / "__init__.py").write_text(plain)
            (folder / "shop" / "asgi.py").write_text(plain + "\napplication = app\n")
            (folder / "shop" / "wsgi.py").write_text(WSGI)
            for name in ("api", "chat"):
                (folder / f"{name}.py").write_text(plain)
        subprocess.run([command(), "cert", "dev", "--dir", str(tmp_path)], check=True, capture_output=True)
        (tmp_path / "fullchain.pem").write_text((tmp_path / "cert.pem").read_text())
        (tmp_path / "privkey.pem").write_text((tmp_path / "key.pem").read_text())
        (tmp_path / "gatekeeper.py").write_text(GATEKEEPER)
        (tmp_path / "htpasswd").write_text(f"ada:{PASSWORD}\n")
        return path

    return put


@pytest.fixture
def serve_recipe(serve: Callable[..., Server], place: Callable[..., Path], tmp_path: Path) -> Callable[..., Server]:
    """Starts a recipe; the number of its listeners has to be told."""

    def start(heading: str, listeners: int = 1, **replaced: str) -> Server:
        path = place(heading, **replaced)
        return serve(None, config_file=path, cwd=tmp_path, bind=["counted"] * listeners)

    return start


def test_every_recipe_is_tested() -> None:
    assert list(recipes()) == RECIPES


@pytest.mark.parametrize("heading", RECIPES)
def test_check_passes(heading: str, place: Callable[..., Path], tmp_path: Path) -> None:
    check = [command(), "config", "check", "--strict", str(place(heading))]
    result = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr


def test_one_site(serve_recipe: Callable[..., Server], tmp_path: Path) -> None:
    server = serve_recipe("One site", listeners=2)
    by_scheme = {listener.scheme: listener for listener in server.listeners}
    secure = f"https://localhost:{by_scheme['https'].port}"
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")

    with httpx.Client(verify=context, http2=True, headers={"host": "example.com"}) as client:

        def get(path: str, **fields: str) -> httpx.Response:
            return client.get(f"{secure}{path}", headers=fields, extensions={"sni_hostname": "localhost"})

        page = get("/")
        assert (page.text, page.http_version) == ("hello", "HTTP/2")
        assert page.headers["strict-transport-security"].startswith("max-age=")
        style = get("/static/style.css", **{"accept-encoding": "zstd"})
        assert (style.headers["content-encoding"], style.headers["cache-control"]) == ("zstd", "public, max-age=3600")
        hashed = get("/static/style.0a1b2c3d4e5f.css")
        assert hashed.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert get("/media/evil.html").headers["content-security-policy"] == "sandbox"
        www = get("/a?b", host="www.example.com")
        assert (www.status_code, www.headers["location"]) == (308, "https://example.com/a?b")
        assert get("/", host="other.example").status_code == 404
        large = client.post(f"{secure}/digest", content=bytes(11 << 20), extensions={"sni_hostname": "localhost"})
        assert large.status_code == 413
    plain = httpx.get(f"{by_scheme['http'].url}/a?b", headers={"host": "example.com"})
    port = by_scheme["https"].port
    assert (plain.status_code, plain.headers["location"]) == (308, f"https://example.com:{port}/a?b")


def test_an_app_in_one_page(serve_recipe: Callable[..., Server]) -> None:
    url = serve_recipe("An app in one page, beside an API").listener.url
    assert httpx.get(f"{url}/api/unknown").status_code == 404, "the app's"
    page = httpx.get(f"{url}/any/path")
    assert (page.content, page.headers["cache-control"]) == (FILES["web/index.html"], "no-cache")
    script = httpx.get(f"{url}/assets/app.0a1b2c3d4e5f.js")
    assert (script.text, script.headers["cache-control"]) == ("run()", "public, max-age=31536000, immutable")


def test_two_apps_and_a_service(serve: Callable[..., Server], serve_recipe: Callable[..., Server]) -> None:
    service = serve("plain.py:app")
    server = serve_recipe(
        "Two apps, and a service beside them", **{"http://127.0.0.1:3000": service.listener.url, "/grafana": "/pid"}
    )
    url = server.listener.url
    assert httpx.get(f"{url}/").text == "the site"
    assert httpx.get(f"{url}/ws").status_code == 404, "the chat's"
    assert int(httpx.get(f"{url}/pid").text) in service.worker_pids()


def test_limits_and_access(serve_recipe: Callable[..., Server]) -> None:
    url = serve_recipe("Limits and access").listener.url
    logins = [httpx.post(f"{url}/login").status_code for _ in range(6)]
    assert logins == [404] * 5 + [429], "five in a minute"
    assert httpx.get(f"{url}/login").status_code == 404, "the page itself is not limited"
    assert httpx.get(f"{url}/internal").status_code == 404, "the loopback is allowed"
    staff = httpx.get(f"{url}/staff")
    assert (staff.status_code, staff.headers["www-authenticate"]) == (401, 'Basic realm="staff", charset="UTF-8"')
    assert httpx.get(f"{url}/staff", auth=("ada", "wrong")).status_code == 401
    assert httpx.get(f"{url}/staff", auth=("ada", "secret")).status_code == 404, "the app's"


def test_maintenance_and_pages(serve_recipe: Callable[..., Server], tmp_path: Path) -> None:
    url = serve_recipe("Maintenance, and pages for errors").listener.url
    assert httpx.get(f"{url}/").text == "hello"
    switch = tmp_path / "srv" / "shop" / "maintenance.html"
    switch.write_text("<h1>soon</h1>")

    def wait_for(status: int) -> httpx.Response:
        for _ in range(100):
            answer = httpx.get(f"{url}/")
            if answer.status_code == status:
                return answer
        raise AssertionError(f"never {status}")

    down = wait_for(503)
    assert (down.text, down.headers["content-type"]) == ("<h1>soon</h1>", "text/html; charset=utf-8")
    switch.unlink()
    assert wait_for(200).text == "hello"


def test_protected_files(serve_recipe: Callable[..., Server]) -> None:
    url = serve_recipe("Files that only some may fetch", **{"shop:app": "gatekeeper:app"}).listener.url
    invoice = httpx.get(f"{url}/invoice/7")
    assert (invoice.content, invoice.headers["content-type"]) == (FILES["shop/protected/7.pdf"], "application/pdf")
    assert "x-accel-redirect" not in invoice.headers
    part = httpx.get(f"{url}/invoice/7", headers={"range": "bytes=1-3"})
    assert (part.status_code, part.text) == (206, "PDF")
    assert httpx.get(f"{url}/protected/7.pdf").text == "the app", "no client reaches it"


def test_settings_of_the_page_are_those_of_the_reference() -> None:
    reference = (PAGE.parents[1] / "reference.md").read_text()
    text = "\n".join(recipes().values())
    keys: set[Any] = set(re.findall(r"^(\w+) = ", text, re.MULTILINE))
    assert {key for key in keys if f"`{key}`" not in reference} == set()
