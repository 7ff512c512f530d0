"""A visit of an app on one server: its steps, and the clients that take them."""

from __future__ import annotations

import contextlib
import re
import ssl
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from browsing import Browser, Tab
from servers import Running

#: How long an answer may take, in seconds, of apps that do a lot on a machine that is busy.
ANSWER_S = 60.0


@dataclass
class Step:
    """An action, and its outcome."""

    name: str
    #: What is worth telling of it, such as the protocol of a WebSocket.
    note: str = ""
    #: Why it has failed.
    failure: str = ""


class Visit:
    """The server and clients for it, as a driver gets them."""

    def __init__(self, running: Running, chromium: Callable[[], Browser]) -> None:
        self.running = running
        self.url = running.url
        self.is_tls = running.is_tls
        self.steps: list[Step] = []
        self._chromium = chromium
        self._until_the_end = contextlib.ExitStack()

    @contextlib.contextmanager
    def step(self, name: str, *, differs: str = "") -> Iterator[Step]:
        """Records what is done in it. A failure ends the step and not the visit.

        ``differs`` says why it is meant to fail on hcrs, and only there.
        """
        step = Step(name)
        self.steps.append(step)
        is_meant_to_fail = bool(differs) and self.running.is_hcrs
        try:
            yield step
            if is_meant_to_fail:
                step.failure = f"no longer differs: {differs}"
        except Exception as error:
            if is_meant_to_fail:
                step.note = f"differs: {differs}"
            else:
                step.failure = in_a_line(error)

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator[httpx.Client]:
        """A client that speaks HTTP/2 over TLS and HTTP/1.1 over cleartext, and has every answer checked for it."""
        expected = "HTTP/2" if self.is_tls else "HTTP/1.1"

        def check(response: httpx.Response) -> None:
            assert response.http_version == expected, response.http_version

        trust: Any = ssl.create_default_context(cafile=str(self.running.place.authority)) if self.is_tls else False
        hooks: Any = {"response": [check]}
        settings: dict[str, Any] = {
            "base_url": self.url,
            "verify": trust,
            "http2": self.is_tls,
            "http1": not self.is_tls,
            "timeout": ANSWER_S,
            "event_hooks": hooks,
            "trust_env": False,
            **options,
        }
        with httpx.Client(**settings) as client:
            yield client

    def run(self, script: str, *arguments: str, seconds: float = ANSWER_S) -> str:
        """Runs a client of the app's own by the app's Python, with the URL as its first argument; returns what it prints."""
        return self.running.run(script, self.url, *arguments, seconds=seconds)

    @contextlib.contextmanager
    def page(self, path: str = "/", *, stays: bool = False) -> Iterator[Tab]:
        """A page in Chromium, loaded. One that ``stays`` is open until the server has ended, with its WebSocket."""
        browser = self._chromium()
        with contextlib.ExitStack() as opened:
            (self._until_the_end if stays else opened).callback(browser.close)
            tab = Tab(browser, self.url, list(self.running.site.page_may_report))
            tab.load(self.url + path)
            yield tab

    def page_step(self, name: str, path: str = "/", *, shows: str) -> None:
        """A step in which a page shows a text, and the browser reports nothing wrong."""
        with self.step(name) as step, self.page(path) as page:
            page.until_text(shows)
            step.note = page.assert_sound()

    @contextlib.contextmanager
    def live_page(self, path: str = "/", *, shows: str) -> Iterator[Tab]:
        """A page that stays and shows a text once its WebSocket is open. What is done on it are steps of their own, between
        one for the WebSocket and one for what the browser has reported."""
        with self.page(path, stays=True) as page:
            with self.step("WebSocket of the page") as step:
                page.until_text(shows)
                step.note = page.open_socket().protocol
            yield page
            with self.step("page") as step:
                step.note = page.assert_sound()

    def close(self) -> None:
        """Closes the pages that have stayed."""
        self._until_the_end.close()


def in_a_line(error: Exception) -> str:
    """The error and the driver's line that has met it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("drive.py")]
    where = f"{Path(frames[-1].filename).parent.name}/drive.py:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error} ({where})").strip()
