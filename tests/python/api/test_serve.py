"""``hcrs.asyncio.serve``, called by programs as Hypercorn's is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.conftest import DEADLINE, Program
from end_to_end.server import command, is_alive, wait_until

Start = Callable[[str], Program]

SERVE = "asyncio.run(serve(app, config, on_listening=listening))\nprint('end')\n"


def get(url: str, **options: object) -> httpx.Response:
    with httpx.Client(timeout=DEADLINE, **options) as client:  # type: ignore[arg-type]
        return client.get(url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run([command(), "cert", "dev", "--dir", str(folder)], check=True, capture_output=True)
    return {"certfile": str(folder / "cert.pem"), "keyfile": str(folder / "key.pem")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_a_trigger_a_signal_ends_it(start: Start, number: signal.Signals) -> None:
    program = start(SERVE)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    response = get(f"{url}/a")
    assert response.status_code == 200 and response.headers["server"] == "hcrs"
    assert response.text == f"/a 1.1  {program.process.pid}", "the app runs in the program's process"
    [edge] = program.edges()
    program.process.send_signal(number)
    assert program.end() == ["lifespan.shutdown", "end"]
    assert not is_alive(edge)


def test_a_trigger_ends_it_and_requests_finish(start: Start) -> None:
    program = start("""
        async def main():
            stop, at_work, may_answer = asyncio.Event(), asyncio.Event(), asyncio.Event()

            async def waiting(scope, receive, send):
                if scope["type"] == "http":
                    at_work.set()
                    await may_answer.wait()
                await app(scope, receive, send)

            async def trigger():
                await at_work.wait()
                asyncio.get_running_loop().call_later(0.3, may_answer.set)
                print("trigger", flush=True)

            await serve(waiting, config, shutdown_trigger=trigger, on_listening=listening)
        asyncio.run(main())
    """)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    response = get(f"{url}/late")
    assert (response.status_code, response.text.split()[0]) == (200, "/late")
    assert program.line() == "trigger"
    assert program.end() == ["lifespan.shutdown"]
    assert "Shutting down (the calling program)" in program.errors


def test_what_does_not_finish_in_time_is_cut_off(start: Start) -> None:
    program = start("config.graceful_timeout = 0.2\n" + SERVE)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.append(get(f"{url}/slow").status_code))
    asking.start()
    assert program.line() == "slow"
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == ["lifespan.shutdown", "end"]
    asking.join()
    assert statuses == [503]


def test_the_same_loop_serves_and_asks(start: Start) -> None:
    program = start("""
        import httpx

        async def cells():
            stop = asyncio.Event()
            urls = asyncio.get_running_loop().create_future()
            server = asyncio.create_task(
                serve(app, config, shutdown_trigger=stop.wait, on_listening=urls.set_result)
            )
            [url] = await urls
            async with httpx.AsyncClient() as client:
                answers = await asyncio.gather(*(client.get(f"{url}/{n}") for n in range(50)))
            print(sorted({answer.status_code for answer in answers}), flush=True)
            stop.set()
            await server
            print(len(asyncio.all_tasks()), "task")

        loop = asyncio.new_event_loop()
        loop.run_until_complete(cells())
    """)
    assert program.end() == ["lifespan.startup", "[200]", "lifespan.shutdown", "1 task"]


def test_uvloop(start: Start) -> None:
    pytest.importorskip("uvloop")
    program = start("import uvloop\nuvloop.run(serve(app, config, on_listening=listening))\n")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    assert get(f"{url}/u").text.startswith("/u 1.1")
    program.process.send_signal(signal.SIGINT)
    assert program.end() == ["lifespan.shutdown"]


def test_in_a_thread_of_its_own(start: Start) -> None:
    program = start("""
        import threading
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        thread = threading.Thread(
            target=loop.run_until_complete,
            args=[serve(app, config, shutdown_trigger=stop.wait, on_listening=listening)],
        )
        thread.start()
        input()
        loop.call_soon_threadsafe(stop.set)
        thread.join()
    """)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    assert get(f"{url}/t").status_code == 200
    program.say("stop")
    assert program.end() == ["lifespan.shutdown"]


def test_cancelling_it_drains_as_well(start: Start) -> None:
    program = start("""
        async def main():
            task = asyncio.create_task(serve(app, config, on_listening=lambda urls: task.cancel()))
            try:
                await task
            except asyncio.CancelledError:
                print("cancelled", flush=True)
        asyncio.run(main())
    """)
    assert program.end() == ["lifespan.startup", "lifespan.shutdown", "cancelled"]


def test_cancelling_it_twice_cuts_off(start: Start) -> None:
    program = start("""
        config.graceful_timeout = 60

        async def slow(scope, receive, send):
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                print("cut off", flush=True)
                raise

        async def main():
            task = asyncio.create_task(serve(slow, config, on_listening=listening))
            for _ in range(2):
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
                task.cancel()
            await asyncio.wait([task])
            print("cancelled", task.cancelled(), flush=True)
        asyncio.run(main())
    """)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    statuses: list[int] = []

    def ask() -> None:
        with contextlib.suppress(httpx.TransportError):
            statuses.append(get(f"{url}/slow").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    assert program.line() == "slow"
    program.say("cancel")
    wait_until(lambda: "Shutting down" in program.errors, "the drain to begin", DEADLINE)
    program.say("cancel")
    assert program.end() == ["cut off", "lifespan.shutdown", "cancelled True"]
    asking.join()
    assert all(status == 500 for status in statuses), "or the connection is lost"


def test_tls_and_http2(start: Start, certificate: dict[str, str]) -> None:
    program = start(f"config = Config.from_mapping({certificate!r}, bind='localhost:0', root_path='/base/')\n{SERVE}")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    assert url.startswith("https://")
    trusted = ssl.create_default_context(cafile=certificate["certfile"])
    response = get(url.replace("127.0.0.1", "localhost") + "/s", http2=True, verify=trusted)
    assert (response.http_version, response.text) == ("HTTP/2", f"/s 2 /base {program.process.pid}")
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == ["lifespan.shutdown", "end"]


def test_the_edge_reads_certificates_again_and_leaves_the_app_alone(start: Start, certificate: dict[str, str]) -> None:
    settings = f"Config.from_mapping({certificate!r}, bind='localhost:0', max_requests=1, use_reloader=True)"
    program = start(f"config = {settings}\n{SERVE}")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    [edge] = program.edges()
    os.kill(edge, signal.SIGHUP)
    wait_until(lambda: "The certificates were read again" in program.errors, "the certificates to be read")
    trusted = ssl.create_default_context(cafile=certificate["certfile"])
    for _ in range(4):
        response = get(url.replace("127.0.0.1", "localhost") + "/s", verify=trusted)
        assert response.text.endswith(f" {program.process.pid}")
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == ["lifespan.shutdown", "end"]
    assert "replace" not in program.errors.lower(), program.errors


def test_a_unix_socket_and_an_inherited_one(start: Start) -> None:
    program = start(f"""
        import socket
        held = socket.create_server(("127.0.0.1", 0))
        config.bind = ["unix:app.sock", f"fd://{{held.fileno()}}"]
        print(held.getsockname()[1], flush=True)
        {SERVE.splitlines()[0]}
    """)
    port = program.line()
    assert program.line() == "lifespan.startup"
    unix, _ = program.listening()
    path = Path(f"/proc/{program.process.pid}/cwd/app.sock")
    assert unix == "http://unix:app.sock"
    assert get("http://app/unix", transport=httpx.HTTPTransport(uds=str(path))).text.startswith("/unix")
    assert get(f"http://127.0.0.1:{port}/held").text.startswith("/held")
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == ["lifespan.shutdown"]


def test_two_at_a_time_and_both_hear_a_signal(start: Start) -> None:
    program = start("""
        async def main():
            await asyncio.gather(*(serve(app, config, on_listening=listening) for _ in range(2)))
        asyncio.run(main())
    """)
    lines = [program.line() for _ in range(4)]
    urls = [line.split()[1] for line in lines if line.startswith("listening")]
    assert len(set(urls)) == 2
    assert [get(url).status_code for url in urls] == [200, 200]
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == ["lifespan.shutdown"] * 2


def test_one_after_the_other_leaves_nothing_behind(start: Start) -> None:
    program = start("""
        import signal, threading

        def held():
            return len(os.listdir("/proc/self/fd")), threading.active_count()

        async def main():
            before = held()
            for _ in range(3):
                stop = asyncio.Event()
                await serve(app, config, shutdown_trigger=stop.wait, on_listening=lambda urls: stop.set())
            await serve(app, config, on_listening=lambda urls: signal.raise_signal(signal.SIGTERM))
            await asyncio.sleep(0)
            print(before == held(), before, held())

        asyncio.run(main())
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    """)
    lines = program.end()
    assert lines[:8] == ["lifespan.startup", "lifespan.shutdown"] * 4
    assert lines[8].startswith("True") and lines[9] == "True", lines


def test_the_death_of_the_edge_is_an_error(start: Start) -> None:
    program = start("""
        from hcrs.edge import EdgeLostError
        try:
            asyncio.run(serve(app, config, on_listening=listening))
        except EdgeLostError as error:
            print(error)
    """)
    assert program.line() == "lifespan.startup"
    program.listening()
    [edge] = program.edges()
    os.kill(edge, signal.SIGKILL)
    assert program.end() == ["lifespan.shutdown", f"the edge, process {edge}, was killed by SIGKILL"]


def test_an_edge_that_is_told_to_end_ends_the_call(start: Start) -> None:
    program = start(SERVE)
    assert program.line() == "lifespan.startup"
    program.listening()
    os.kill(program.edges()[0], signal.SIGTERM)
    assert program.end() == ["lifespan.shutdown", "end"]


@pytest.mark.parametrize("forked", [False, True])
def test_the_edge_dies_with_the_program(start: Start, forked: bool) -> None:
    fork = "if os.fork() == 0: import time; time.sleep(60); os._exit(0)" if forked else "pass"
    program = start(f"""
        def listening(urls):
            print("listening", *urls, flush=True)
            {fork}
        {SERVE.splitlines()[0]}
    """)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    wait_until(lambda: len(program.edges()) == 1 + forked, "the program has forked")
    edge = next(pid for pid in program.edges() if Path(f"/proc/{pid}/comm").read_text().strip() == "hcrs")
    program.process.kill()
    wait_until(lambda: not is_alive(edge), "the edge ends")
    with pytest.raises(httpx.ConnectError):
        get(url)
    if forked:
        os.killpg(program.process.pid, signal.SIGKILL)


def test_an_address_in_use_is_an_oserror(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        program = start(f"""
            import errno
            config.bind = "127.0.0.1:{held.getsockname()[1]}"
            try:
                asyncio.run(serve(app, config))
            except OSError as error:
                print(type(error).__name__, error.errno == errno.EADDRINUSE, error)
        """)
        [line] = program.end()
    assert line.startswith("EdgeStartError True ") and "cannot listen on 127.0.0.1:" in line


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("config.keep_alive_timeout = 'soon'", "keep_alive_timeout: expected a number of seconds"),
        ("config.bind = 5", "bind: expected a string or an array of strings, found 5"),
        ("config.certfile = 'missing.pem'", "certfile is set but keyfile is not"),
        ("config.certfile, config.keyfile = 'missing.pem', 'missing.pem'", "missing.pem"),
        ("config.accesslog = object()", "Config.accesslog: a value of type object"),
        ("config.create_ssl_context = lambda: None", "Config.create_ssl_context"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(start: Start, setting: str, expected: str) -> None:
    program = start(f"""
        {setting}
        try:
            asyncio.run(serve(app, config))
        except ValueError as error:
            print(type(error).__name__, error)
    """)
    text = "\n".join(program.end())
    assert text.startswith("ConfigError") and expected in text


def test_a_start_that_fails_in_the_app_raises(start: Start) -> None:
    program = start("""
        from hcrs.lifespan import LifespanFailureError, LifespanTimeoutError

        async def failing(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        async def slow(scope, receive, send):
            await asyncio.sleep(3600)

        async def main():
            for broken in (failing, slow):
                config.startup_timeout = 0.1 if broken is slow else 60
                try:
                    await serve(broken, config)
                except (LifespanFailureError, LifespanTimeoutError) as error:
                    print(type(error).__name__, "no database" in str(error))
        asyncio.run(main())
    """)
    assert program.end() == ["LifespanFailureError True", "LifespanTimeoutError False"]


def test_errors_of_the_app_are_logged_and_the_program_decides_where(start: Start) -> None:
    program = start(SERVE)
    program.line()
    [url] = program.listening()
    assert get(f"{url}/error").status_code == 500
    program.process.send_signal(signal.SIGTERM)
    program.end()
    assert f"[{program.process.pid}] [ERROR] Error in ASGI Framework" in program.errors
    assert program.errors.count("ZeroDivisionError: of the app") == 1

    program = start("import logging\nlogging.basicConfig(format='%(name)s says %(message)s')\n" + SERVE)
    program.line()
    [url] = program.listening()
    assert get(f"{url}/error").status_code == 500
    program.process.send_signal(signal.SIGTERM)
    program.end()
    assert "hcrs.error says Error in ASGI Framework" in program.errors
    assert program.errors.count("ZeroDivisionError: of the app") == 1


def test_settings_of_processes_give_a_warning(start: Start) -> None:
    program = start("config.workers = 4\n" + SERVE)
    program.line()
    program.listening()
    assert len(program.edges()) == 1
    program.process.send_signal(signal.SIGTERM)
    program.end()
    assert "UserWarning: Config.workers has no effect on serve()" in program.errors


@pytest.mark.parametrize("mode", [None, "wsgi"])
def test_wsgi(start: Start, mode: str | None) -> None:
    program = start(f"""
        import threading, time

        def wsgi(environ, start_response):
            start_response("200 OK", [("content-type", "text/plain")])
            if environ["PATH_INFO"] == "/block":
                print("blocked", flush=True)
                time.sleep(0.5)
            return [threading.current_thread().name.encode(), b" ", environ["wsgi.input"].read()]

        config.hcrs = {{"wsgi_threads": 2}}
        asyncio.run(serve(wsgi, config, mode={mode!r}, on_listening=listening))
        print("end")
    """)
    [url] = program.listening()
    assert httpx.post(url, content=b"x" * 100_000).text.endswith(" " + "x" * 100_000)
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(get(f"{url}/block").text))
    asking.start()
    assert program.line() == "blocked"
    assert get(url).text.startswith("hcrs-wsgi-"), "another thread answers"
    program.process.send_signal(signal.SIGTERM)
    asking.join()
    assert answers and answers[0].startswith("hcrs-wsgi-"), "it was let finish"
    assert program.end() == ["end"]


def test_an_app_of_asgi_2_is_served_and_what_is_no_app_is_refused(start: Start) -> None:
    program = start("""
        class Double:
            def __init__(self, scope):
                self.scope = scope

            async def __call__(self, receive, send):
                if self.scope["type"] == "http":
                    await send({"type": "http.response.start", "status": 200})
                    await send({"type": "http.response.body", "body": self.scope["asgi"]["version"].encode()})

        try:
            asyncio.run(serve(lambda: None, config))
        except TypeError as error:
            print(error, flush=True)
        asyncio.run(serve(Double, config, on_listening=listening))
    """)
    assert program.line() == "it takes no arguments: it is a factory and has to be called, as in 'module:<lambda>()'"
    [url] = program.listening()
    assert get(url).text == "2.0"
    program.process.send_signal(signal.SIGTERM)
    program.end()


def test_fastapi_with_its_lifespan(start: Start) -> None:
    program = start("""
        from contextlib import asynccontextmanager
        from fastapi import FastAPI, Request

        @asynccontextmanager
        async def lifespan(app):
            print("open", flush=True)
            yield {"greeting": "hello"}
            print("close", flush=True)

        app = FastAPI(lifespan=lifespan)

        @app.get("/items/{number}")
        async def item(number: int, request: Request):
            return {"number": number, "greeting": request.state.greeting}

        asyncio.run(serve(app, config, on_listening=listening))
    """)
    assert program.line() == "open"
    [url] = program.listening()
    assert get(f"{url}/items/7").json() == {"number": 7, "greeting": "hello"}
    assert get(f"{url}/items/seven").status_code == 422
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == ["close"]


def test_logs_go_where_the_configuration_says(start: Start) -> None:
    program = start("config.errorlog, config.accesslog = 'error.log', 'access.log'\n" + SERVE)
    program.line()
    [url] = program.listening()
    get(f"{url}/error")
    folder = Path(f"/proc/{program.process.pid}/cwd").resolve()
    program.process.send_signal(signal.SIGTERM)
    program.end()
    errors = (folder / "error.log").read_text()
    assert "Running on" in errors and "ZeroDivisionError: of the app" in errors
    assert '"GET /error 1.1" 500' in (folder / "access.log").read_text()
    assert program.errors == ""


def test_without_an_errorlog_nothing_is_said(start: Start) -> None:
    program = start("config.errorlog = None\n" + SERVE)
    program.line()
    [url] = program.listening()
    assert get(f"{url}/error").status_code == 500
    program.process.send_signal(signal.SIGTERM)
    program.end()
    assert program.errors == ""


def test_the_app_and_the_edge_share_a_syslog(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        syslog.settimeout(DEADLINE)
        program = start(f"config.errorlog = 'syslog:{tmp_path / 'log'}'\n{SERVE}")
        program.line()
        [url] = program.listening()
        assert get(f"{url}/error").status_code == 500
        lines: list[str] = []
        while not any("Error in ASGI Framework" in line for line in lines):
            lines.append(syslog.recv(1 << 16).decode())
        assert "Running on" in lines[0]
        forms = {line.partition(" hcrs[")[0].partition(">")[0] for line in lines}
        assert forms <= {"<30", "<27"}, "facility daemon, info and error"
        program.process.send_signal(signal.SIGTERM)
        program.end()
    assert program.errors == ""


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_cancelling_it_loses_no_line_of_the_logs(start: Start, loop: str) -> None:
    pytest.importorskip(loop)
    program = start(f"""
        import httpx, trio, hcrs.trio

        async def ask(url):
            async with httpx.AsyncClient() as client:
                await client.get(url + "/a")

        async def on_asyncio():
            urls = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(serve(app, config, on_listening=urls.set_result))
            [url] = await urls
            await ask(url)
            task.cancel()
            await asyncio.wait([task])

        async def on_trio():
            async with trio.open_nursery() as nursery:
                [url] = await nursery.start(hcrs.trio.serve, app, config)
                await ask(url)
                nursery.cancel_scope.cancel()

        config.accesslog, config.errorlog = "access.log", "error.log"
        for _ in range(20):
            asyncio.run(on_asyncio()) if "{loop}" == "asyncio" else trio.run(on_trio)
        print(len(open("access.log").readlines()), open("error.log").read().count("Shutting down"))
    """)
    assert program.end()[-1] == "20 20"


@pytest.mark.parametrize("is_set_up", [False, True])
def test_logs_go_to_loggers_of_the_program(start: Start, is_set_up: bool) -> None:
    program = start(f"""
        import logging

        class Printing(logging.Handler):
            def emit(self, record):
                text = record.getMessage() + (" " + repr(record.exc_info[1]) if record.exc_info else "")
                say(record.name, record.levelname, text)

        if {is_set_up}:
            logging.getLogger().addHandler(Printing())
        for name in ("access", "error"):
            logger = logging.getLogger("mine." + name)
            logger.setLevel(logging.INFO)
            if not {is_set_up}:
                logger.addHandler(Printing())
            setattr(config, name + "log", logger)
        config.access_log_format = "%(m)s %(U)s é %(s)s"
        before = len(os.listdir("/proc/self/fd"))
        {SERVE.splitlines()[0]}
        print(logging.getLogger("hcrs.error").handlers, len(os.listdir("/proc/self/fd")) - before)
    """)
    assert program.line() == "lifespan.startup"
    lines = [program.line(), program.line()]
    [url] = next(line.split()[1:] for line in lines if line.startswith("listening"))
    assert f"mine.error INFO Running on {url} (CTRL + C to quit)" in lines
    assert get(f"{url}/error").status_code == 500
    assert sorted([program.line(), program.line()]) == [
        "hcrs.error ERROR Error in ASGI Framework ZeroDivisionError('of the app')",
        "mine.access INFO GET /error é 500",
    ]
    program.process.send_signal(signal.SIGTERM)
    lines = program.end()
    assert lines[-1] == "[] 0"
    assert sorted(lines[:-1]) == ["lifespan.shutdown", "mine.error INFO Shutting down (the calling program)"]
    assert program.errors == ""
