"""Where programs that call ``serve`` have their logs."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from api.conftest import DEADLINE, Start, get

SERVE = "run()\nsay('end')\n"


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


@pytest.mark.slow
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
        run()
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
