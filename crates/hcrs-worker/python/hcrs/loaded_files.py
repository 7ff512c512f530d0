"""Tells the edge which files a worker has loaded, so that it sees when they change."""

from __future__ import annotations

import os
import sys
import threading
import time

from hcrs import _hcrs

#: Seconds between two looks at what was loaded meanwhile.
PERIOD = 0.5


class LoadedFiles:
    """The files of all modules, on their way to the edge."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor`` is a pipe that takes paths, each of which ends in NUL."""
        os.set_inheritable(descriptor, False)
        _hcrs.withhold(descriptor)  # a forked child is not to keep the edge waiting for its end
        self._descriptor = descriptor
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def tell(self) -> bool:
        """Tells which files were loaded since the last time; False if nobody listens."""
        with self._lock:
            new = {path for module in list(sys.modules.values()) if (path := file_of(module)) is not None} - self._told
            self._told |= new
            data = b"".join(os.fsencode(os.path.realpath(path)) + b"\0" for path in sorted(new))
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                return False
            return True

    def keep_telling(self) -> None:
        """Tells of later ones as well, for as long as the process lives."""
        threading.Thread(target=self._keep_telling, name="hcrs-loaded-files", daemon=True).start()

    def _keep_telling(self) -> None:
        while self.tell():
            time.sleep(PERIOD)


def file_of(module: object) -> str | None:
    """A module's file, if it has one. What is no ordinary module is not asked, it may run code."""
    path = getattr(module, "__dict__", {}).get("__file__")
    return path if isinstance(path, str) and "\0" not in path else None
