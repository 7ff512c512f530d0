"""An app that writes to standard output and standard error, in every way."""

import os
import signal
import subprocess
import sys
from typing import Any
from urllib.parse import parse_qs

print("imported")


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
    act(scope["path"], query)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def act(path: str, query: dict[str, str]) -> None:
    if path == "/print":
        print("printed")
        print("to stderr", file=sys.stderr)
    elif path == "/raw":
        os.write(2, b"from \xff\x1b[2J C\r\n[2000-01-01 00:00:00 +0000] [1] [ERROR] forged\n")
    elif path == "/child":
        subprocess.run(["sh", "-c", "echo from a child"], check=True)
    elif path == "/long":
        os.write(1, b"x" * 20_000 + b"\n")
    elif path == "/flood":
        for number in range(int(query["lines"])):
            os.write(1, f"line {number:07}\n".encode())
    elif path == "/die":
        os.write(1, b"last line\nlast words")
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/fail":
        raise RuntimeError("failed")
