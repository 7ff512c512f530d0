"""An app whose routes are mounted below others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles


async def where(request: Any) -> Response:
    facts = {key: request.scope[key] for key in ("path", "root_path")}
    return JSONResponse(facts | {"url": request.url.path, "url_for": request.url_for(request.scope["route"].name).path})


app = Starlette(
    routes=[
        Mount(
            "/sub",
            routes=[
                Route("/where", where, name="inner"),
                Mount("/static", StaticFiles(directory=Path(__file__).parent), name="static"),
            ],
        ),
        Route("/where", where, name="outer"),
    ]
)
