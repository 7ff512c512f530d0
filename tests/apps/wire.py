"""WebSockets as a browser opens them: a stream of HTTP/2 over TLS, otherwise a connection that is upgraded."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.server import Listening
from end_to_end.ws_client import WsClient, open_over_h1, open_over_h2
from visit import Visit


@contextlib.contextmanager
def open_websocket(visit: Visit, target: str, *, subprotocol: str = "", headers: Mapping[str, str] = {}) -> Iterator[tuple[WsClient, str]]:
    """A WebSocket, and how it was opened."""
    where = Listening("https" if visit.is_tls else "http", "localhost", visit.running.port)
    fields = [*headers.items(), *([("sec-websocket-protocol", subprotocol)] if subprotocol else [])]
    if visit.is_tls:
        trust = ssl.create_default_context(cafile=str(visit.running.place.authority))
        trust.set_alpn_protocols(["h2"])
        over_h2 = H2Client(where, tls=trust)
        try:
            yield open_over_h2(over_h2, target, fields), "h2 extended CONNECT"
        finally:
            over_h2.close()
    else:
        over_h1 = H1Client(where)
        try:
            yield open_over_h1(over_h1, target, fields), "h1 upgrade"
        finally:
            over_h1.close()
