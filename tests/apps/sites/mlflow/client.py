"""MLflow's own client: logs a run with an artifact, and finds it again."""

import os
import sys

os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"

import mlflow

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("visits")
with mlflow.start_run(run_name="first") as run:
    mlflow.log_param("size", 3)
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_text("a note" * 10_000, "note.txt")
found = mlflow.search_runs(experiment_names=["visits"], filter_string="params.size = '3'", output_format="list")
assert [one.info.run_id for one in found] == [run.info.run_id]
assert found[0].data.metrics["loss"] == 0.2
history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
assert [metric.step for metric in history] == [0, 1, 2, 3, 4]
assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/note.txt") == "a note" * 10_000
