"""The app with a file: `/file` answers with 1 MiB by Starlette's FileResponse, which names the file to servers that
offer `http.response.pathsend` (hcrs in the scenarios `pathsend_`) and reads it in 64 KiB messages for the others."""

import tempfile

from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

# Removed with the process.
FILE = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it is to stay
FILE.write(b"\xa5" * (1 << 20))
FILE.flush()


async def file(request):
    return FileResponse(FILE.name)


app = Starlette(routes=[Route("/file", file)])
