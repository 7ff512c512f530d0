"""Hands what the edge logs to a Python logger, for programs whose ``accesslog`` or ``errorlog`` is one."""

from __future__ import annotations

import logging
import os
import re
import threading

#: How long the lines of an edge that has ended may take to be logged, in seconds.
_JOIN_TIMEOUT = 1.0
#: What stands before a line's message: time, process and level, which a logger knows by itself.
_HEAD = re.compile(r"\[[^\]]*\] \[\d+\] \[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] ")


class LoggerPipe:
    """A pipe that the edge takes for a log file. A thread reads it, since the program's loop may have ended first."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lines, self.descriptor = os.pipe()
        self._thread = threading.Thread(target=self._read, name="hcrs-log", daemon=True)

    @property
    def path(self) -> str:
        """What the edge, which inherits the descriptor, opens."""
        return f"/dev/fd/{self.descriptor}"

    def start(self) -> None:
        """Reads from now on; the edge has inherited the other end."""
        os.close(self.descriptor)
        self._thread.start()

    def discard(self) -> None:
        """Closes both ends; for an edge that does not start."""
        os.close(self.descriptor)
        os.close(self._lines)

    def finish(self) -> None:
        """Waits until all is logged that an edge has written before its end."""
        self._thread.join(_JOIN_TIMEOUT)

    def _read(self) -> None:
        level = logging.INFO
        with open(self._lines, encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
            for line in lines:
                line = line.rstrip("\n")
                found = _HEAD.match(line)
                if found:
                    level, line = getattr(logging, found[1]), line[found.end() :]
                self._logger.log(level, "%s", line)


class LoggerHandler(logging.Handler):
    """Passes records on to another logger."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Has the other logger treat the record as its own."""
        if self._logger.isEnabledFor(record.levelno):
            self._logger.handle(record)
