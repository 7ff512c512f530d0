"""Several apps on one server, ASGI and WSGI beside each other, each below a path.

hcrs examples.mounted:app
    curl http://127.0.0.1:8000/old/x
    curl http://127.0.0.1:8000/new/x
"""

from examples import asgi_app, wsgi_app

from hcrs.middleware import AsyncioWSGIMiddleware, DispatcherMiddleware

app = DispatcherMiddleware({"/new": asgi_app.app, "/old": AsyncioWSGIMiddleware(wsgi_app.app)})
