"""MLflow's tracking server, with its database and its artifacts in files."""

import os

STATE = os.environ["APP_FOLDER"]
os.environ.update(
    {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{STATE}/mlflow.db",
        "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{STATE}/mlflow.db",
        # What it keeps beside that would be a file of the folder it is started in.
        "MLFLOW_TRACKING_URI": f"sqlite:///{STATE}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{STATE}/artifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
    }
)

from mlflow.server.fastapi_app import app  # noqa: E402

__all__ = ["app"]
