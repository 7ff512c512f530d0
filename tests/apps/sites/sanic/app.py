"""Sanic as an ASGI app: JSON, an upload, a streamed response and a WebSocket that echoes."""

from sanic import Sanic, json

app = Sanic("visited")


@app.before_server_start
async def open_database(app):
    app.ctx.database = "open"


@app.get("/")
async def state(request):
    return json({"database": request.app.ctx.database})


@app.get("/greet/<name:str>")
async def greet(request, name):
    return json({"hello": name, "args": request.args})


@app.post("/upload", stream=True)
async def upload(request):
    size = 0
    async for piece in request.stream:
        size += len(piece)
    return json({"size": size})


@app.post("/form")
async def form(request):
    return json({"name": request.files["file"][0].name, "size": len(request.files["file"][0].body)})


@app.get("/rows")
async def rows(request):
    response = await request.respond(content_type="text/csv")
    for number in range(1000):
        await response.send(f"{number},{number * number}\n")
    await response.eof()


@app.websocket("/echo")
async def echo(request, websocket):
    while True:
        await websocket.send(await websocket.recv())
