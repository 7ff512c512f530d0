"""Trusts a number of proxies. The server's setting ``forwarded_allow_ips``, which trusts addresses, is safer: this
middleware also trusts clients that reach the server without passing the proxies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from hcrs.middleware._asgi import ASGIApp, Receive, Scope, Send, is_host

Headers = Iterable["tuple[bytes, bytes]"]

# A token or a quoted string (RFC 7239 section 4); colons and brackets ought to be quoted and often are not.
_PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,]+))\s*(?:;|\Z)', re.ASCII)


class ProxyFixMiddleware:
    """Sets client, scheme and host to the values from the proxy that is ``trusted_hops`` away.

    ``legacy`` reads ``X-Forwarded-For``, ``-Proto`` and ``-Host``; ``modern`` reads ``Forwarded`` (RFC 7239), or the
    former fields if it is absent. Values are counted from the right; a field with fewer values is ignored.
    """

    def __init__(
        self, app: ASGIApp, mode: Literal["legacy", "modern"] = "legacy", trusted_hops: int = 1
    ) -> None:
        if mode not in ("legacy", "modern"):
            raise ValueError(f"mode is 'legacy' or 'modern', not {mode!r}")
        self.app = app
        self.mode = mode
        self.trusted_hops = trusted_hops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and self.trusted_hops > 0:
            scope = self._fixed(scope)
        await self.app(scope, receive, send)

    def _fixed(self, scope: Scope) -> Scope:
        client, scheme, host = self._forwarded(scope["headers"])
        # A shallow copy: nested objects are not changed, and those in `state` may not support copying.
        scope = dict(scope)
        if client is not None:
            scope["client"] = _address(client)
        if scheme is not None and scheme.lower() in ("http", "https", "ws", "wss"):
            is_secure = scheme.lower() in ("https", "wss")
            names = ("https", "http") if scope["type"] == "http" else ("wss", "ws")
            scope["scheme"] = names[0] if is_secure else names[1]
        if host is not None and is_host(host):
            others = [(name, value) for name, value in scope["headers"] if name.lower() != b"host"]
            scope["headers"] = [*others, (b"host", host.encode("latin-1"))]
        return scope

    def _forwarded(self, headers: Headers) -> tuple[str | None, str | None, str | None]:
        if self.mode == "modern":
            values = [value.decode("latin-1") for name, value in headers if name.lower() == b"forwarded"]
            if values:
                pairs = self._pairs(values)
                return pairs.get("for"), pairs.get("proto"), pairs.get("host")
        return (
            self._nth(b"x-forwarded-for", headers),
            self._nth(b"x-forwarded-proto", headers),
            self._nth(b"x-forwarded-host", headers),
        )

    def _nth(self, wanted: bytes, headers: Headers) -> str | None:
        values = [
            value.strip()
            for name, line in headers
            if name.lower() == wanted
            for value in line.decode("latin-1").split(",")
        ]
        return values[-self.trusted_hops] if len(values) >= self.trusted_hops else None

    def _pairs(self, lines: list[str]) -> dict[str, str]:
        """Returns the pairs of the element ``trusted_hops`` from the right; none if it is missing or malformed."""
        elements = [element for line in reversed(lines) for element in _elements_from_right(line)]
        return _parse_pairs(elements[self.trusted_hops - 1]) if len(elements) >= self.trusted_hops else {}


def _elements_from_right(line: str) -> Iterator[str]:
    """Yields the elements between commas outside of quotes. As they are read from the right, a quote that a client has
    left open does not affect the elements that proxies have appended."""
    end = at = len(line)
    while at > 0:
        at -= 1
        if line[at] == ",":
            yield line[at + 1 : end].strip()
            end = at
        elif line[at] == '"':
            at = _opening_quote(line, at)
            if at < 0:
                break
    yield line[:end].strip()


def _opening_quote(line: str, closing: int) -> int:
    """Returns the index of the last unescaped quote before ``closing``, or -1 if there is none."""
    at = line.rfind('"', 0, closing)
    while at >= 0:
        start = at
        while start > 0 and line[start - 1] == "\\":
            start -= 1
        if (at - start) % 2 == 0:
            return at
        at = line.rfind('"', 0, start)
    return -1


def _parse_pairs(element: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    at = 0
    while at < len(element):
        found = _PAIR.match(element, at)
        if found is None or found[1].lower() in pairs:
            return {}
        name, quoted, plain = found.groups()
        pairs[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = found.end()
    return pairs


def _address(text: str) -> tuple[str, int]:
    """Splits an address and its port. Other text, such as an obfuscated name, is returned unchanged."""
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\w+))?|(\d+\.\d+\.\d+\.\d+):(\w+)", text, re.ASCII)
    if found is None:
        return text, 0
    port = found[2] or found[4] or "0"
    return found[1] or found[3], int(port) if port.isdigit() and int(port) < 65_536 else 0
