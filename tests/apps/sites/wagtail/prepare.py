"""Starts a project as Wagtail's command does, with its database and a user."""

import os
import subprocess
import sys
from pathlib import Path

folder = Path(os.environ["APP_FOLDER"]) / "project"
folder.mkdir()
bin = Path(sys.executable).parent
subprocess.run([bin / "wagtail", "start", "visited", folder], check=True)
manage = [sys.executable, folder / "manage.py"]
subprocess.run([*manage, "migrate", "--verbosity", "0"], check=True)
account = {"DJANGO_SUPERUSER_PASSWORD": "open sesame"}
made = ["createsuperuser", "--noinput", "--username", "ann", "--email", "ann@example.org"]
subprocess.run([*manage, *made], check=True, env={**os.environ, **account})
