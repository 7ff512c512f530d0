"""The types of apps and of their scopes and events, under Hypercorn's names (https://asgi.readthedocs.io, PEP 3333).

To a type checker all keys of scopes and events are optional, as most of them are in the specification.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Literal, TypeAlias, TypedDict

Headers: TypeAlias = Iterable["tuple[bytes, bytes]"]
LifespanState: TypeAlias = "dict[str, Any]"
ConnectionState: TypeAlias = "dict[str, Any]"
Message: TypeAlias = MutableMapping[str, Any]


class ASGIVersions(TypedDict, total=False):
    """The value of ``scope["asgi"]``."""

    spec_version: str
    version: str


class _ConnectionScope(TypedDict, total=False):
    asgi: ASGIVersions
    http_version: str
    scheme: str
    path: str
    raw_path: bytes
    query_string: bytes
    root_path: str
    headers: Headers
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    state: ConnectionState
    extensions: dict[str, dict[Any, Any]]


class HTTPScope(_ConnectionScope, total=False):
    """The scope of a request."""

    type: Literal["http"]
    method: str


class WebsocketScope(_ConnectionScope, total=False):
    """The scope of a WebSocket."""

    type: Literal["websocket"]
    subprotocols: Iterable[str]


class LifespanScope(TypedDict, total=False):
    """The scope of the lifespan protocol."""

    type: Literal["lifespan"]
    asgi: ASGIVersions
    state: LifespanState


WWWScope: TypeAlias = HTTPScope | WebsocketScope
Scope: TypeAlias = HTTPScope | WebsocketScope | LifespanScope


class HTTPRequestEvent(TypedDict, total=False):
    """A piece of a request's body."""

    type: Literal["http.request"]
    body: bytes
    more_body: bool


class HTTPDisconnectEvent(TypedDict, total=False):
    """The end of the exchange: the response is complete, or the client has disconnected."""

    type: Literal["http.disconnect"]


class HTTPResponseStartEvent(TypedDict, total=False):
    """The head of a response."""

    type: Literal["http.response.start"]
    status: int
    headers: Headers
    trailers: bool


class HTTPResponseBodyEvent(TypedDict, total=False):
    """A piece of a response's body."""

    type: Literal["http.response.body"]
    body: bytes
    more_body: bool


class HTTPResponseTrailersEvent(TypedDict, total=False):
    """The trailer fields after a response's body."""

    type: Literal["http.response.trailers"]
    headers: Headers
    more_trailers: bool


class HTTPEarlyHintEvent(TypedDict, total=False):
    """Link fields that are sent before the response."""

    type: Literal["http.response.early_hint"]
    links: Iterable[bytes]


class HTTPServerPushEvent(TypedDict, total=False):
    """A request that the server promises to the client and answers by itself."""

    type: Literal["http.response.push"]
    path: str
    headers: Headers


class WebsocketConnectEvent(TypedDict, total=False):
    """The request of a client for a WebSocket."""

    type: Literal["websocket.connect"]


class WebsocketAcceptEvent(TypedDict, total=False):
    """The app's acceptance of a WebSocket."""

    type: Literal["websocket.accept"]
    subprotocol: str | None
    headers: Headers


class WebsocketReceiveEvent(TypedDict, total=False):
    """A WebSocket message from the client."""

    type: Literal["websocket.receive"]
    bytes: bytes | None
    text: str | None


class WebsocketSendEvent(TypedDict, total=False):
    """A WebSocket message to the client."""

    type: Literal["websocket.send"]
    bytes: bytes | None
    text: str | None


class WebsocketCloseEvent(TypedDict, total=False):
    """The close of a WebSocket by the app; before the acceptance, its denial."""

    type: Literal["websocket.close"]
    code: int
    reason: str | None


class WebsocketDisconnectEvent(TypedDict, total=False):
    """The close of a WebSocket by the client."""

    type: Literal["websocket.disconnect"]
    code: int
    reason: str | None


class WebsocketResponseStartEvent(TypedDict, total=False):
    """The head of a response that denies a WebSocket."""

    type: Literal["websocket.http.response.start"]
    status: int
    headers: Headers


class WebsocketResponseBodyEvent(TypedDict, total=False):
    """A piece of the body of a response that denies a WebSocket."""

    type: Literal["websocket.http.response.body"]
    body: bytes
    more_body: bool


class LifespanStartupEvent(TypedDict, total=False):
    """The server's request to start."""

    type: Literal["lifespan.startup"]


class LifespanShutdownEvent(TypedDict, total=False):
    """The server's request to shut down."""

    type: Literal["lifespan.shutdown"]


class LifespanStartupCompleteEvent(TypedDict, total=False):
    """The app's report that it has started."""

    type: Literal["lifespan.startup.complete"]


class LifespanStartupFailedEvent(TypedDict, total=False):
    """The app's report that it cannot start."""

    type: Literal["lifespan.startup.failed"]
    message: str


class LifespanShutdownCompleteEvent(TypedDict, total=False):
    """The app's report that it has shut down."""

    type: Literal["lifespan.shutdown.complete"]


class LifespanShutdownFailedEvent(TypedDict, total=False):
    """The app's report that its shutdown failed."""

    type: Literal["lifespan.shutdown.failed"]
    message: str


ASGIReceiveEvent: TypeAlias = (
    HTTPRequestEvent
    | HTTPDisconnectEvent
    | WebsocketConnectEvent
    | WebsocketReceiveEvent
    | WebsocketDisconnectEvent
    | LifespanStartupEvent
    | LifespanShutdownEvent
)
ASGISendEvent: TypeAlias = (
    HTTPResponseStartEvent
    | HTTPResponseBodyEvent
    | HTTPResponseTrailersEvent
    | HTTPEarlyHintEvent
    | HTTPServerPushEvent
    | WebsocketAcceptEvent
    | WebsocketSendEvent
    | WebsocketCloseEvent
    | WebsocketResponseStartEvent
    | WebsocketResponseBodyEvent
    | LifespanStartupCompleteEvent
    | LifespanStartupFailedEvent
    | LifespanShutdownCompleteEvent
    | LifespanShutdownFailedEvent
)

ASGIReceiveCallable: TypeAlias = Callable[[], Awaitable[Any]]
ASGISendCallable: TypeAlias = Callable[[Any], Awaitable[None]]
#: Frameworks declare the three arguments more narrowly than ASGI does, each in its own way.
ASGIFramework: TypeAlias = Callable[[Any, Any, Any], Awaitable[Any]]
WSGIFramework: TypeAlias = Callable[["dict[str, Any]", Any], Iterable[bytes]]
Framework: TypeAlias = "ASGIFramework | WSGIFramework"
