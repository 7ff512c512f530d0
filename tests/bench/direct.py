"""The FastAPI app called in a loop with no server at all: the floor under every server.

Run by the bench with the Python of its venv. Calls the app COUNT times on uvloop, each call
with a scope built anew as an HTTP/2 server would build it, and prints the CPU time and the
wall time of one call in µs as JSON.
"""

import json
import sys
import time

import uvloop
from fastapi_item import app

HEADERS = [
    (b"host", b"127.0.0.1:8443"),
    (b"user-agent", b"h2load nghttp2/1.52.0"),
]


def scope() -> dict:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": "GET",
        "scheme": "https",
        "path": "/items/42",
        "raw_path": b"/items/42",
        "query_string": b"name=bench",
        "root_path": "",
        "headers": HEADERS.copy(),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8443),
        "state": {},
        "extensions": {},
    }


async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}


class Answer:
    """Collects what the app sends for one request, and checks it at the end."""

    def __init__(self):
        self.status = 0
        self.body = b""

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message["body"]


async def call(count: int) -> None:
    for _ in range(count):
        answer = Answer()
        await app(scope(), receive, answer.send)
        if answer.status != 200 or not answer.body:
            raise RuntimeError(f"the app answered {answer.status} with {answer.body!r}")


async def measure(count: int) -> dict:
    await call(count // 10)
    cpu, wall = time.process_time(), time.perf_counter()
    await call(count)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_us": cpu / count * 1e6, "wall_us": wall / count * 1e6}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(int(sys.argv[1])))))
