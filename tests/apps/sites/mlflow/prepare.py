"""Makes the database, which two workers would make at once."""

import os

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

state = os.environ["APP_FOLDER"]
SqlAlchemyStore(f"sqlite:///{state}/mlflow.db", f"{state}/artifacts")
