"""FastMCP: tools called by its client, and by JSON-RPC over this server's own protocol."""

from __future__ import annotations

import json

from site_table import Site
from visit import Visit


def drive(visit: Visit) -> None:
    with visit.step("tools and a resource by its client"):
        visit.run("client.py")
    with visit.step("a tool by JSON-RPC"), visit.client() as client:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 20, "b": 3}}}
        answer = client.post("/mcp", json=call, headers={"accept": "application/json, text/event-stream"})
        data = next(line for line in answer.text.splitlines() if line.startswith("data: {"))
        assert json.loads(data[6:])["result"]["structuredContent"] == {"result": 23}, answer.text


SITE = Site("FastMCP", ("fastmcp", "mcp", "uvicorn"), "app:app", "asgi", drive, ready="/mcp")
