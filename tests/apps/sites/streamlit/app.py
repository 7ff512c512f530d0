"""Streamlit as an ASGI app."""

from pathlib import Path

import streamlit

app = streamlit.App(Path(__file__).parent / "script.py")
