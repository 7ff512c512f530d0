"""An app that notes each import, and whose hooks note where they are called."""

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

NOTES = Path(os.environ["NOTES"])
IMPORTED_BY = os.getpid()


def note(text: str) -> None:
    with NOTES.open("a") as notes:
        notes.write(f"{text}\n")


note(f"imported {IMPORTED_BY}")
print("printed at the import")

if sys.platform == "linux" and "THREAD" in os.environ:
    import threading

    threading.Thread(target=threading.Event().wait, name="refresher", daemon=True).start()


def forked(worker: Any) -> None:
    note(f"post_fork {worker.slot} {worker.pid} {os.getpid()}")


def started(worker: Any) -> None:
    note(f"worker_start {worker.slot} {worker.pid} {os.getpid()}")


def ended(worker: Any) -> None:
    note(f"worker_exit {worker.slot} {worker.pid} {os.getpid()}")


async def asynchronous(worker: Any) -> None:
    note(f"never {worker}")


def broken(worker: Any) -> None:
    raise RuntimeError(f"no database for worker {worker.slot}")


def reply(path: str) -> bytes:
    if path == "/segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path == "/exit":
        os._exit(7)
    if path == "/random":
        return str(random.random()).encode()
    return f"{os.getpid()} {IMPORTED_BY}".encode()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            event = message["type"].rpartition(".")[2]
            note(f"{event} {os.getpid()}")
            await send({"type": f"lifespan.{event}.complete"})
            if event == "shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": reply(scope["path"])})


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = reply(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
