"""The package is typed, for those who check it and for those who call it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("mypy")
pytest.importorskip("trio")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CALLS = '''
import asyncio
from collections.abc import Iterable
from typing import Any

import trio
import hcrs.trio
from hcrs import Config as Exported
from hcrs.asyncio import serve
from hcrs.config import Config
from hcrs.middleware import AsyncioWSGIMiddleware, DispatcherMiddleware, ProxyFixMiddleware
from hcrs.run import run
from hcrs.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

class App:
    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None: ...

def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return []

async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    if scope["type"] == "http":
        answer_to(scope)

def answer_to(scope: HTTPScope) -> str:
    return scope["method"] + scope["path"]

async def on_trio() -> None:
    async with trio.open_nursery() as nursery:
        urls: list[str] = await nursery.start(hcrs.trio.serve, app, Exported())
        await hcrs.trio.serve(wsgi, Config(), shutdown_trigger=trio.Event().wait, mode="wsgi")

async def main() -> None:
    config = Config.from_mapping(bind="localhost:0")
    config.bind = "127.0.0.1:0"
    await serve(App(), config, shutdown_trigger=asyncio.Event().wait, mode="asgi", on_listening=print)
    mounted = DispatcherMiddleware({"/w": AsyncioWSGIMiddleware(wsgi), "/": ProxyFixMiddleware(app, mode="modern")})
    await serve(mounted, config)
    await serve(wsgi, config, shutdown_trigger=lambda: asyncio.Future())

code: int = run(Config.from_toml("config.toml"))
'''


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Has mypy check strictly, with a cache that the tests of this module share."""
    cache = tmp_path_factory.mktemp("mypy")

    def check(*arguments: str) -> None:
        mypy = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file", "", "--cache-dir", str(cache)]
        checked = subprocess.run([*mypy, *arguments], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr

    return check


def test_the_package_is_typed_strictly(check: Callable[..., None]) -> None:
    check("-p", "hcrs")


def test_a_program_that_calls_it_is_checked(check: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(CALLS)
    check(str(tmp_path / "calls.py"))


def test_the_extensions_stubs_say_what_it_has(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text("hcrs._hcrs.AsgiLink.__call__\n")  # what a slot says of its signature is too general
    checked = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "hcrs._hcrs", "--allowlist", str(allowed)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
