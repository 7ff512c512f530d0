"""``hcrs.asyncio.serve`` and ``hcrs.trio.serve``: what both have, called by programs as Hypercorn's are."""

from __future__ import annotations

import os
import signal
import socket
import ssl

import httpx
import pytest

from api.conftest import Asking, Start, get
from end_to_end.server import is_alive

#: A program that serves until it reads a line.
UNTIL_A_LINE = "run(shutdown_trigger=line)\nsay('end')\n"


def test_a_trigger_ends_it_and_requests_finish(start_on_each: Start) -> None:
    program = start_on_each(UNTIL_A_LINE)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    assert get(f"{url}/a").text == f"/a 1.1  {program.process.pid}", "the app runs in the program's process"
    assert get(f"{url}/error").status_code == 500
    [edge] = program.edges()
    asking = Asking(f"{url}/late")
    assert program.line() == "late"
    program.say("stop")
    assert program.end() == ["lifespan.shutdown", "end"]
    answer = asking.answer()
    assert answer is not None and (answer.status_code, answer.text.split()[0]) == (200, "/late")
    assert not is_alive(edge)
    assert program.errors.count("ZeroDivisionError: of the app") == 1
    assert "Error in ASGI Framework" in program.errors
    assert "Shutting down (the calling program)" in program.errors


@pytest.mark.parametrize("path", ["late", "busy"])
def test_ctrl_c_drains_as_with_hypercorn(start_on_each: Start, path: str) -> None:
    program = start_on_each("run()\nsay('end')\n")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking = Asking(f"{url}/{path}")
    assert program.line() == path
    program.process.send_signal(signal.SIGINT)  # it may strike while the app runs, and is no error of the app
    assert program.end() == ["lifespan.shutdown", "end"]
    answer = asking.answer()
    assert answer is not None and (answer.status_code, answer.text.split()[0]) == (200, f"/{path}")


def test_requests_that_do_not_finish_in_time_are_cut_off(start_on_each: Start) -> None:
    program = start_on_each("config.graceful_timeout = 0.2\n" + UNTIL_A_LINE)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking = Asking(f"{url}/slow")
    assert program.line() == "slow"
    program.say("stop")
    assert program.end() == ["cut off", "lifespan.shutdown", "end"]
    answer = asking.answer()
    assert answer is not None and answer.status_code == 503


def test_cancelling_it_drains_as_well(start_on_each: Start) -> None:
    program = start_on_each("run_until_cancelled_by_a_line()\n")
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    asking = Asking(f"{url}/late")
    assert program.line() == "late"
    program.say("cancel")
    assert program.end() == ["lifespan.shutdown", "cancelled True"]
    answer = asking.answer()
    assert answer is not None and answer.status_code == 200


def test_tls_and_http2(start_on_each: Start, certificate: dict[str, str]) -> None:
    program = start_on_each(f"""
        config = Config.from_mapping({certificate!r}, bind="localhost:0", root_path="/base/")
        run(shutdown_trigger=line)
    """)
    assert program.line() == "lifespan.startup"
    [url] = program.listening()
    assert url.startswith("https://")
    trusted = ssl.create_default_context(cafile=certificate["certfile"])
    response = get(url.replace("127.0.0.1", "localhost") + "/s", http2=True, verify=trusted)
    assert (response.http_version, response.text) == ("HTTP/2", f"/s 2 /base {program.process.pid}")
    program.say("stop")
    assert program.end() == ["lifespan.shutdown"]


def test_the_death_of_the_edge_is_an_error_and_no_group(start_on_each: Start) -> None:
    program = start_on_each("""
        from hcrs.edge import EdgeLostError
        try:
            run()
        except EdgeLostError as error:
            say(error)
    """)
    assert program.line() == "lifespan.startup"
    program.listening()
    [edge] = program.edges()
    os.kill(edge, signal.SIGKILL)
    assert program.end() == ["lifespan.shutdown", f"the edge, process {edge}, was killed by SIGKILL"]


def test_a_start_that_fails_raises_and_not_in_a_group(start_on_each: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        program = start_on_each(f"""
            import errno

            async def failing(scope, receive, send):
                await receive()
                await send({{"type": "lifespan.startup.failed", "message": "no database"}})

            async def slow(scope, receive, send):
                await sleep(3600)

            def attempt(served=app, **options):
                try:
                    run(served, **options)
                except Exception as error:
                    say(type(error).__name__, isinstance(error, OSError) and error.errno == errno.EADDRINUSE, *str(error).split())

            attempt(failing)
            config.startup_timeout = 0.1
            attempt(slow)
            config.startup_timeout = 60
            config.bind = "127.0.0.1:{held.getsockname()[1]}"
            attempt()
            config.bind = 5
            attempt()
        """)
        failing, slow, in_use, wrong = program.end()
    assert failing.startswith("LifespanFailureError False") and "no database" in failing
    assert slow.startswith("LifespanTimeoutError False Timeout whilst awaiting startup")
    assert in_use.startswith("EdgeStartError True") and "cannot listen on 127.0.0.1:" in in_use
    assert wrong.startswith("ConfigError False") and "bind: expected a string or an array of strings, found 5" in wrong


def test_a_trigger_that_raises_ends_it_with_its_error(start_on_each: Start) -> None:
    program = start_on_each("""
        async def broken():
            raise LookupError("of the trigger")

        def listening(urls):
            pass

        try:
            run(shutdown_trigger=broken)
        except LookupError as error:
            say(error)
    """)
    assert program.end() == ["lifespan.startup", "lifespan.shutdown", "of the trigger"]


@pytest.mark.parametrize("mode", [None, "wsgi"])
def test_wsgi_apps_run_in_threads(start_on_each: Start, mode: str | None) -> None:
    program = start_on_each(f"""
        import threading

        def wsgi(environ, start_response):
            start_response("200 OK", [("content-type", "text/plain")])
            if environ["PATH_INFO"] == "/block":
                say("blocked")
                time.sleep(0.5)
            return [threading.current_thread().name.encode(), b" ", environ["wsgi.input"].read()]

        config.hcrs = {{"wsgi_threads": 2}}
        run(wsgi, mode={mode!r}, shutdown_trigger=line)
        say("end")
    """)
    [url] = program.listening()
    assert httpx.post(url, content=b"x" * 100_000).text.endswith(" " + "x" * 100_000)
    asking = Asking(f"{url}/block")
    assert program.line() == "blocked"
    assert get(url).text.startswith("hcrs-wsgi-"), "another thread answers"
    program.say("stop")
    answer = asking.answer()
    assert answer is not None and answer.text.startswith("hcrs-wsgi-"), "it was let finish"
    assert program.end() == ["end"]


def test_settings_of_processes_give_a_warning(start_on_each: Start) -> None:
    program = start_on_each("config.workers = 4\nconfig.debug = True\n" + UNTIL_A_LINE)
    program.line()
    program.listening()
    assert len(program.edges()) == 1
    program.say("stop")
    program.end()
    assert "UserWarning: Config.workers has no effect on serve()" in program.errors
    assert "UserWarning: Config.debug has no effect on serve()" in program.errors
