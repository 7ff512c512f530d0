"""A client of python-socketio: ``client.py URL TRANSPORT...``; prints the transport that it has come to."""

import asyncio
import ssl
import sys

import aiohttp
import socketio


async def main(url: str, transports: list[str]) -> None:
    trust = ssl.create_default_context()
    connector = aiohttp.TCPConnector(ssl=trust) if url.startswith("https") else aiohttp.TCPConnector()
    async with aiohttp.ClientSession(connector=connector) as session:
        client = socketio.AsyncClient(reconnection=False, http_session=session)
        said: asyncio.Queue[dict] = asyncio.Queue()
        client.on("said", said.put)
        await client.connect(url, transports=transports, retry=False, auth={"name": "Ann"}, wait_timeout=30)
        assert await client.call("add", {"a": 2, "b": 3}, timeout=30) == 5
        await client.emit("say", "hello")
        assert await asyncio.wait_for(said.get(), 30) == {"by": "Ann", "text": "hello"}
        data = bytes(range(256)) * 1000
        assert await client.call("bytes_back", data, timeout=30) == data[::-1]
        print(client.transport())
        await client.disconnect()


asyncio.run(main(sys.argv[1], sys.argv[2:]))
