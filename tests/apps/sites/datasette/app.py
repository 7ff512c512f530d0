"""Datasette with one immutable database."""

import os
from pathlib import Path

from datasette.app import Datasette

database = Path(os.environ["APP_FOLDER"]) / "places.db"
app = Datasette([], immutables=[str(database)], secret="of the apps", settings={"num_sql_threads": 2}).app()
