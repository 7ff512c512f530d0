"""Forwards the edge's log lines to a Python logger, for programs whose ``accesslog`` or ``errorlog`` is a logger."""

from __future__ import annotations

import logging
import os
import re
import threading

#: Seconds that are waited until the last lines of an edge that has exited are logged.
_JOIN_TIMEOUT = 1.0
#: The prefix of a line: time, process and level, which a logger adds by itself.
_HEAD = re.compile(r"\[[^\]]*\] \[\d+\] \[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] ")


class LoggerPipe:
    """A pipe that the edge opens as a log file. A thread reads it, as the program's loop may end before the edge."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lines, self.descriptor = os.pipe()
        self._thread = threading.Thread(target=self._read, name="hcrs-log", daemon=True)

    @property
    def path(self) -> str:
        """The path by which the edge, which inherits the descriptor, opens the pipe."""
        return f"/dev/fd/{self.descriptor}"

    def start(self) -> None:
        """Starts reading. The edge must have inherited the other end."""
        os.close(self.descriptor)
        self._thread.start()

    def discard(self) -> None:
        """Closes both ends, if the edge could not be started."""
        os.close(self.descriptor)
        os.close(self._lines)

    def finish(self) -> None:
        """Waits until all lines of an edge that has exited are logged."""
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
    """A handler that passes records on to another logger."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Passes the record to the other logger, if that is enabled for its level."""
        if self._logger.isEnabledFor(record.levelno):
            self._logger.handle(record)
