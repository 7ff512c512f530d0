"""The same few behaviours in Quart."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from quart import Quart, request

app = Quart(__name__)


@app.before_serving
async def start() -> None:
    app.config["STATE"] = "open"


@app.get("/facts")
async def facts() -> Any:
    return {
        "state": app.config["STATE"],
        "query": request.args.get("q"),
        "scheme": request.scheme,
        "host": request.host,
        "version": request.http_version,
        "remote": request.remote_addr,
    }


@app.post("/echo")
async def echo() -> Any:
    return await request.get_data(), {"content-type": "application/octet-stream"}


@app.post("/form")
async def form() -> Any:
    field = (await request.form)["field"]
    return {"field": field, "file": len((await request.files)["file"].read())}


@app.get("/stream")
async def stream() -> Any:
    async def numbers() -> AsyncIterator[Any]:
        for number in range(5):
            yield f"{number}\n".encode()
            await asyncio.sleep(0)

    return numbers(), 200, {"content-type": "text/plain"}


@app.get("/task")
async def task() -> str:
    path = request.args["file"]

    async def write() -> None:
        with open(path, "w") as out:
            out.write("done")

    app.add_background_task(write)
    return "accepted"


@app.get("/raises")
async def raises() -> NoReturn:
    raise RuntimeError("in Quart")
