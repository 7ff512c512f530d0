"""``wsgi.errors``: what an app writes goes where the error log goes (PEP 3333, "Input and Error Streams")."""

from __future__ import annotations

import logging
from collections.abc import Iterable


class ErrorStream:
    """A text stream into a logger's streams, without the form of a log line; at once, so nothing is left to flush."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def write(self, text: str) -> int:
        """Writes the text as it is."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        handlers = [handler for handler in self._log.handlers if isinstance(handler, logging.StreamHandler)]
        for handler in handlers:
            handler.acquire()
            try:
                handler.stream.write(text)
                handler.flush()
            finally:
                handler.release()
        if not handlers and text.strip():
            self._log.error("%s", text.rstrip())
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes the texts one after another."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Has nothing to do."""
