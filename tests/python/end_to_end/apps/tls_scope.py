"""Shows what an app is told of TLS, and tries to change it for those who come after."""

import json
import os
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> Any:
    if scope["type"] == "lifespan":
        return
    tls = scope["extensions"].get("tls")
    shown = json.dumps({"pid": os.getpid(), "tls": tls, "scheme": scope["scheme"]})
    if tls is not None:
        assert type(tls) is dict and type(tls["client_cert_chain"]) is tuple
        tls["client_cert_name"] = tls["own"] = "changed by a request"
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": shown})
        return await send({"type": "websocket.close"})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": shown.encode()})
