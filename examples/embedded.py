"""A program that serves an app object of its own, beside what else it does on its loop.

python examples/embedded.py

The program imports no app by its name, and there are no worker processes: requests come to this process. For trio there
is `hcrs.trio.serve`.
"""

import asyncio
from typing import Any

from hcrs.asyncio import serve
from hcrs.config import Config


class Counter:
    """An app with a state that the rest of the program sees."""

    def __init__(self) -> None:
        self.requests = 0
        #: Set by a request for /stop.
        self.stop = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answers with the number of requests so far."""
        if scope["type"] != "http":
            raise ValueError(f"a scope of the type {scope['type']!r}")
        self.requests += 1
        if scope["path"] == "/stop":
            self.stop.set()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"request %d\n" % self.requests})


async def main() -> None:
    """Serves until a request for /stop. Without `shutdown_trigger` it would be SIGINT or SIGTERM that ends it."""
    counter = Counter()
    config = Config()
    config.bind = ["127.0.0.1:0"]  # a free port
    await serve(
        counter,
        config,
        shutdown_trigger=counter.stop.wait,
        on_listening=lambda urls: print("Serving at", *urls, flush=True),
    )
    print(counter.requests, "requests were served")


if __name__ == "__main__":
    asyncio.run(main())
