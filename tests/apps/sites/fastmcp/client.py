"""A client of FastMCP: lists the tools, calls both, and reads the resource."""

import asyncio
import sys

from fastmcp import Client


async def main(url: str) -> None:
    seen: list[float] = []

    async def progress(now: float, total: float | None, message: str | None) -> None:
        seen.append(now)

    async with Client(f"{url}/mcp", timeout=30) as client:
        assert sorted(tool.name for tool in await client.list_tools()) == ["add", "count"]
        assert (await client.call_tool("add", {"a": 2, "b": 3})).data == 5
        assert (await client.call_tool("count", {"to": 4}, progress_handler=progress)).data == 4
        assert seen == [1, 2, 3, 4], seen
        assert (await client.read_resource("notes://one"))[0].text == "the note"


asyncio.run(main(sys.argv[1]))
