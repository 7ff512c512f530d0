"""The name of a worker in ``ps``, ``top`` and ``/proc``.

The kernel shows as a command line what is in the memory where it has put the arguments of a process. Python has copied
them by the time that this module is imported, so they can be overwritten.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

#: Indexes of the first and last address of the arguments in ``/proc/PID/stat``, counted from the field after the name
#: (``proc_pid_stat(5)``, fields 48 and 49).
ARGUMENTS = (45, 46)


def name_process(title: str, comm: str) -> None:
    """Sets the command line and the short name that the system shows for this process, as far as it allows that.

    Has to be called by the main thread. What is longer than the arguments were is cut off.
    """
    with suppress(OSError):
        Path("/proc/self/comm").write_text(comm)
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(") ")[2].split()
        first, last = (int(fields[index]) for index in ARGUMENTS)
        room = last - first
        # The last byte stays zero: otherwise the kernel reads on into the environment.
        line = title.encode(errors="replace")[: room - 1].ljust(room, b"\0")
        # Through the kernel, for which a wrong address is an error; unbuffered, to write the bytes once.
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(first)
            memory.write(line)
