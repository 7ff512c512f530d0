"""The Flask app: one route, 12 bytes of text."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return "Hello, world"
