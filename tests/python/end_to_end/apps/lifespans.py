"""Apps that differ in what they do with lifespan."""

import asyncio
import json
import os
import sys
from typing import Any


def with_lifespan(startup: Any, shutdown: Any = None) -> Any:
    """An app that answers requests with its state, and lifespan as told."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert (await receive()) == {"type": "lifespan.startup"}
            await startup(scope, send)
            assert (await receive()) == {"type": "lifespan.shutdown"}
            await (shutdown or complete_shutdown)(scope, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(scope["state"]).encode()})

    return app


async def complete(scope: Any, send: Any) -> None:
    await send({"type": "lifespan.startup.complete"})


async def complete_shutdown(scope: Any, send: Any) -> None:
    await send({"type": "lifespan.shutdown.complete"})


async def fail(scope: Any, send: Any) -> None:
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def fail_shutdown(scope: Any, send: Any) -> None:
    await send({"type": "lifespan.shutdown.failed", "message": "not saved"})


async def hang(scope: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def raise_error(scope: Any, send: Any) -> None:
    raise ValueError("raised in the startup")


async def exit_process(scope: Any, send: Any) -> None:
    sys.exit(3)


async def startup_slowly(scope: Any, send: Any) -> None:
    await asyncio.sleep(float(os.environ["SLOW"]))
    await complete(scope, send)


async def break_if_told(scope: Any, send: Any) -> None:
    await (fail if os.path.exists(os.environ["BREAK"]) else complete)(scope, send)


async def wait_while_held(scope: Any, send: Any) -> None:
    while os.path.exists(os.environ["HOLD"]):
        await asyncio.sleep(0.01)
    scope["state"]["pid"] = os.getpid()
    await complete(scope, send)


async def unsupported(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await with_lifespan(complete)(scope, receive, send)


breakable = with_lifespan(break_if_told)
exits = with_lifespan(exit_process)
fails = with_lifespan(fail)
fails_at_shutdown = with_lifespan(complete, fail_shutdown)
held = with_lifespan(wait_while_held)
hangs = with_lifespan(hang)
hangs_at_shutdown = with_lifespan(complete, hang)
raises = with_lifespan(raise_error)
slow = with_lifespan(startup_slowly)
