"""``hcrs.run.run``: the command with its workers, from within a program."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import httpx
import pytest

from api.conftest import DEADLINE, Program, Start
from end_to_end.server import is_alive, wait_until

APP = '''
import os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
'''

RUN = f"""
from pathlib import Path
from hcrs.run import run
Path("served.py").write_text({APP!r})
config.application_path = "served:app"
config.workers = 2
config.errorlog = "error.log"
if __name__ == "__main__":
    print("code", run(config))
"""


def url_of(program: Program) -> str:
    log = Path(f"/proc/{program.process.pid}/cwd/error.log")
    running = re.compile(r"Running on (http://\S+)")
    found = wait_until(lambda: log.exists() and running.search(log.read_text()), "it listens", DEADLINE)
    return str(found[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_serve_until_a_signal(start: Start, number: signal.Signals) -> None:
    program = start(RUN)
    url = url_of(program)
    [edge] = program.edges()
    workers = Path(f"/proc/{edge}/task/{edge}/children").read_text().split()
    assert len(workers) == 2
    assert httpx.get(url, timeout=DEADLINE).text in workers
    program.process.send_signal(number)
    assert program.end() == ["code 0"]
    assert not any(is_alive(int(worker)) for worker in workers)


def test_the_server_dies_with_the_program(start: Start) -> None:
    program = start(RUN)
    worker = int(httpx.get(url_of(program), timeout=DEADLINE).text)
    [edge] = program.edges()
    program.process.kill()
    wait_until(lambda: not is_alive(edge) and not is_alive(worker), "the server and its workers end")


def test_a_start_that_fails_gives_its_exit_code(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        program = start(RUN.replace("config.workers = 2", f"config.bind = '127.0.0.1:{held.getsockname()[1]}'"))
        assert program.end() == ["code 1"]
    assert "cannot listen on" in program.errors
    program = start(RUN.replace("config.workers = 2", "config.workers = 'two'"))
    assert program.end() == ["code 78"]
    assert "workers: expected a whole number" in program.errors
