"""Makes the database that is asked."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

with closing(sqlite3.connect(Path(os.environ["APP_FOLDER"]) / "places.db")) as database, database:
    database.execute("create table places (id integer primary key, name text, height integer)")
    rows = [(f"place {number}", number * 10) for number in range(500)]
    database.executemany("insert into places (name, height) values (?, ?)", rows)
