"""The site with logs as apps have them that were written for Uvicorn or Gunicorn."""

from __future__ import annotations

import logging
import sys
from typing import Any

from flask import Flask
from starlette.responses import JSONResponse

from matrix.apps.asgi_site import site

uvicorn = site()


@uvicorn.on_event("startup")
async def startup() -> None:
    logging.getLogger("uvicorn").info("told to uvicorn at the start")


@uvicorn.get("/logged")
async def logged() -> str:
    logging.getLogger("uvicorn.error").info("told to uvicorn.error")
    logging.getLogger("uvicorn.error").debug("told to nobody")
    return "logged"


#: A recipe for Flask behind Gunicorn: the app logs as the server does.
gunicorn = Flask(__name__)
gunicorn.logger.handlers = logging.getLogger("gunicorn.error").handlers
gunicorn.logger.setLevel(logging.getLogger("gunicorn.error").level)


@gunicorn.get("/logged")
def logged_by_flask() -> str:
    gunicorn.logger.info("told by the app")
    logging.getLogger("gunicorn.error").warning("told to gunicorn.error")
    return "logged"


RECORDS: list[Any] = []


def with_loguru() -> Any:
    """The site that hands all of Python's logging to loguru, by the handler that loguru's documentation shows."""
    from loguru import logger

    class InterceptHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.opt(exception=record.exc_info).log(record.levelname, record.getMessage())

    def keep(message: Any) -> None:
        record = message.record
        error = record["exception"]
        RECORDS.append((record["level"].name, record["message"], error and error.type.__name__))

    app = site()

    @app.get("/logged")
    async def logged() -> str:
        logging.getLogger("site").warning("from Python's logging")
        logger.bind(user=1).info("from loguru")
        return "logged"

    @app.get("/recorded")
    async def recorded() -> JSONResponse:
        said = RECORDS[:]
        RECORDS.clear()
        return JSONResponse(said)

    logger.remove()
    logger.add(keep, level="INFO")
    logger.add(sys.stderr, format="{message}", level="INFO")
    logging.root.handlers = [InterceptHandler()]
    logging.root.setLevel(logging.INFO)
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    return app


def with_structlog() -> Any:
    """The site that renders all of Python's logging as structlog's JSON, as its documentation shows."""
    import structlog

    shared: list[Any] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.INFO)
    for name in list(logging.root.manager.loggerDict):
        if not name.startswith("asyncio"):
            logging.getLogger(name).handlers = []
            logging.getLogger(name).propagate = True
    app = site()

    @app.get("/logged")
    async def logged() -> str:
        structlog.contextvars.bind_contextvars(user="ada")
        structlog.get_logger("site").warning("from structlog", number=1)
        logging.getLogger("site").warning("from Python's logging")
        return "logged"

    return app



