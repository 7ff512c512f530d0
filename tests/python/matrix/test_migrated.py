"""Apps that are started as ``hcrs migrate`` says answer as they did on the server that was left."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.server import Server, command
from matrix.servers import APPS, running
from matrix.talks import Talk, differences
from parity.conversation import Request

#: Paths of an app that is mounted below others, as the proxy passes them on.
MOUNTED = ("/sub/where", "/sub/static/mounted.py", "/where", "/api/where", "/nowhere")


def migrated(folder: Path, *words: str) -> Path:
    """The file that is made of a command line."""
    file = folder / "migrated.toml"
    made = subprocess.run([command(), "migrate", "--", *words], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    file.write_text(made.stdout)
    return file


@pytest.fixture
def below(tmp_path: Path) -> Iterator[dict[str, Server]]:
    """An app behind a proxy that takes ``/api`` off."""
    flags = ["--root-path", "/api"]
    file = migrated(tmp_path, "uvicorn", "mounted:app", "--app-dir", str(APPS), "--port", "0", *flags)
    with running(tmp_path, "mounted.py:app", ("uvicorn",), {"uvicorn": ["", "", *flags]}, made={"hcrs": file}) as servers:
        yield servers


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_uvicorns_root_path(over: str, below: dict[str, Server]) -> None:
    hcrs, uvicorn = Talk(below["hcrs"].listener, over), Talk(below["uvicorn"].listener, "h1")
    ours, theirs = ({path: talk.ask(Request(target=path)) for path in MOUNTED} for talk in (hcrs, uvicorn))
    assert differences(ours, theirs) == {}
    assert ours["/sub/where"]["status"] == ours["/sub/static/mounted.py"]["status"] == 200


def test_bodies_that_gunicorn_takes(tmp_path: Path) -> None:
    file = migrated(tmp_path, "gunicorn", f"{APPS}/wsgi_site:site()", "--bind", "127.0.0.1:0", "--threads", "2")
    body = b"x" * (20 << 20)
    with running(tmp_path, "wsgi_site.py:site()", ("gunicorn",), made={"hcrs": file}) as servers:
        for server in servers.values():
            answer = Talk(server.listener, "h1").ask(Request("POST", "/length", (), body))
            assert (answer["status"], answer["body"]) == (200, str(len(body)).encode())
