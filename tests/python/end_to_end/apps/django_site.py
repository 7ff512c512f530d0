"""A Django project in one file, for WSGI and for ASGI."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.files.temp import NamedTemporaryFile
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    FORCE_SCRIPT_NAME=None,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.gzip.GZipMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"django.request": {"handlers": ["stderr"]}},
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for tests",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    FILE_UPLOAD_MAX_MEMORY_SIZE=100_000,
)
django.setup()

DATA = bytes(range(256)) * 4000


def facts(request: Any) -> Any:
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "query": request.GET.get("q"),
            "secure": request.is_secure(),
            "host": request.get_host(),
            "remote": request.META["REMOTE_ADDR"],
            "header": request.headers.get("x-one"),
            "forged": request.META.get("HTTP_X_FORGED"),
            "cookies": dict(request.COOKIES),
        }
    )


@csrf_exempt
def upload(request: Any) -> Any:
    file = request.FILES["file"]
    return JsonResponse({"field": request.POST["field"], "size": file.size, "on_disk": hasattr(file, "temporary_file_path")})


@csrf_exempt
def echo(request: Any) -> Any:
    return HttpResponse(request.body, content_type="application/octet-stream")


def count(request: Any) -> Any:
    """Counts in a session that lives in a cookie."""
    request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse(str(request.session["count"]))


def file(request: Any) -> Any:
    opened = NamedTemporaryFile()
    opened.write(DATA)
    opened.seek(0)
    return FileResponse(opened, filename="data.bin", content_type="application/octet-stream")


def opened(request: Any) -> Any:
    return FileResponse(open(os.environ["DATA"], "rb"))


def temporary(request: Any) -> Any:
    """A file without a descriptor."""
    opened = tempfile.SpooledTemporaryFile(max_size=1 << 30)  # noqa: SIM115 - closed with the response
    opened.write(DATA)
    opened.seek(0)
    return FileResponse(opened, filename="data.bin", content_type="application/octet-stream")


def private(request: Any, name: str) -> Any:
    """Leaves a file to the server, as Django's users do behind nginx."""
    fields = {"X-Accel-Redirect": quote(f"/protected/{name}"), "Content-Disposition": "attachment"}
    response = HttpResponse(headers=fields)
    response.set_cookie("seen", name)
    del response.headers["Content-Type"]
    return response


def stream(request: Any) -> Any:
    return StreamingHttpResponse(f"{number}\n" for number in range(5))


async def stream_async(request: Any) -> Any:
    async def numbers() -> AsyncIterator[Any]:
        for number in range(5):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingHttpResponse(numbers())


def large(request: Any) -> Any:
    return HttpResponse("x" * 100_000)


def nothing(request: Any) -> Any:
    return HttpResponse(status=204)


def raises(request: Any) -> None:
    raise RuntimeError("in Django")


urlpatterns = [
    path("facts", facts),
    path("upload", upload),
    path("echo", echo),
    path("count", count),
    path("file", file),
    path("opened", opened),
    path("temporary", temporary),
    path("private/<path:name>", private),
    path("stream", stream),
    path("stream-async", stream_async),
    path("large", large),
    path("nothing", nothing),
    path("raises", raises),
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
