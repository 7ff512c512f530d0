"""The site of ``test_alike.py`` in Django by WSGI, by ASGI, and by ASGI with Channels."""

import asyncio
import collections
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

BY_ASGI = os.environ["INTERFACE"] == "asgi"

settings.configure(
    ALLOWED_HOSTS=["*"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    DEBUG=False,
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"django.request": {"handlers": ["stderr"]}},
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for tests",
)
django.setup()

gates: dict[str, Any] = collections.defaultdict(asyncio.Event if BY_ASGI else threading.Event)


def facts(request: Any) -> Any:
    if BY_ASGI:
        version = request.scope["http_version"]
    else:
        version = request.META["SERVER_PROTOCOL"].removeprefix("HTTP/").removesuffix(".0")
    return JsonResponse(
        {
            "library": "asyncio" if BY_ASGI else threading.current_thread().name.rstrip("0123456789"),
            "state": None,
            "query": request.GET["q"],
            "scheme": request.scheme,
            "host": request.get_host(),
            "version": version,
        }
    )


@csrf_exempt
def echo(request: Any) -> Any:
    return HttpResponse(request.body, content_type="application/octet-stream")


def file(request: Any) -> Any:
    return FileResponse(open(os.environ["DATA"], "rb"))


def stream(request: Any) -> Any:
    numbers = [f"{number:05}" * 2000 for number in range(int(request.GET["count"]))]

    async def one_by_one() -> AsyncIterator[Any]:
        for number in numbers:
            yield number
            await asyncio.sleep(0)

    return StreamingHttpResponse(one_by_one() if BY_ASGI else iter(numbers), content_type="text/plain")


def events(request: Any) -> Any:
    gate = gates[request.GET["key"]]

    def numbered() -> Iterator[Any]:
        yield "data: 0\n\n"
        gate.wait(20)
        yield "data: 1\n\n"

    async def numbered_by_asgi() -> AsyncIterator[Any]:
        yield "data: 0\n\n"
        await gate.wait()
        yield "data: 1\n\n"

    generator = numbered_by_asgi() if BY_ASGI else numbered()
    return StreamingHttpResponse(generator, content_type="text/event-stream")


def open_gate(request: Any) -> Any:
    gates[request.GET["key"]].set()
    return HttpResponse(status=204)


async def open_gate_by_asgi(request: Any) -> Any:
    return open_gate(request)


def raises(request: Any) -> None:
    raise LookupError("as it was asked to")


def greeting(scope: Any) -> Any:
    """The first message of a WebSocket."""
    query = dict(pair.split("=") for pair in scope["query_string"].decode().split("&"))
    return json.dumps({"version": scope["http_version"], "query": query["q"], "state": None})


class Socket(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept(self.scope["subprotocols"][0])
        await self.send(greeting(self.scope))

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data == "bye":
            await self.close(4001, "as you say")
        else:
            await self.send(text_data, bytes_data)


class ThreadedSocket(WebsocketConsumer):
    """The same by plain functions, which Channels runs in threads."""

    def connect(self) -> None:
        self.accept(self.scope["subprotocols"][0])
        self.send(greeting(self.scope))

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data == "bye":
            self.close(4001, "as you say")
        else:
            self.send(text_data, bytes_data)


class Denied(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.close()


class Room(AsyncWebsocketConsumer):
    """Everybody hears what anybody says."""

    async def connect(self) -> None:
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def receive(self, text_data: Any) -> None:
        await self.channel_layer.group_send("room", {"type": "said", "text": text_data})

    async def said(self, event: Any) -> None:
        await self.send(event["text"])

    async def disconnect(self, code: Any) -> None:
        await self.channel_layer.group_discard("room", self.channel_name)
        await self.channel_layer.group_send("room", {"type": "said", "text": f"gone with {code}"})


urlpatterns = [
    path("facts", facts),
    path("echo", echo),
    path("file", file),
    path("stream", stream),
    path("events", events),
    path("open", csrf_exempt(open_gate_by_asgi if BY_ASGI else open_gate)),
    path("raises", raises),
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
channels = ProtocolTypeRouter(
    {
        "http": asgi,
        "websocket": URLRouter(
            [
                path("socket", Socket.as_asgi()),
                path("socket-in-threads", ThreadedSocket.as_asgi()),
                path("denied", Denied.as_asgi()),
                path("room", Room.as_asgi()),
            ]
        ),
    }
)
