"""``hcrs dev``: an app is served with TLS, reload, debug log and short access lines, in colors if a terminal shows them."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.project import Project
from end_to_end.server import Listening, Server, command, wait_until
from end_to_end.terminal import Terminal


class DevServer(Server):
    """A running ``hcrs dev``."""

    def _command_line(self, flags: list[str], app: str | None) -> list[str]:
        return [command(), "dev", *flags]


@pytest.fixture
def develop(tmp_path: Path, project: Project) -> Iterator[Callable[..., Server]]:
    """Serves the project by ``hcrs dev``, with the user's data in ``data``."""
    servers: list[Server] = []

    def start(**options: Any) -> Server:
        folder = tmp_path / f"dev-{len(servers)}"
        folder.mkdir()
        env = {"XDG_DATA_HOME": str(tmp_path / "data"), "PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm"}
        servers.append(DevServer(folder, f"{project.folder}/main.py:app", env=env, **options))
        return servers[-1].wait_until_running()

    yield start
    for server in servers:
        server.destroy()


@pytest.fixture
def authority(tmp_path: Path) -> Callable[[], ssl.SSLContext]:
    """A context that trusts the user's authority and nothing else."""
    return lambda: ssl.create_default_context(cafile=str(tmp_path / "data" / "hcrs" / "ca.pem"))


def test_an_app_is_served_with_all_that_its_developer_needs(
    develop: Callable[..., Server], project: Project, authority: Callable[[], ssl.SSLContext]
) -> None:
    server = develop()
    assert server.listener.scheme == "https"
    with httpx.Client(http2=True, verify=authority(), headers={"accept": "text/html"}) as client:
        first = client.get(server.listener.url)
        assert (first.http_version, first.text) == ("HTTP/2", "first")
        assert len(server.worker_pids()) == 1
        project.edit("main.py", "first", "second")
        server.wait_for_log("All workers have been replaced")
        assert client.get(f"{server.listener.url}/?a=1").text == "second"
        project.break_code()
        server.wait_for_log("The app cannot be served")
        page = client.get(server.listener.url)
        assert page.status_code == 500 and "SyntaxError" in page.text and "<pre>" in page.text
        project.mend_code()
        server.wait_for_log("All workers have been replaced", 2)
        assert client.get(server.listener.url).text == "second"
    wait_until(lambda: server.output.count("\n") == 4, "the access lines")
    lines = server.output.splitlines()
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d (200|500) GET /(\?a=1)? \d+\.\d ms h2", line) for line in lines), lines
    assert [line.split()[1] for line in lines] == ["200", "200", "500", "200"]
    assert f"    {server.listener.url}/\n" in server.log
    assert re.search(r"sudo .*/data/hcrs/ca\.pem|security add-trusted-cert .*/data/hcrs/ca\.pem", server.log)
    assert "[DEBUG]" in server.log and "received frame" not in server.log
    assert "\x1b" not in server.log + server.output
    assert not (project.folder / "certs").exists() and not (server.folder / "certs").exists()
    assert server.stop_and_check() == 0


def test_the_authority_stays_the_same_for_all_projects(
    develop: Callable[..., Server], tmp_path: Path, authority: Callable[[], ssl.SSLContext]
) -> None:
    assert develop().stop() == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "data" / "hcrs").iterdir()}
    assert set(files) == {"ca.pem", "ca-key.pem", "cert.pem", "key.pem"}
    server = develop()
    assert httpx.get(server.listener.url, verify=authority()).text == "first"
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "data" / "hcrs").iterdir()}


def test_everything_can_be_overridden(
    develop: Callable[..., Server], certificate: dict[str, str], trust: Callable[..., ssl.SSLContext], tmp_path: Path
) -> None:
    server = develop(
        flags=["--workers", "2", "--log-level", "info", "--access-logformat", "%(s)s"],
        use_reloader=False,
        insecure_bind="127.0.0.1:0",
        **certificate,
    )
    secure, insecure = server.listeners
    assert httpx.get(secure.url.replace("127.0.0.1", "localhost"), verify=trust()).text == "first"
    assert httpx.get(insecure.url).text == "first"
    assert len(server.worker_pids()) == 2
    wait_until(lambda: server.output.count("\n") == 2, "the access lines")
    assert server.output.endswith("[INFO] 200\n") and "[DEBUG]" not in server.log
    assert "ca.pem" not in server.log and not (tmp_path / "data").exists()
    assert server.stop_and_check() == 0


@pytest.mark.parametrize(
    ("env", "has_colors"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["colors", "NO_COLOR", "dumb"],
)
def test_a_terminal_shows_colors_unless_they_are_refused(
    project: Project, tmp_path: Path, connect_h1: Callable[..., H1Client], env: dict[str, str], has_colors: bool
) -> None:
    if "NO_COLOR" in os.environ and "NO_COLOR" not in env:
        env = {**env, "NO_COLOR": ""}
    flags = ["dev", "main:app", "--bind", "127.0.0.1:0", "--insecure-bind", "127.0.0.1:0"]
    (tmp_path / "main.py").write_text(project.read("main.py"))
    terminal = Terminal(tmp_path, flags, env)
    try:
        url = re.escape("\x1b[1;4;36m") if has_colors else "    "
        # The log is written by another thread, so the greeting comes before or after its lines.
        greeting = terminal.wait_for(url + r"https://127\.0\.0\.1:\d+/\S*\n\s+\S*http://127\.0\.0\.1:(\d+)/")
        client = connect_h1(Listening("http", "127.0.0.1", int(greeting[1])))
        assert client.get("/").body == b"first"
        status = "\x1b\\[2m\\d\\d:\\d\\d:\\d\\d\x1b\\[0m \x1b\\[32m200\x1b\\[0m GET / " if has_colors else r"\d\d 200 GET / \d"
        terminal.wait_for(status)
        assert client.get("/missing").status == 500
        terminal.wait_for("\x1b\\[31m500\x1b" if has_colors else " 500 GET /missing")
        terminal.press("\x03")
        assert terminal.wait_for_exit() == 0
    finally:
        terminal.close()


def test_an_app_in_a_module_named_dev_is_served(
    launch: Callable[..., Server], project: Project, connect_h2: Callable[..., H2Client], tmp_path: Path
) -> None:
    (tmp_path / "dev.py").write_text(project.read("main.py"))
    server = launch(None, cwd=tmp_path, flags=["dev:app"]).wait_until_running()
    assert server.listener.scheme == "http"
    assert connect_h2(server.listener).get().body == b"first"
    assert server.stop_and_check() == 0


def test_a_certificate_that_is_kept_comes_with_its_instructions(tmp_path: Path) -> None:
    words = [command(), "cert", "dev", "--dir", str(tmp_path)]
    for said in ("wrote", "was kept"):
        shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        assert said in shown and f"curl --cacert {tmp_path}/ca.pem" in shown
