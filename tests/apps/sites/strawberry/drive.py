"""Strawberry: a query, a mutation, and a subscription over both of its protocols."""

from __future__ import annotations

import json
from typing import Any

from site_table import Site
from visit import Visit
from wire import open_websocket

COUNT = {"query": "subscription { count(target: 5) }"}
#: Of each protocol: what starts a subscription, what carries a value, and what ends it.
PROTOCOLS = {
    "graphql-transport-ws": ("subscribe", "next", "complete"),
    "graphql-ws": ("start", "data", "complete"),
}


def drive(visit: Visit) -> None:
    with visit.client() as client:
        with visit.step("a query"):
            asked = client.post("/graphql/", json={"query": '{ hello(name: "Ann") }'})
            assert asked.json()["data"] == {"hello": "Hello, Ann"}, asked.text
        with visit.step("a mutation"):
            asked = client.post("/graphql/", json={"query": "mutation { double(number: 21) }"})
            assert asked.json()["data"] == {"double": 42}, asked.text
    for name in PROTOCOLS:
        with visit.step(f"a subscription by {name}") as step:
            step.note = subscribe(visit, name)


def subscribe(visit: Visit, name: str) -> str:
    """Takes a subscription's values up to its end; returns how the WebSocket was opened."""
    start, value, end = PROTOCOLS[name]
    with open_websocket(visit, "/graphql/", subprotocol=name) as (websocket, protocol):
        websocket.send(json.dumps({"type": "connection_init", "payload": {}}))
        seen: list[int] = []
        while True:
            message: dict[str, Any] = json.loads(websocket.receive())
            if message["type"] == "connection_ack":
                websocket.send(json.dumps({"type": start, "id": "1", "payload": COUNT}))
            elif message["type"] == value:
                seen.append(message["payload"]["data"]["count"])
            elif message["type"] == end:
                break
            else:
                assert message["type"] in ("ka", "ping"), message
        assert seen == [0, 1, 2, 3, 4], seen
        return protocol


SITE = Site("Strawberry", ("strawberry-graphql", "starlette", "uvicorn"), "app:app", "asgi", drive, ready="/graphql/")
