"""Gradio's own client: a call, a stream of answers, and an upload."""

import os
import sys
from pathlib import Path

from gradio_client import Client, handle_file

client = Client(sys.argv[1], verbose=False, analytics_enabled=False)
assert client.predict("Ann", api_name="/greet") == "Hello, Ann"
job = client.submit(5, api_name="/count")
assert job.result(timeout=30) == "5"
assert job.outputs() == ["1", "2", "3", "4", "5"], job.outputs()
upload = Path(os.environ["APP_FOLDER"]) / "upload.bin"
upload.write_bytes(bytes(2_000_000))
assert client.predict(handle_file(str(upload)), api_name="/size") == 2_000_000
