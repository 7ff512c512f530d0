"""Django Channels: a page, and a consumer that answers through a group."""

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of the apps",
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

PAGE = """<!doctype html><title>Channels</title><link rel="icon" href="data:,"><p id="shown"></p><script>
const socket = new WebSocket(location.origin.replace("http", "ws") + "/room/one/");
socket.onopen = () => socket.send(JSON.stringify({ text: "hello" }));
socket.onmessage = (event) => { document.getElementById("shown").textContent = JSON.parse(event.data).text; };
</script>"""


def page(request):
    return HttpResponse(PAGE)


urlpatterns = [path("", page)]


class Room(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive_json(self, content):
        await self.channel_layer.group_send(self.room, {"type": "said", "text": f"{self.room}: {content['text']}"})

    async def said(self, event):
        await self.send_json({"text": event["text"]})


class Echo(WebsocketConsumer):
    """In a thread, as Channels runs what is not asynchronous."""

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "leave":
            self.close(4001)
        else:
            self.send(text_data, bytes_data)


sockets = URLRouter([path("room/<str:room>/", Room.as_asgi()), path("echo/", Echo.as_asgi())])
app = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": AllowedHostsOriginValidator(sockets)})
