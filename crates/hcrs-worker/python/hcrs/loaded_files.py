"""Reports to the edge the files that a worker has loaded, which the edge watches for changes."""

from __future__ import annotations

import os
import sys
import threading
import time

from hcrs import _hcrs

#: Seconds between two reports of files that were loaded meanwhile.
PERIOD = 0.5


class LoadedFiles:
    """The pipe by which the files of all modules are reported to the edge."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor`` is the pipe, to which paths are written, each followed by NUL."""
        os.set_inheritable(descriptor, False)
        _hcrs.withhold(descriptor)  # a forked child must not keep the pipe open
        self._descriptor = descriptor
        self._reported: set[str] = set()
        self._lock = threading.Lock()

    def report(self) -> bool:
        """Reports the files that were loaded since the last report. Returns False if the edge has closed the pipe."""
        with self._lock:
            loaded = {path for module in list(sys.modules.values()) if (path := file_of(module)) is not None}
            new = loaded - self._reported
            self._reported |= new
            data = b"".join(os.fsencode(os.path.realpath(path)) + b"\0" for path in sorted(new))
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                return False
            return True

    def close(self) -> None:
        """Closes the pipe in a worker that was forked from the process that reports."""
        _hcrs.release(self._descriptor)
        os.close(self._descriptor)

    def keep_reporting(self) -> None:
        """Starts a thread that reports newly loaded files for as long as the process lives."""
        threading.Thread(target=self._keep_reporting, name="hcrs-loaded-files", daemon=True).start()

    def _keep_reporting(self) -> None:
        while self.report():
            time.sleep(PERIOD)


def file_of(module: object) -> str | None:
    """Returns a module's file, if it has one. The module's own attribute lookup, which may run code, is not used."""
    path = getattr(module, "__dict__", {}).get("__file__")
    return path if isinstance(path, str) and "\0" not in path else None
