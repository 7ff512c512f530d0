"""Answers the edge's question whether the worker lives, and tells where it stands if it does not."""

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

#: Threads, and tasks, whose stacks are told.
_TOLD_MAX = 100
#: Frames of each.
_FRAMES_MAX = 50


class Loop(Protocol):
    """What a loop is asked for."""

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> object:
        """Calls back in the loop's next turn, asked from another thread."""


class Answering:
    """Answers pings, in a thread of its own that needs the GIL for it."""

    def __init__(self, pulse: _hcrs.Pulse, *, loop: Loop | None = None, is_free: Callable[[], bool] | None = None) -> None:
        """The event loop answers if there is one; else ``is_free`` says whether there is a free thread."""
        self._pulse = pulse
        self._loop = loop
        self._is_free = is_free
        self._is_asked = False

    def start(self) -> None:
        """Answers from now on."""
        descriptor, number = self._pulse.dump()
        try:
            faulthandler.register(number, file=descriptor, all_threads=True)
            can_dump = True
            os.register_at_fork(after_in_child=lambda: faulthandler.unregister(number))
        except (OSError, RuntimeError, ValueError):  # not to be had; stacks then need the GIL
            can_dump = False
        threading.Thread(target=self._answer, name="hcrs-pulse", daemon=True).start()
        self._pulse.start(can_dump)

    def close(self) -> None:
        """Answers no more: the interpreter is about to end."""
        self._pulse.close()

    def _answer(self) -> None:
        threading.current_thread().pydev_do_not_trace = True  # type: ignore[attr-defined]  # debugpy is not to halt it
        while (is_for_stacks := self._pulse.next()) is not None:
            if is_for_stacks:
                self._pulse.tell_stacks(stacks(self._loop))
            else:
                self._pulse.interpreter_turns()
                self._ask_further()

    def _ask_further(self) -> None:
        if is_debugged():
            self._pulse.loop_turns()  # whoever looks at it decides how long it stands
        elif self._is_free is not None:
            if self._is_free():
                self._pulse.loop_turns()
        elif self._loop is not None and not self._is_asked:
            self._is_asked = True
            try:
                self._loop.call_soon_threadsafe(self._on_turn)
            except RuntimeError:  # the loop is closed
                self._is_asked = False

    def _on_turn(self) -> None:
        self._is_asked = False
        self._pulse.loop_turns()


def is_debugged() -> bool:
    """Whether a thread stands in a debugger that is made of ``bdb``, as pdb is, or one is connected to debugpy."""
    debugpy = sys.modules.get("debugpy")
    with suppress(Exception):  # it is what the app has made of it
        if debugpy is not None and debugpy.is_client_connected():
            return True
    bdb = sys.modules.get("bdb")
    return bdb is not None and any(is_within(frame, vars(bdb)) for frame in sys._current_frames().values())


def is_within(frame: FrameType | None, namespace: dict[str, Any]) -> bool:
    """Whether one of a stack's functions is of a module with that namespace."""
    while frame is not None:
        if frame.f_globals is namespace:
            return True
        frame = frame.f_back
    return False


def stacks(loop: Any) -> str:
    """Where all other threads stand, and the tasks of an asyncio loop."""
    text = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    del frames[threading.get_ident()]
    for ident, frame in list(frames.items())[:_TOLD_MAX]:
        print(f"Thread {names.get(ident, ident)} (most recent call last):", file=text)
        traceback.print_stack(frame, _FRAMES_MAX, text)
    if isinstance(loop, asyncio.AbstractEventLoop):
        for task in list(asyncio.all_tasks(loop))[:_TOLD_MAX]:
            try:
                task.print_stack(limit=_FRAMES_MAX, file=text)
            except Exception as error:  # it has gone on while it was looked at
                print(f"{task!r}: {error!r}", file=text)
    return text.getvalue()
