"""What ``test_alike.py`` asks of every framework, in Quart and Quart-Trio."""

import collections
import json
import os

import anyio
import anyio.lowlevel
import sniffio
from quart import Quart, abort, request, send_file, websocket
from quart_trio import QuartTrio

gates = collections.defaultdict(anyio.Event)


def site(app):
    """Gives the app its routes."""
    state = {}

    @app.before_serving
    async def start():
        state["database"] = "open"

    @app.get("/facts")
    async def facts():
        return {
            "library": sniffio.current_async_library(),
            "state": state["database"],
            "query": request.args["q"],
            "scheme": request.scheme,
            "host": request.host,
            "version": request.http_version,
        }

    @app.post("/echo")
    async def echo():
        return await request.get_data(), {"content-type": "application/octet-stream"}

    @app.get("/file")
    async def file():
        return await send_file(os.environ["DATA"], conditional=True)

    @app.get("/stream")
    async def stream():
        count = int(request.args["count"])

        async def numbers():
            for number in range(count):
                yield (f"{number:05}" * 2000).encode()
                await anyio.lowlevel.checkpoint()

        return numbers(), {"content-type": "text/plain"}

    @app.get("/events")
    async def events():
        gate = gates[request.args["key"]]

        async def numbered():
            yield b"data: 0\n\n"
            await gate.wait()
            yield b"data: 1\n\n"

        return numbered(), {"content-type": "text/event-stream"}

    @app.post("/open")
    async def open_gate():
        gates[request.args["key"]].set()
        return "", 204

    @app.get("/raises")
    async def raises():
        raise LookupError("as it was asked to")

    @app.websocket("/socket")
    async def socket():
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
    async def denied():
        abort(403)

    return app


quart = site(Quart("quart"))
quart_trio = site(QuartTrio("quart_trio"))
