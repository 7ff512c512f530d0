"""How long one exchange has the loop of its worker before the others have their turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from end_to_end.server import Server
from end_to_end.ws_client import TEXT, frame, open_over_h1, open_over_h2

#: What an exchange may receive and send in one turn of the loop, and the call by which it gives the loop the turn.
SLICE = 64 + 1

#: What it may where each message takes longer than the slice's time; the clock is not looked at before.
SLOW_SLICE = 5 + 1

COUNT = 5000


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def turns(request: pytest.FixtureRequest, serve: Callable[..., Server]) -> Server:
    return serve("turns.py:app", worker_class=request.param, workers=1, hcrs={"lifespan": "off"})


@pytest.mark.parametrize("version", ["h1", "h2", "h3"])
def test_a_busy_websocket_leaves_the_others_their_turns(
    turns: Server, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], version: str
) -> None:
    target = f"/echo?{COUNT}"
    if version == "h1":
        client = open_over_h1(connect_h1(turns.listener), target)
    else:
        client = open_over_h2(connect_multiplexed(turns.listener_speaking(version)), target)
    # Beside each other: who does not read is held.
    for _ in range(COUNT // 500):
        client.send_bytes(frame(TEXT, b"x") * 500)
        messages, _, _ = client.receive_all(500)
        assert messages == ["x"] * 500
    told = json.loads(client.receive())
    assert told["all"] == 2 * COUNT
    # Where a slice begins in the middle of a turn of the loop, messages that come in the same turn begin another.
    assert 0 < told["most"] <= 2 * SLICE, told


@pytest.mark.parametrize("version", ["h1", "h2", "h3"])
@pytest.mark.parametrize(("target", "most"), [("pieces", SLICE), ("slow-pieces", SLOW_SLICE)])
def test_an_app_that_sends_many_pieces_leaves_the_others_their_turns(
    turns: Server, connect_h1: Callable[..., Any], connect_multiplexed: Callable[..., Any], version: str, target: str, most: int
) -> None:
    count = COUNT if target == "pieces" else 200
    client = connect_h1(turns.listener) if version == "h1" else connect_multiplexed(turns.listener_speaking(version))
    body = client.get(f"/{target}?{count}").body
    assert body[:count] == b"x" * count
    told = json.loads(body[count:])
    assert told["all"] == count
    assert 0 < told["most"] <= most, told
