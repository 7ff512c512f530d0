"""Answers the edge's liveness pings, and reports the stacks of a worker that hangs."""

from __future__ import annotations

import asyncio
import faulthandler
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

from hcrs import _hcrs

#: Threads, and tasks, whose stacks are reported at most.
_STACKS_MAX = 100
#: Frames of each stack at most.
_FRAMES_MAX = 50


class Loop(Protocol):
    """The part of an event loop that is needed here."""

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> object:
        """Calls ``callback`` in the loop's next turn, from another thread."""


class PulseThread:
    """A thread of Python, which needs the GIL, that answers pings."""

    def __init__(
        self, pulse: _hcrs.Pulse, *, loop: Loop | None = None, is_free: Callable[[], bool] | None = None
    ) -> None:
        """Pings are passed on to the event loop if there is one; else ``is_free`` returns whether a thread is idle."""
        self._pulse = pulse
        self._loop = loop
        self._is_free = is_free
        self._is_asked = False

    def start(self) -> None:
        """Starts answering."""
        descriptor, number = self._pulse.dump()
        try:
            faulthandler.register(number, file=descriptor, all_threads=True)
            can_dump = True
            os.register_at_fork(after_in_child=lambda: faulthandler.unregister(number))
        except (OSError, RuntimeError, ValueError):  # not available; stacks need the GIL then
            can_dump = False
        threading.Thread(target=self._answer, name="hcrs-pulse", daemon=True).start()
        self._pulse.start(can_dump)

    def close(self) -> None:
        """Stops answering, before the interpreter shuts down."""
        self._pulse.close()

    def _answer(self) -> None:
        threading.current_thread().pydev_do_not_trace = True  # type: ignore[attr-defined]  # debugpy must not halt it
        while (is_for_stacks := self._pulse.next()) is not None:
            if is_for_stacks:
                self._pulse.send_stacks(stacks(self._loop))
            else:
                self._pulse.note_interpreter_turn()
                self._ask_loop_or_pool()

    def _ask_loop_or_pool(self) -> None:
        if is_debugged():
            self._pulse.note_loop_turn()  # a breakpoint may halt the app for any time
        elif self._is_free is not None:
            if self._is_free():
                self._pulse.note_loop_turn()
        elif self._loop is not None and not self._is_asked:
            self._is_asked = True
            try:
                self._loop.call_soon_threadsafe(self._on_turn)
            except RuntimeError:  # the loop is closed
                self._is_asked = False

    def _on_turn(self) -> None:
        self._is_asked = False
        self._pulse.note_loop_turn()


def is_debugged() -> bool:
    """Returns whether a thread is in a debugger based on ``bdb``, such as pdb, or debugpy has a client."""
    debugpy = sys.modules.get("debugpy")
    with suppress(Exception):  # the app may have replaced the module
        if debugpy is not None and debugpy.is_client_connected():
            return True
    bdb = sys.modules.get("bdb")
    return bdb is not None and any(is_within(frame, vars(bdb)) for frame in sys._current_frames().values())


def is_within(frame: FrameType | None, namespace: dict[str, Any]) -> bool:
    """Returns whether a function of the stack belongs to the module with this namespace."""
    while frame is not None:
        if frame.f_globals is namespace:
            return True
        frame = frame.f_back
    return False


def stacks(loop: Any) -> str:
    """Returns the stacks of all other threads, and of the tasks of an asyncio loop."""
    text = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    del frames[threading.get_ident()]
    for ident, frame in list(frames.items())[:_STACKS_MAX]:
        print(f"Thread {names.get(ident, ident)} (most recent call last):", file=text)
        traceback.print_stack(frame, _FRAMES_MAX, text)
    if isinstance(loop, asyncio.AbstractEventLoop):
        for task in list(asyncio.all_tasks(loop))[:_STACKS_MAX]:
            try:
                task.print_stack(limit=_FRAMES_MAX, file=text)
            except Exception as error:  # the task has run on meanwhile
                print(f"{task!r}: {error!r}", file=text)
    return text.getvalue()
