"""WebSockets by extended CONNECT (RFC 8441, RFC 9220) as apps see them, and a server that does not take them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.h1_client import H1Client
from end_to_end.h2_client import H2Client
from end_to_end.h3_client import H3Client
from end_to_end.key_rows import shows
from end_to_end.server import Server
from end_to_end.ws_client import WsClient, ask_over_h2, open_over_h1, open_over_h2


def fields_of_scope(socket: WsClient) -> list[tuple[str, str]]:
    """The fields of the scope that the app has sent."""
    headers = json.loads(socket.receive())["headers"]
    return [(name["bytes"], value["bytes"]) for name, value in (pair["tuple"] for pair in headers)]


@pytest.mark.parametrize("version", ["h2", "h3"])
def test_the_scope_has_what_extended_connect_leaves_out(
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    version: str,
) -> None:
    server = serve("sockets.py:app")
    over_h1 = fields_of_scope(open_over_h1(connect_h1(server.listener), "/scope"))
    client = connect_multiplexed(server.listener_speaking(version))
    asked = [[], [("sec-websocket-key", "of the client")], [("sec-websocket-protocol", "a")]]
    shown = [fields_of_scope(open_over_h2(client, "/scope", fields)) for fields in asked]
    for fields in shown:
        values = dict(fields)
        assert len(values) == len(fields), fields
        assert values["upgrade"] == "websocket"
        assert values["connection"].lower() == dict(over_h1)["connection"].lower() == "upgrade"
        assert values["sec-websocket-version"] == "13"
        assert len(base64.b64decode(values["sec-websocket-key"], validate=True)) == 16
    assert {name for name, _ in shown[0]} == {name for name, _ in over_h1}
    # Apps take it for a name of the connection.
    assert len({dict(fields)["sec-websocket-key"] for fields in shown}) == len(shown)


@pytest.mark.parametrize("opens", ["h1", "h2", "h3"])
def test_socketio_takes_websockets(
    serve: Callable[..., Server],
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    opens: str,
) -> None:
    server = serve("socketio_site.py:app")
    target = "/socket.io/?EIO=4&transport=websocket"
    if opens == "h1":
        socket = open_over_h1(connect_h1(server.listener), target)
    else:
        socket = open_over_h2(connect_multiplexed(server.listener_speaking(opens)), target)
    assert str(socket.receive()).startswith('0{"sid":')
    socket.send("40")
    assert str(socket.receive()).startswith('40{"sid":')
    socket.send('42["hello","there"]')
    assert socket.receive() == '42["greeting","hello there"]'


@pytest.mark.parametrize("version", ["h2", "h3"])
@shows("sockets.py:app", websocket_over_h2=False)
def test_extended_connect_can_be_left_out(
    server: Server,
    connect_h1: Callable[..., H1Client],
    connect_multiplexed: Callable[..., H2Client | H3Client],
    version: str,
) -> None:
    client = connect_multiplexed(server.listener_speaking(version))
    assert not client.offers_extended_connect()
    refused = client.response(ask_over_h2(client, "/echo"))
    assert (refused.status, refused.reset) == (None, client.errors.PROTOCOL_ERROR)
    assert client.get("/").status == 200
    socket: Any = open_over_h1(connect_h1(server.listener), "/echo")
    socket.send("over HTTP/1.1")
    assert socket.receive() == "over HTTP/1.1"
