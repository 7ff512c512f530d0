"""Several apps behind one server: each has workers, a queue, reloads and limits of its own, and what happens to the workers of
one changes nothing for the others."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import site
import sys
import textwrap
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hcrs
from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.key_rows import shows
from end_to_end.server import Server, to_toml, wait_until
from end_to_end.steady_load import Load
from end_to_end.test_admin import Admin
from end_to_end.test_rereading import AT_START, CHANGED
from end_to_end.test_succession import succeeded
from end_to_end.ws_client import open_over_h1
from hcrs.asyncio import serve as serve_embedded
from hcrs.config import ConfigError

#: A Flask app, which shows what it runs in, and can misbehave.
FLASK = """
    import os, sys, time
    from flask import Flask, jsonify, request

    app = Flask(__name__)

    @app.get("/facts")
    def facts():
        return jsonify(
            kind="wsgi", pid=os.getpid(), folder=os.getcwd(), prefix=sys.prefix, root=request.environ["SCRIPT_NAME"],
            path=request.path, variables={name: os.environ.get(name) for name in ("SHARED", "OWN", "OTHER")},
        )

    @app.get("/wait/<name>")
    def wait(name):
        while not os.path.exists(name):
            time.sleep(0.01)
        return "done"
"""

#: A Starlette app with a lifespan, which writes down that it has run.
STARLETTE = """
    import asyncio, contextlib, os, sys, time
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse
    from starlette.routing import Route, WebSocketRoute

    VERSION = "first"

    @contextlib.asynccontextmanager
    async def lifespan(app):
        with open("lifespans", "a") as file:
            file.write(f"up {os.getpid()}\\n")
        yield
        with open("lifespans", "a") as file:
            file.write(f"down {os.getpid()}\\n")

    async def facts(request):
        return JSONResponse({
            "kind": "asgi", "pid": os.getpid(), "folder": os.getcwd(), "prefix": sys.prefix,
            "root": request.scope["root_path"], "path": request.scope["path"], "version": VERSION,
            "variables": {name: os.environ.get(name) for name in ("SHARED", "OWN", "OTHER")},
        })

    async def block(request):
        while not os.path.exists(request.path_params["name"]):
            time.sleep(0.01)
        return PlainTextResponse("done")

    async def crash(request):
        os._exit(3)

    async def hang(request):
        time.sleep(60)

    async def echo(websocket):
        await websocket.accept()
        await websocket.send_text(f"{os.getpid()} {await websocket.receive_text()}")
        await websocket.close()

    app = Starlette(lifespan=lifespan, routes=[
        Route("/facts", facts), Route("/block/{name}", block), Route("/crash", crash), Route("/hang", hang),
        WebSocketRoute("/echo", echo),
    ])
"""


def written(folder: Path, name: str, source: str) -> str:
    """Writes the app of that name into a folder of its own. Returns the folder."""
    own = folder / name
    own.mkdir(exist_ok=True)
    (own / f"{name}.py").write_text(textwrap.dedent(source))
    return str(own)


@pytest.fixture
def blog(tmp_path: Path) -> dict[str, Any]:
    """The table of an app that is a Starlette app below ``/blog``."""
    folder = written(tmp_path, "blog", STARLETTE)
    return {"name": "blog", "application_path": "blog:app", "chdir": folder, "root_path": "/blog"}


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, Any]:
    """The table of an app that is a Flask app below ``/shop``."""
    folder = written(tmp_path, "shop", FLASK)
    return {"name": "shop", "application_path": "wsgi:shop:app", "chdir": folder, "root_path": "/shop"}


def tables(*apps: dict[str, Any], **hcrs: Any) -> dict[str, Any]:
    """The table ``[hcrs]`` with these apps, each below its name."""
    routes = [{"path": f"/{app['name']}", "app": app["name"]} for app in apps]
    return {"apps": list(apps), "routes": routes, **hcrs}


@pytest.fixture
def several(serve: Callable[..., Server], tmp_path: Path) -> Callable[..., tuple[Server, Admin]]:
    """Serves these apps beside a main one, with an admin interface."""

    def start(*apps: dict[str, Any], app: str | None = "plain.py:app", **config: Any) -> tuple[Server, Admin]:
        hcrs = tables(*apps, admin_bind=f"unix:{tmp_path}/admin", **config.pop("hcrs", {}))
        server = serve(app, **{"keep_alive_timeout": 60, **config}, hcrs=hcrs)
        return server, Admin(server)

    return start


def pids(admin: Admin) -> dict[str, set[int]]:
    """The processes of the workers of each app that are ready."""
    found: dict[str, set[int]] = {app["name"]: set() for app in admin.status()["apps"]}
    for worker in admin.status()["workers"]:
        if worker["state"] == "ready":
            found.setdefault(worker["app"], set()).add(worker["pid"])
    return found


def facts(client: H1Client | H2Client, app: str) -> dict[str, Any]:
    """What an app says of itself."""
    found: dict[str, Any] = json.loads(client.get(f"/{app}/facts").body)
    return found


def environment_of(folder: Path) -> Path:
    """Makes a virtual environment in which there is what is in that of the tests. Returns its interpreter."""
    venv.create(folder, symlinks=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    package = str(Path(hcrs.__file__).parent.parent)
    (packages / "hcrs.pth").write_text("\n".join([package, *site.getsitepackages()]) + "\n")
    return folder / "bin/python"


@shows(apps=[{"name": "blog", "application_path": "blog:app"}])
def test_each_app_has_its_own_kind_directory_variables_root_path_and_interpreter(
    several: Callable[..., tuple[Server, Admin]],
    connect_h1: Callable[..., H1Client],
    connect_h2: Callable[..., H2Client],
    blog: dict[str, Any],
    shop: dict[str, Any],
    tmp_path: Path,
) -> None:
    python = environment_of(tmp_path / "venv")
    blog |= {"env": {"OWN": "blog"}, "workers": 2}
    shop |= {"env": ["OWN=shop", "OTHER=2"], "python": str(python), "wsgi_threads": 3}
    server, admin = several(blog, shop, tls=True, workers=1, hcrs={"env": {"SHARED": "all", "OTHER": "1"}})
    client = connect_h2(server.listener)
    assert client.get().body == b"hello"
    of_blog, of_shop = facts(client, "blog"), facts(connect_h1(server.listener), "shop")
    assert (of_blog["kind"], of_shop["kind"]) == ("asgi", "wsgi")
    assert (of_blog["folder"], of_shop["folder"]) == (blog["chdir"], shop["chdir"])
    assert (of_blog["root"], of_blog["path"]) == ("/blog", "/blog/facts")
    assert (of_shop["root"], of_shop["path"]) == ("/shop", "/facts")
    assert of_blog["variables"] == {"SHARED": "all", "OWN": "blog", "OTHER": "1"}
    assert of_shop["variables"] == {"SHARED": "all", "OWN": "shop", "OTHER": "2"}
    assert (of_blog["prefix"], of_shop["prefix"]) == (sys.prefix, str(tmp_path / "venv"))
    ready = pids(admin)
    assert {name: len(workers) for name, workers in ready.items()} == {"main": 1, "blog": 2, "shop": 1}
    assert of_blog["pid"] in ready["blog"] and ready["shop"] == {of_shop["pid"]}
    titles = {Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode() for pid in server.worker_pids()}
    assert "hcrs: worker 1 of app shop (wsgi:shop:app)" in titles, titles
    # Each worker has a lifespan of its own, in the folder of its app.
    server.assert_ends_well()
    lines = (tmp_path / "blog/lifespans").read_text().splitlines()
    assert sorted(lines) == sorted(f"{way} {pid}" for pid in ready["blog"] for way in ("up", "down"))


def test_a_websocket_reaches_the_app_of_its_route(
    several: Callable[..., tuple[Server, Admin]], connect_h1: Callable[..., H1Client], blog: dict[str, Any]
) -> None:
    server, admin = several(blog)
    websocket = open_over_h1(connect_h1(server.listener), "/blog/echo")
    websocket.send("hello")
    pid, _, text = str(websocket.receive()).partition(" ")
    assert (pids(admin)["blog"], text) == ({int(pid)}, "hello")


def test_without_a_main_app_requests_without_a_route_get_404(
    several: Callable[..., tuple[Server, Admin]], connect_h1: Callable[..., H1Client], blog: dict[str, Any], shop: dict[str, Any]
) -> None:
    server, admin = several(blog, shop, app=None)
    client = connect_h1(server.listener)
    assert client.get("/facts").status == 404
    assert facts(client, "blog")["kind"] == "asgi"
    assert 'fault="no_route",blame="client"} 1' in admin.get("/metrics")[1]
    assert "name the app, which is one of blog, shop" in admin.hcrs("scale", "2", code=1)


def test_the_only_app_takes_all_requests_whatever_its_name(
    serve: Callable[..., Server], connect_h1: Callable[..., H1Client], blog: dict[str, Any]
) -> None:
    del blog["root_path"]
    server = serve(None, hcrs={"apps": [blog]})
    found = json.loads(connect_h1(server.listener).get("/facts").body)
    assert (found["root"], found["folder"]) == ("", blog["chdir"])


@pytest.mark.slow
def test_what_happens_to_the_workers_of_one_app_takes_no_request_from_another(
    several: Callable[..., tuple[Server, Admin]], connect_h2: Callable[..., H2Client], blog: dict[str, Any]
) -> None:
    blog |= {"worker_timeout": 1, "workers": 1}
    server, admin = several(blog, app="steady.py:app", tls=True, workers=2)
    client = connect_h2(server.listener)
    main = pids(admin)["main"]
    load = Load(server.listener.port)
    with load.running():
        load.wait_for_more()
        for _ in range(3):  # killed from outside, while it serves
            (old,) = pids(admin)["blog"]
            os.kill(old, signal.SIGKILL)
            assert facts(client, "blog")["pid"] != old, "it waits for the next worker"
        for path in ("/blog/crash", "/blog/crash"):
            assert client.get(path).status == 502
        load.wait_for_more()
        hung = client.request("GET", "/blog/hang")
        server.wait_for_log(r"Worker \d+ of app blog has not answered for [\d.]+ s: .*killing and replacing it")
        assert client.response(hung).status == 502
        load.wait_for_more()
        # From now on it cannot start any more.
        source = Path(blog["chdir"]) / "blog.py"
        text = source.read_text()
        source.write_text("raise RuntimeError('broken')")
        assert client.get("/blog/crash").status == 502
        server.wait_for_log("RuntimeError: broken", 2)
        load.wait_for_more()
        source.write_text(text)
        assert facts(client, "blog")["kind"] == "asgi"
        load.wait_for_more()
    assert not load.failures and not load.moved
    assert pids(admin)["main"] == main, "no worker of the main app was touched"


def test_a_full_queue_of_one_app_refuses_no_request_to_another(
    several: Callable[..., tuple[Server, Admin]], connect_h2: Callable[..., H2Client], blog: dict[str, Any]
) -> None:
    blog |= {"queue_size": 4, "queue_timeout": 60}
    server, admin = several(blog, tls=True)
    client = connect_h2(server.listener)
    first = client.request("GET", "/blog/block/open")
    wait_until(lambda: admin.status()["requests"]["in_flight"] == 1, "the request that blocks")
    # Those beyond the worker's start credits wait in the queue, and those beyond that are refused.
    waiting = [client.request("GET", "/blog/facts") for _ in range(60)]
    wait_until(lambda: admin.status()["queue"]["shed"] > 0, "a full queue")
    assert [app["queue"] for app in admin.status()["apps"]] == [0, 4]
    assert 'hcrs_queue_length{app="blog"} 4' in admin.get("/metrics")[1]
    for _ in range(10):
        assert client.get().body == b"hello"
    (Path(blog["chdir"]) / "open").touch()
    assert client.response(first).body == b"done"
    statuses = [client.response(stream).status for stream in waiting]
    assert statuses.count(200) == 60 - admin.status()["queue"]["shed"] and set(statuses) == {200, 503}


def test_sighup_replaces_the_workers_of_all_apps_and_a_command_those_of_one(
    several: Callable[..., tuple[Server, Admin]], connect_h2: Callable[..., H2Client], blog: dict[str, Any], shop: dict[str, Any]
) -> None:
    server, admin = several(blog, shop, tls=True, workers=2)
    client = connect_h2(server.listener)
    before = pids(admin)
    assert admin.hcrs("reload", "--app", "shop") == "all workers of app shop are being replaced\n"
    server.wait_for_log("All workers of app shop have been replaced")
    after = pids(admin)
    assert (after["main"], after["blog"]) == (before["main"], before["blog"])
    assert len(after["shop"]) == 2 and not after["shop"] & before["shop"]
    server.signal(signal.SIGHUP)
    for app in ("", " of app blog", " of app shop"):
        server.wait_for_log(f"All workers{app} have been replaced", 2 if app == " of app shop" else 1)
    wait_until(lambda: all(len(workers) == 2 for workers in pids(admin).values()), "two workers of each")
    assert not set().union(*pids(admin).values()) & set().union(*after.values())
    assert facts(client, "shop")["pid"] in pids(admin)["shop"]
    assert client.goaway is None
    assert "there is no app shpo; the apps are main, blog, shop" in admin.hcrs("reload", "--app", "shpo", code=1)
    assert admin.get("/reload?app=main", method="POST") == (200, "all workers of app main are being replaced\n")
    server.wait_for_log("All workers have been replaced", 2)


def test_signals_scale_the_main_app_and_commands_any(
    several: Callable[..., tuple[Server, Admin]], blog: dict[str, Any]
) -> None:
    server, admin = several(blog, workers=2)

    def counts() -> list[int]:
        return [app["workers"] for app in admin.status()["apps"]]

    def are_ready() -> bool:
        return [len(workers) for workers in pids(admin).values()] == counts()

    server.signal(signal.SIGTTIN)
    server.wait_for_log(r"Changing the number of workers from 2 to 3 \(SIGTTIN\)")
    assert admin.hcrs("scale", "1", "--app", "blog") == "the server runs 1 workers of app blog from now on\n"
    assert admin.hcrs("scale", "1") == "the server runs 1 workers from now on\n"
    assert admin.hcrs("scale", "4", "--app", "blog") == "the server runs 4 workers of app blog from now on\n"
    wait_until(are_ready, "the workers")
    assert counts() == [1, 4]
    metrics = admin.get("/metrics")[1]
    for label in ('app="main",worker="1"', 'app="main",worker="3"', 'app="blog",worker="4"'):
        assert f"hcrs_worker_requests_in_flight{{{label}}} 0" in metrics, metrics
    shown = admin.hcrs("status", "--once")
    assert "blog  blog:app  4 of 4 ready  queue 0" in shown, shown
    server.signal(signal.SIGHUP)
    wait_until(lambda: counts() == [2, 2] and are_ready(), "the configured numbers")


def test_the_limits_of_an_app_are_its_own(
    several: Callable[..., tuple[Server, Admin]], connect_h1: Callable[..., H1Client], blog: dict[str, Any]
) -> None:
    server, admin = several(blog | {"max_requests": 5})
    client = connect_h1(server.listener)
    before = pids(admin)
    # The first one beyond the limit is the one that asks for another worker.
    seen = {facts(client, "blog")["pid"] for _ in range(6)}
    server.wait_for_log(r"Worker \d+ of app blog has reached max_requests; replacing it")
    server.wait_for_log(r"Worker \d+ of app blog is ready and replaces worker \d+")
    for _ in range(20):
        assert client.get("/").status == 200
    assert seen == before["blog"] and facts(client, "blog")["pid"] not in seen
    assert pids(admin)["main"] == before["main"]


def test_a_changed_file_restarts_the_workers_of_its_app(
    several: Callable[..., tuple[Server, Admin]],
    connect_h2: Callable[..., H2Client],
    blog: dict[str, Any],
    shop: dict[str, Any],
) -> None:
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    server, admin = several(blog | {"use_reloader": True}, shop | {"use_reloader": True}, tls=True, env=env)
    client = connect_h2(server.listener)
    wait_until(lambda: all(pids(admin).values()), "all workers")
    before = pids(admin)
    source = Path(blog["chdir"]) / "blog.py"
    source.write_text(source.read_text().replace('"first"', '"second"'))
    server.wait_for_log(r"Replacing all workers of app blog \(\S*/blog\.py has changed\)")
    server.wait_for_log("All workers of app blog have been replaced")
    assert facts(client, "blog")["version"] == "second"
    good = source.read_text()
    source.write_text(good + "\nraise RuntimeError('unfinished')\n")
    server.wait_for_log("App blog cannot be served; requests are answered with the reason until a file changes")
    broken = client.get("/blog/facts")
    assert broken.status == 500 and b"RuntimeError: unfinished" in broken.body
    assert facts(client, "shop")["pid"] in before["shop"] and client.get().body == b"hello"
    source.write_text(good)
    server.wait_for_log("All workers of app blog have been replaced", 2)
    assert facts(client, "blog")["version"] == "second"
    after = pids(admin)
    assert (after["main"], after["shop"]) == (before["main"], before["shop"])
    assert "Replacing all workers (" not in server.log and "of app shop (" not in server.log


def test_apps_come_and_go_at_a_reload(
    serve: Callable[..., Server], connect_h2: Callable[..., H2Client], blog: dict[str, Any], shop: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "hcrs.toml"
    main = str(Path(__file__).parent / "apps/plain.py:app")

    def write(*apps: dict[str, Any]) -> None:
        keys = tables(*apps, admin_bind=f"unix:{tmp_path}/admin")
        file.write_text(to_toml({"bind": "127.0.0.1:0", "application_path": main, "keep_alive_timeout": 60, "hcrs": keys}))

    write(blog)
    server = serve(None, config_file=file)
    admin = Admin(server)
    client = connect_h2(server.listener)
    assert facts(client, "blog")["kind"] == "asgi"
    # One that cannot be served yet lets requests wait, and nothing else.
    text = (Path(shop["chdir"]) / "shop.py").read_text()
    (Path(shop["chdir"]) / "shop.py").write_text("raise RuntimeError('unfinished')")
    write(shop, blog)
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"Worker \d+ of app shop cannot serve the app")
    assert client.get().body == b"hello"
    waiting = client.request("GET", "/shop/facts")
    (Path(shop["chdir"]) / "shop.py").write_text(text)
    assert json.loads(client.response(waiting).body)["kind"] == "wsgi"
    assert facts(client, "blog")["kind"] == "asgi"
    # One that goes finishes what it has begun.
    slow = client.request("GET", "/shop/wait/open")
    wait_until(lambda: any(request["path"] == "/shop/wait/open" for request in admin.status()["in_flight"]), "the request")
    write(blog | {"workers": 2, "application_path": "other:app", "preload": True})
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"Changing the number of workers of app shop from 1 to 0 \(the app is configured no more\)")
    assert client.get("/shop/facts").body != b"", "the main app has it now"
    (Path(shop["chdir"]) / "open").touch()
    assert client.response(slow).body == b"done"
    wait_until(lambda: [app["name"] for app in admin.status()["apps"]] == ["main", "blog"], "the end of the shop")
    wait_until(lambda: len(pids(admin)["blog"]) == 2 and "shop" not in pids(admin), "the workers")
    server.wait_for_log(CHANGED, 2)
    assert re.findall(AT_START, server.log) == ["application_path of app blog, preload of app blog"]
    assert client.goaway is None


def test_preloaded_apps_are_forked_each_from_its_own_template_and_succeeded_together(
    several: Callable[..., tuple[Server, Admin]], connect_h2: Callable[..., H2Client], blog: dict[str, Any], shop: dict[str, Any]
) -> None:
    server, admin = several(blog | {"preload": True, "workers": 2}, shop | {"preload": True})
    client = connect_h2(server.listener)
    before = pids(admin)
    assert len(before["blog"]) == 2 and facts(client, "blog")["pid"] in before["blog"]
    (old,) = before["shop"]
    os.kill(old, signal.SIGKILL)
    assert facts(client, "shop")["pid"] != old
    with succeeded(server):
        assert server.wait_for_exit() == 0
        client = connect_h2(server.listener)
        assert facts(client, "blog")["folder"] == blog["chdir"] and facts(client, "shop")["kind"] == "wsgi"
        assert not set().union(*pids(admin).values()) & set().union(*before.values())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"application_path": "nothing:app"}, "app blog:\n"),
        ({"chdir": "/nonexistent"}, "app blog: cannot change to the directory /nonexistent: No such file"),
        ({"python": "/nonexistent/python"}, "/nonexistent/python cannot be run"),
    ],
)
def test_an_app_that_cannot_start_ends_the_start_and_is_named(
    launch: Callable[..., Server], blog: dict[str, Any], keys: dict[str, Any], message: str
) -> None:
    server = launch("plain.py:app", hcrs=tables(blog | keys))
    assert server.wait_for_exit() == 1
    assert message in server.log


def test_a_program_that_serves_its_own_app_has_no_others(blog: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    config = hcrs.Config()
    config.bind = ["127.0.0.1:0"]
    config.hcrs = tables(blog)
    with pytest.raises(ConfigError, match="a program that serves an app itself has no other apps"):
        asyncio.run(serve_embedded(app, config))
