"""The template of the workers (``preload``): a process that has loaded the app and forks the workers from itself."""

from __future__ import annotations

import gc
import logging
import os
import socket
import stat
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from hcrs import _hcrs, signals

log = logging.getLogger("hcrs.error")

#: The version of the messages; an edge of another version is of another hcrs.
_VERSION = 1

#: The head of each message: version, kind, number of descriptors, bytes that follow.
_HEAD = struct.Struct("!BBHI")
#: The order to fork a worker: the worker's number, its slot, the number of workers, and which descriptors follow those of
#: its links. Its title and its short name follow, with NUL between them.
_FORK = struct.Struct("!QIIB")
#: The report of a forked worker: the worker's number and its process id.
_FORKED = struct.Struct("!QI")
#: The worker's number at the beginning of the report that it could not be forked.
_NOT_FORKED = struct.Struct("!Q")

#: The kinds of messages from the edge.
_KIND_LINKS, _KIND_FORK = 1, 2
#: The kinds of messages to the edge.
_KIND_LOADED, _KIND_FAILED, _KIND_FORKED, _KIND_NOT_FORKED = 1, 2, 3, 4

#: Bits of an order to fork: a pipe for loaded files, the pulse, the file for a crash, and a pipe for the output follow, in
#: this order.
_HAS_LOADED_FILES, _HAS_PULSE, _HAS_CRASH, _HAS_OUTPUT = 1, 2, 4, 8

#: Bytes of a message of the edge.
_MESSAGE_MAX = 4096
#: Descriptors in one message; the system allows 253.
_DESCRIPTORS_MAX = 128
#: Bytes of a text for the edge. Of a longer text the end is sent, which contains the error.
_TEXT_MAX = 64 << 10
#: Names in one warning.
_NAMES_MAX = 10


class ForkOrder(NamedTuple):
    """The order of the edge to fork a worker, with the descriptors that it is to have."""

    worker: int
    slot: int
    workers: int
    title: str
    comm: str
    links: list[tuple[int, int]]
    loaded_files: int | None
    pulse: int | None
    crash: int | None
    output: int | None

    def descriptors(self) -> list[int]:
        """Returns the descriptors, which are the worker's alone."""
        others = [self.loaded_files, self.pulse, self.crash, self.output]
        return [number for link in self.links for number in link] + [number for number in others if number is not None]


class EdgeSocket:
    """The template's end of the socket over which the edge orders workers."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        _hcrs.withhold(descriptor)  # a child that the app forks must not keep it open
        self._socket = socket.socket(fileno=descriptor)

    @property
    def descriptor(self) -> int:
        """The descriptor of the socket."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes this process' copy of the socket."""
        _hcrs.release(self._socket.fileno())
        self._socket.close()

    def report_loaded(self) -> None:
        """Reports that the app is loaded."""
        self._send(_KIND_LOADED, b"")

    def report_failure(self, why: str) -> None:
        """Reports that the app cannot be loaded, and the reason."""
        self._send(_KIND_FAILED, _end_of(why))

    def report_forked(self, worker: int, pid: int) -> None:
        """Reports the process of a worker."""
        self._send(_KIND_FORKED, _FORKED.pack(worker, pid))

    def report_not_forked(self, worker: int, why: str) -> None:
        """Reports that a worker could not be forked, and the reason."""
        self._send(_KIND_NOT_FORKED, _NOT_FORKED.pack(worker) + _end_of(why))

    def _send(self, kind: int, payload: bytes) -> None:
        with suppress(OSError):  # the edge is gone, or does not want this template any more
            self._socket.sendall(_HEAD.pack(_VERSION, kind, 0, len(payload)) + payload)

    def next_order(self) -> ForkOrder | None:
        """Waits for the next order. Returns ``None`` when the edge wants no more workers of this template."""
        received: list[int] = []
        sent = 0
        while True:
            head = self._receive(_HEAD.size, received)
            if head is None:
                return None
            version, kind, descriptors, length = _HEAD.unpack(head)
            if version != _VERSION or length > _MESSAGE_MAX or kind not in (_KIND_LINKS, _KIND_FORK):
                raise RuntimeError(
                    f"the edge speaks version {version} to its template, which speaks {_VERSION}:"
                    " restart the server, whose program was replaced by that of another version of hcrs"
                )
            payload = self._receive(length, received)
            if payload is None:
                return None
            sent += descriptors
            if len(received) != sent:  # the system closes those for which there is no room
                raise RuntimeError("the template has too many open files (ulimit -n) to receive those of a worker")
            if kind == _KIND_FORK:
                return _order_of(payload, received)

    def _receive(self, length: int, received: list[int]) -> bytes | None:
        """Reads ``length`` bytes, and the descriptors with them. Returns ``None`` at the end of the socket."""
        data = b""
        while len(data) < length:
            found, descriptors, _, _ = socket.recv_fds(self._socket, length - len(data), _DESCRIPTORS_MAX)
            received += descriptors
            if not found:
                return None
            data += found
        return data


def _order_of(payload: bytes, descriptors: list[int]) -> ForkOrder:
    worker, slot, workers, given = _FORK.unpack(payload[: _FORK.size])
    title, _, comm = payload[_FORK.size :].decode(errors="replace").partition("\0")
    for number in descriptors:
        os.set_inheritable(number, False)
    count = len(descriptors) - given.bit_count()
    links = list(zip(descriptors[0:count:2], descriptors[1:count:2], strict=True))
    others = iter(descriptors[count:])
    bits = (_HAS_LOADED_FILES, _HAS_PULSE, _HAS_CRASH, _HAS_OUTPUT)
    loaded_files, pulse, crash, output = (next(others) if given & bit else None for bit in bits)
    return ForkOrder(worker, slot, workers, title, comm, links, loaded_files, pulse, crash, output)


def _end_of(text: str) -> bytes:
    return text.encode(errors="replace")[-_TEXT_MAX:]


class Template:
    """The process from which workers are forked."""

    def __init__(self, edge: EdgeSocket) -> None:
        """Must be created before the app is loaded."""
        self._edge = edge
        self._pid = os.getpid()
        self._edge_pid = os.getppid()
        # Only with a terminal it is in the group of the edge, and its workers are then.
        self._leads_group = os.getpgrp() == self._pid

    def prepare(self) -> None:
        """Makes the memory of this process one that workers can share, once the app is loaded."""
        for warning in warnings_of_fork(self._edge.descriptor):
            log.warning("%s", warning)
        gc.collect()
        gc.freeze()
        self._edge.report_loaded()

    def next_worker(self) -> ForkOrder | None:
        """Forks the workers that the edge orders. Returns in each worker with its order, and at the end with ``None``."""
        while (order := self._edge.next_order()) is not None:
            if self._fork(order):
                return order
        return None

    def _fork(self, order: ForkOrder) -> bool:
        """Forks a worker. Returns whether this is the worker."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # what the app has printed is not to be printed by each worker
                stream.flush()
        try:
            with signals.kept_over_fork():
                pid = _hcrs.fork_worker()
        except OSError as error:
            self._edge.report_not_forked(order.worker, f"the worker cannot be forked: {error}")
        else:
            if pid == 0:
                self._edge.close()
                return True
            self._edge.report_forked(order.worker, pid)
        for number in order.descriptors():
            os.close(number)
        return False

    def become_worker(self) -> None:
        """Does in a forked worker what the edge does for one that it spawns, or raises."""
        if self._leads_group:
            os.setpgid(0, 0)
        _hcrs.die_with_parent()
        if os.getppid() != self._edge_pid:
            raise RuntimeError("this worker is not a child of the edge: the app makes itself a subreaper of processes")
        forget_children()
        reseed()


def forget_children() -> None:
    """Makes multiprocessing forget the children of the template, which are not those of this process."""
    process = sys.modules.get("multiprocessing.process")
    children = getattr(process, "_children", None)
    if isinstance(children, set):
        children.clear()


def reseed() -> None:
    """Seeds NumPy's global generator anew; Python does so with ``random`` in each forked process."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        try:
            numpy_random.seed()
        except Exception as error:
            log.warning("NumPy's random numbers are the same in all workers: %s", error)


def warnings_of_fork(own: int) -> list[str]:
    """Returns warnings of what the app has left in this process that does not survive a fork.

    ``own`` is the descriptor of the template's socket.
    """
    found = []
    threads = list(running_threads())
    if threads:
        found.append(
            f"The app has threads after its import, which do not run in workers: {listed(threads)};"
            " start them in worker_start, or in the app's startup (preload)"
        )
    shared = list(shared_connections(own))
    if shared:
        found.append(
            f"The app has opened these at its import, and all workers share them: {listed(shared)};"
            " open them in worker_start, or in the app's startup (preload)"
        )
    return found


def listed(names: list[str]) -> str:
    """Returns the names in one line, of many only the first."""
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def running_threads() -> Iterator[str]:
    """Returns the names of all threads but the calling one, those without Python by the system's name."""
    ours = {threading.get_native_id()}
    for thread in threading.enumerate():
        if thread.native_id not in ours:
            ours.add(thread.native_id or 0)
            yield thread.name
    for number in os.listdir("/proc/self/task"):
        with suppress(OSError):  # it has ended
            if int(number) not in ours:
                with open(f"/proc/self/task/{number}/comm", encoding="utf-8", errors="replace") as name:
                    yield f"{name.read().strip()} (not Python's)"


def shared_connections(own: int) -> Iterator[str]:
    """Returns a description of each connection, and of an event loop, that this process has open."""
    for text in os.listdir("/proc/self/fd"):
        number = int(text)
        with suppress(OSError):  # the directory's own descriptor is closed, and not every socket has a peer
            if number == own:
                continue
            if os.readlink(f"/proc/self/fd/{number}") == "anon_inode:[eventpoll]":
                yield "an event loop or selector (epoll)"
            elif stat.S_ISSOCK(os.stat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as copy:
                    peer = copy.getpeername() if copy.type == socket.SOCK_STREAM else ""
                if peer:
                    yield f"a connection to {':'.join(map(str, peer[:2])) if isinstance(peer, tuple) else peer}"
