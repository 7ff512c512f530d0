"""A headless Chromium that trusts a development authority, driven by the DevTools protocol."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import websockets.exceptions
import websockets.sync.client

#: How long anything may take, in seconds: a browser starts a dozen processes, on whatever machine there is.
DEADLINE = 60.0

_FLAGS = (
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Chromium:
    """A running browser, with a home folder of its own."""

    def __init__(
        self, program: str, certutil: str, home: Path, authority: Path, *, flags: Sequence[str] = ("--disable-quic",)
    ) -> None:
        """Puts the authority among those that the home's user trusts, as a developer would, and starts the browser, without
        QUIC unless it is told otherwise."""
        database = home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        nss = [certutil, "-d", f"sql:{database}"]
        subprocess.run([*nss, "-N", "--empty-password"], check=True, capture_output=True, timeout=DEADLINE)
        trusted = ["-A", "-t", "C,,", "-n", "hcrs", "-i", str(authority)]
        subprocess.run([*nss, *trusted], check=True, capture_output=True, timeout=DEADLINE)
        folders = {name: str(home / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
        self._errors: list[str] = []
        self._process = subprocess.Popen(
            [program, *_FLAGS, *flags, f"--user-data-dir={home / 'profile'}", "about:blank"],
            env={**os.environ, **folders, "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._url = ""
        self._is_listening = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        self._last = 0
        self._open = contextlib.ExitStack()
        try:
            if not self._is_listening.wait(DEADLINE) or not self._url:
                raise TimeoutError("Chromium does not start:\n" + "".join(self._errors))
            connecting = websockets.sync.client.connect(self._url, max_size=None, proxy=None)
            self._socket = self._open.enter_context(connecting)
        except BaseException:
            self._kill()
            raise

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line)
            found = re.match(r"DevTools listening on (ws://\S+)", line)
            if found:
                self._url = found[1]
                self._is_listening.set()
        self._is_listening.set()

    def open(self, url: str) -> Page:
        """Loads a page, and returns it once its load event has come."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, session)
        page.load(url)
        return page

    def call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> Any:
        """Calls a method of the browser and returns its answer."""
        number = self.send(method, parameters, session)
        answer = self.wait(lambda message: message.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def send(self, method: str, parameters: dict[str, Any] | None, session: str | None) -> int:
        """Sends a call to the browser, and returns the number that its answer will have."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters or {}}
        self._socket.send(json.dumps({**message, "sessionId": session} if session else message))
        return self._last

    def wait(self, wanted: Callable[[Any], object]) -> Any:
        """The first message from now on that is wanted."""
        while True:
            message = json.loads(self._socket.recv(timeout=DEADLINE))
            if wanted(message):
                return message

    def close(self) -> None:
        """Ends it, and whatever it has started."""
        with contextlib.suppress(OSError, TimeoutError, websockets.exceptions.ConnectionClosed):
            self.call("Browser.close")
        self._open.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DEADLINE)
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)


class Page:
    """A tab."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    def load(self, url: str) -> None:
        """Goes to a URL and waits for the load event."""
        self._browser.call("Page.enable", session=self._session)
        number = self._browser.send("Page.navigate", {"url": url}, self._session)
        is_loaded = failure = None
        while not is_loaded:
            message = self._browser.wait(lambda message: True)
            is_loaded = message.get("method") == "Page.loadEventFired" and message["sessionId"] == self._session
            if message.get("id") == number:
                failure = message.get("result", message).get("errorText")
                assert failure is None, f"{url}: {failure}"

    def security(self, url: str) -> Any:
        """Goes to a URL, and returns the facts of its response's TLS connection."""
        self._browser.call("Network.enable", session=self._session)
        self._browser.send("Page.navigate", {"url": url}, self._session)

        def is_its_response(message: dict[str, Any]) -> bool:
            return message.get("method") == "Network.responseReceived" and message["params"]["response"]["url"] == url

        return self._browser.wait(is_its_response)["params"]["response"]["securityDetails"]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        options = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self._browser.call("Runtime.evaluate", options, self._session)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text_when(self, element: str, pattern: str) -> str:
        """The text of an element once it matches the pattern."""
        return str(self.evaluate(_TEXT_WHEN % (json.dumps(element), json.dumps(pattern))))


#: Waits for changes of the page, not for time to pass.
_TEXT_WHEN = """
new Promise((resolve) => {
  const element = document.getElementById(%s), wanted = new RegExp(%s);
  const look = () => { if (wanted.test(element.textContent)) resolve(element.textContent); };
  new MutationObserver(look).observe(element, { childList: true, characterData: true, subtree: true });
  look();
})
"""
