"""Gradio within FastAPI: a function, one that streams its answer, and a file."""

import os
import time

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio
from fastapi import FastAPI


def greet(name):
    return f"Hello, {name}"


def count(to):
    for number in range(int(to)):
        time.sleep(0.05)
        yield str(number + 1)


def size(path):
    return os.path.getsize(path)


with gradio.Blocks() as blocks:
    name = gradio.Textbox(label="Name", elem_id="name")
    shown = gradio.Textbox(label="Shown", elem_id="shown")
    gradio.Button("Greet", elem_id="greet").click(greet, name, shown, api_name="greet")
    to, counted = gradio.Number(label="To"), gradio.Textbox(label="Counted")
    gradio.Button("Count").click(count, to, counted, api_name="count")
    file, bytes_of_file = gradio.File(label="File"), gradio.Number(label="Bytes")
    gradio.Button("Measure").click(size, file, bytes_of_file, api_name="size")

app = gradio.mount_gradio_app(FastAPI(), blocks, path="")
