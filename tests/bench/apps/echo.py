"""An ASGI app that sends each WebSocket message back; over HTTP it answers that it is there."""

import bare


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return await bare.app(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        await send({"type": "websocket.send", "text": message["text"]})
