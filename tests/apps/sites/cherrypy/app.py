"""CherryPy as a WSGI app: pages, a form with a file, a stream and a session in files."""

import os

import cherrypy


class Root:
    @cherrypy.expose
    def index(self, name="world"):
        return f"Hello, {name}"

    @cherrypy.expose
    @cherrypy.tools.json_out()
    @cherrypy.tools.json_in()
    def add(self):
        asked = cherrypy.request.json
        return {"sum": asked["a"] + asked["b"], "scheme": cherrypy.request.scheme}

    @cherrypy.expose
    @cherrypy.tools.json_out()
    def upload(self, file):
        return {"name": file.filename, "size": len(file.file.read())}

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def rows(self):
        return (f"{number}\n".encode() for number in range(1000))

    @cherrypy.expose
    def count(self):
        seen = cherrypy.session["seen"] = cherrypy.session.get("seen", 0) + 1
        return str(seen)


cherrypy.config.update({"environment": "embedded", "log.screen": False})
app = cherrypy.Application(
    Root(),
    config={
        "/": {
            "tools.sessions.on": True,
            "tools.sessions.storage_class": cherrypy.lib.sessions.FileSession,
            "tools.sessions.storage_path": os.environ["APP_FOLDER"],
        }
    },
)
