"""Files that the edge reads and sends, so that Python does not copy them: ASGI's extension `http.response.pathsend`.

hcrs --config examples/send_file.toml

The extension is only offered with `pathsend = true` in the table [hcrs], because middlewares that rewrite bodies break
on its message. Starlette's and FastAPI's FileResponse uses it by itself where it is offered.
"""

import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serves the files that stand beside this one."""
    if scope["type"] != "http":
        raise ValueError(f"a scope of the type {scope['type']!r}")
    path = FOLDER / os.path.basename(scope["path"])
    if not path.is_file():
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body"})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(path.stat().st_size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if "http.response.pathsend" in scope["extensions"]:
        await send({"type": "http.response.pathsend", "path": str(path)})
    else:
        await send({"type": "http.response.body", "body": path.read_bytes()})
