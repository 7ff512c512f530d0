"""``wsgi.errors``: a stream by which apps write to the error log (PEP 3333, "Input and Error Streams")."""

from __future__ import annotations

import logging
from collections.abc import Iterable


class ErrorStream:
    """A text stream to the streams of a logger's handlers. The text is written unformatted and unbuffered."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def write(self, text: str) -> int:
        """Writes the text unchanged."""
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
        """Does nothing, as nothing is buffered."""
