"""The site of ``test_alike.py`` in Quart and Quart-Trio."""

import collections
import json
import os
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import sniffio
from quart import Quart, abort, request, send_file, websocket
from quart_trio import QuartTrio

gates: dict[str, anyio.Event] = collections.defaultdict(anyio.Event)


def site(app: Quart) -> Quart:
    """Gives the app its routes."""
    state: dict[str, str] = {}

    @app.before_serving
    async def start() -> None:
        state["database"] = "open"

    @app.get("/facts")
    async def facts() -> Any:
        return {
            "library": sniffio.current_async_library(),
            "state": state["database"],
            "query": request.args["q"],
            "scheme": request.scheme,
            "host": request.host,
            "version": request.http_version,
        }

    @app.post("/echo")
    async def echo() -> Any:
        return await request.get_data(), {"content-type": "application/octet-stream"}

    @app.get("/file")
    async def file() -> Any:
        return await send_file(os.environ["DATA"], conditional=True)

    @app.get("/stream")
    async def stream() -> Any:
        count = int(request.args["count"])

        async def numbers() -> AsyncIterator[Any]:
            for number in range(count):
                yield (f"{number:05}" * 2000).encode()
                await anyio.lowlevel.checkpoint()

        return numbers(), {"content-type": "text/plain"}

    @app.get("/events")
    async def events() -> Any:
        gate = gates[request.args["key"]]

        async def numbered() -> AsyncIterator[Any]:
            yield b"data: 0\n\n"
            await gate.wait()
            yield b"data: 1\n\n"

        return numbered(), {"content-type": "text/event-stream"}

    @app.post("/open")
    async def open_gate() -> Any:
        gates[request.args["key"]].set()
        return "", 204

    @app.get("/raises")
    async def raises() -> NoReturn:
        raise LookupError("as it was asked to")

    @app.websocket("/socket")
    async def socket() -> None:
        await websocket.accept(subprotocol=websocket.requested_subprotocols[0])
        await websocket.send(
            json.dumps(
                {"version": websocket.http_version, "query": websocket.args["q"], "state": state["database"]}
            )
        )
        while (message := await websocket.receive()) != "bye":
            await websocket.send(message)
        await websocket.close(4001, "as you say")

    @app.websocket("/denied")
    async def denied() -> None:
        abort(403)

    return app


quart = site(Quart("quart"))
quart_trio = site(QuartTrio("quart_trio"))
