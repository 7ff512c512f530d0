"""Rooms of python-socketio: an event that is answered, one that goes to a room, and one that the server sends on."""

import socketio

# A poll that its client has left is answered after a ping and its timeout, for which the client waits.
server = socketio.AsyncServer(async_mode="asgi", ping_interval=1, ping_timeout=4)
app = socketio.ASGIApp(server)


@server.event
async def connect(sid, environ, auth):
    await server.save_session(sid, {"name": auth["name"]})
    await server.enter_room(sid, "all")


@server.event
async def add(sid, data):
    return data["a"] + data["b"]


@server.event
async def say(sid, text):
    name = (await server.get_session(sid))["name"]
    await server.emit("said", {"by": name, "text": text}, room="all")


@server.event
async def bytes_back(sid, data):
    return data[::-1]
