"""A page in Chromium, and what the browser reports of it: failed assets, console errors and WebSockets."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from end_to_end.chromium import Chromium, Page

#: How long a page may take to show something, in seconds.
SHOWN_S = 30.0
#: Nothing is fetched from elsewhere, as pages would their fonts.
ONLY_LOCAL = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"


class Browser(Chromium):
    """One that keeps what it is told between calls."""

    def __init__(self, *arguments: Any) -> None:
        self.events: list[Any] = []
        super().__init__(*arguments, flags=[ONLY_LOCAL])

    def wait(self, wanted: Callable[[Any], object]) -> Any:
        """The first message from now on that is wanted; all are kept."""

        def keep(message: Any) -> object:
            if "method" in message:
                self.events.append(message)
            return wanted(message)

        return super().wait(keep)


@dataclass
class Socket:
    """A WebSocket of a page."""

    url: str
    #: 101 over HTTP/1.1, 200 over HTTP/2, 0 while there is no answer.
    status: int = 0
    sent: int = 0
    received: int = 0

    @property
    def protocol(self) -> str:
        """How it was opened."""
        return {101: "h1 upgrade", 200: "h2 extended CONNECT"}.get(self.status, f"not open, {self.status}")


class Tab(Page):
    """A tab, with what the browser reports of it."""

    def __init__(self, browser: Browser, origin: str, known: Sequence[str]) -> None:
        target = browser.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = browser.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        super().__init__(browser, session)
        self._origin = origin
        self._is_tls = origin.startswith("https:")
        self._known = known
        self._events = browser.events
        for domain in ("Network", "Runtime", "Log"):
            browser.call(f"{domain}.enable", session=session)

    def until(self, expression: str, what: str = "", seconds: float = SHOWN_S) -> None:
        """Waits until a JavaScript expression is true. While a page is loaded it may have no value."""
        end = time.monotonic() + seconds
        failure: Any = None
        while True:
            try:
                if self.evaluate(f"!!({expression})"):
                    return
            except (AssertionError, RuntimeError) as error:
                failure = error
            if time.monotonic() > end:
                shown = failure or self.evaluate("document.body.innerText.slice(0, 300)")
                told = f"; {self.complaints()}" if self.complaints() else ""
                raise TimeoutError(f"waited {seconds:g} s in vain for {what or expression}: {shown!r}{told}")
            time.sleep(0.1)

    def until_text(self, text: str) -> None:
        """Waits until the page shows a text."""
        self.until(f"document.body.innerText.includes({json.dumps(text)})", f"the text {text!r}")

    def click(self, selector: str) -> None:
        """Clicks an element once it is there."""
        self.until(f"document.querySelector({json.dumps(selector)})", selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def click_text(self, selector: str, text: str) -> None:
        """Clicks the first of such elements that shows a text, once it is there."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].find(e => e.textContent.includes({json.dumps(text)}))"
        self.until(found, f"{selector} with {text!r}")
        self.evaluate(f"{found}.click()")

    def type(self, selector: str, text: str) -> None:
        """Writes into an element, in place of what stands there, as a keyboard would."""
        self.until(f"document.querySelector({json.dumps(selector)})", selector)
        self.evaluate(f"(e => {{ e.focus(); if (e.select) e.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.insert_text(text)

    def insert_text(self, text: str) -> None:
        """Writes at the cursor."""
        self.call("Input.insertText", {"text": text})

    def press_enter(self) -> None:
        """Presses the key."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **key})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **key})

    def call(self, method: str, parameters: dict[str, Any]) -> Any:
        """Has the browser do something with this tab."""
        return self._browser.call(method, parameters, self._session)

    # ---- what was reported ----

    def sockets(self) -> list[Socket]:
        """The WebSockets to the server so far."""
        self.evaluate("1")  # what has come before this answer is kept with it
        found: dict[str, Socket] = {}
        for method, told in self._told():
            if method == "Network.webSocketCreated":
                found[told["requestId"]] = Socket(told["url"])
            elif (socket := found.get(told.get("requestId", ""))) is not None:
                if method == "Network.webSocketHandshakeResponseReceived":
                    socket.status = told["response"]["status"]
                socket.sent += method == "Network.webSocketFrameSent"
                socket.received += method == "Network.webSocketFrameReceived"
        return [socket for socket in found.values() if self._is_ours(socket.url)]

    def open_socket(self) -> Socket:
        """The first WebSocket that is open, once one is: over TLS a stream of the page's connection."""
        end = time.monotonic() + SHOWN_S
        expected = 200 if self._is_tls else 101
        while True:
            sockets = self.sockets()
            for socket in sockets:
                if socket.status:
                    assert socket.status == expected, socket
                    return socket
            if time.monotonic() > end:
                raise TimeoutError(f"no WebSocket has opened: {sockets} {self.complaints()}")
            time.sleep(0.1)

    def requests(self) -> dict[str, int]:
        """How many answers of the server came over which protocol."""
        self.evaluate("1")
        counts: dict[str, int] = {}
        for method, told in self._told():
            if method == "Network.responseReceived" and self._is_ours(told["response"]["url"]):
                protocol = told["response"].get("protocol", "")
                counts[protocol] = counts.get(protocol, 0) + 1
        return counts

    def complaints(self) -> list[str]:
        """Failed assets of the server, errors of the console, and exceptions; none of other hosts, and none that is known."""
        self.evaluate("1")
        urls: dict[str, str] = {}
        found: list[str] = []
        for method, told in self._told():
            if method == "Network.requestWillBeSent":
                urls[told["requestId"]] = told["request"]["url"]
            elif method == "Network.responseReceived" and told["response"]["status"] >= 400:
                found.append(f"{told['response']['status']} of {told['response']['url']}")
            elif method == "Network.loadingFailed" and not told.get("canceled"):
                found.append(f"{told['errorText']} of {urls.get(told['requestId'], '?')}")
            elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
                shown = [str(argument.get("value", argument.get("description", ""))) for argument in told["args"]]
                found.append(f"console: {' '.join(shown)}")
            elif method == "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                found.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
            elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
                found.append(f"log: {told['entry']['text']} {told['entry'].get('url', '')}")
        return [line for line in dict.fromkeys(found) if self._is_about_us(line) and not self._is_known(line)]

    def assert_sound(self) -> str:
        """Asserts that nothing was complained of; returns a note of what was fetched."""
        complaints = self.complaints()
        assert not complaints, "; ".join(complaints)[:1500]
        requests = self.requests()
        assert list(requests) == ["h2" if self._is_tls else "http/1.1"], requests
        return ", ".join(f"{count} over {protocol}" for protocol, count in requests.items())

    def _told(self) -> list[tuple[str, Any]]:
        return [
            (event["method"], event["params"]) for event in list(self._events) if event.get("sessionId") == self._session
        ]

    def _is_ours(self, url: str) -> bool:
        return urlsplit(url).netloc == urlsplit(self._origin).netloc

    def _is_about_us(self, line: str) -> bool:
        urls = re.findall(r"(?:https?|wss?)://[^\s'\"]+", line)
        return not urls or any(self._is_ours(url) for url in urls)

    def _is_known(self, line: str) -> bool:
        return any(re.search(known, line) for known in self._known)
