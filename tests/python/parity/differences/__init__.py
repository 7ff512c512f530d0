"""Where hcrs answers otherwise than Hypercorn 0.18, each with its reason: the rows of docs/compatibility.md that the
tests of this folder see. Section, subject and reason stand there in the same words.

A difference that is not here fails a test, and so does one that has vanished.
"""

from __future__ import annotations

from parity.comparison import Difference
from parity.differences.asgi import ASGI, EXTENSIONS
from parity.differences.http import HTTP
from parity.differences.http1 import HTTP1
from parity.differences.http2 import HTTP2
from parity.differences.http3 import HTTP3
from parity.differences.life import LIFESPAN, LOGS
from parity.differences.websocket import WEBSOCKET
from parity.differences.wsgi import WSGI

DIFFERENCES: tuple[Difference, ...] = HTTP + HTTP1 + HTTP2 + HTTP3 + ASGI + EXTENSIONS + WEBSOCKET + WSGI + LIFESPAN + LOGS
