"""``hcrs.asyncio.serve``: what test_serve.py has not for both libraries."""

from __future__ import annotations

import os
import signal
import ssl
from pathlib import Path

import httpx
import pytest

from api.conftest import DEADLINE, Asking, Start, get
from end_to_end.server import is_alive, wait_until

SERVE = "run()\nsay('end')\n"


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


def test_cancelling_it_twice_cuts_off(start: Start) -> None:
    program = start("""
        config.graceful_timeout = 60

        async def main():
            task = asyncio.create_task(serve(app, config, on_listening=listening))
            for _ in range(2):
                await line()
                task.cancel()
            await asyncio.wait([task])
            say("cancelled", task.cancelled())
        asyncio.run(main())
    """)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking = Asking(f"{url}/slow")
    assert program.line() == "slow"
    program.say("cancel")
    wait_until(lambda: "Shutting down" in program.errors, "the drain to begin", DEADLINE)
    program.say("cancel")
    assert program.end() == ["cut off", "lifespan.shutdown", "cancelled True"]
    answer = asking.answer()
    assert answer is None or answer.status_code == 500, "or the connection is lost"


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
    program = start("""
        import socket
        held = socket.create_server(("127.0.0.1", 0))
        config.bind = ["unix:app.sock", f"fd://{held.fileno()}"]
        print(held.getsockname()[1], flush=True)
        run()
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


def test_a_signal_to_the_edge_ends_the_call(start: Start) -> None:
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
        run()
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
def test_a_wrong_configuration_raises_with_the_mistake(start: Start, setting: str, expected: str) -> None:
    program = start(f"""
        {setting}
        try:
            asyncio.run(serve(app, config))
        except ValueError as error:
            print(type(error).__name__, error)
    """)
    text = "\n".join(program.end())
    assert text.startswith("ConfigError") and expected in text


def test_an_asgi_2_app_is_served_and_a_factory_is_refused(start: Start) -> None:
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
