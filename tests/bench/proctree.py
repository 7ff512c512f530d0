"""CPU time and memory of a server's whole process tree, read from /proc.

A tree is the process started, its descendants, and whatever else is in the session it was
started in: a worker whose parent died belongs to the server still.
"""

import os
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on, or None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the command, is in brackets and may hold anything.
    return text.rpartition(")")[2].split()


def members(root: int) -> list[int]:
    """The live processes of the tree of `root`, itself first."""
    children: dict[int, list[int]] = {}
    found = {root}
    for entry in os.listdir("/proc"):
        fields = _stat(int(entry)) if entry.isdigit() else None
        if fields is None or fields[0] == "Z":
            continue
        _state, parent, _group, session = fields[:4]
        children.setdefault(int(parent), []).append(int(entry))
        if int(session) == root:
            found.add(int(entry))
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), []):
            if child not in found:
                found.add(child)
                todo.append(child)
    return [root, *sorted(found - {root})]


def cpu_s(pid: int) -> float:
    """User and system time of all threads of one process, in s."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * TICK_S if fields else 0.0


def tree_cpu_s(root: int) -> float:
    """User and system time of the tree, in s, with that of children dead and waited for."""
    ticks = 0
    for pid in members(root):
        fields = _stat(pid)
        if fields:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks * TICK_S


def rss(pid: int) -> int:
    """Resident memory of one process, in bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def tree_rss(root: int) -> int:
    """Resident memory of the tree, in bytes; a page that two processes share counts twice."""
    return sum(rss(pid) for pid in members(root))
