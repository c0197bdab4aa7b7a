"""MLflow: one run a training stage, one an evaluation.

Here: finding or creating a run and writing to it, through the client only (no global active run, nothing at import).
Not here: what is worth recording. dagster-mlflow is not used: with assets its runs stay RUNNING for ever.

The store is `mlflow.db` in the data root and the artifacts lie beside it; `make dev` shows both. Checkpoints are named
by path and sha256, never copied.
"""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

BATCH = 1000  # metrics a call: MLflow's limit

KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI shows curves first, not chats


@dataclass(frozen=True)
class TrackedRun:
    """One MLflow run: write to it, end it, link to it."""

    client: Any  # mlflow.MlflowClient
    experiment_id: str
    run_id: str
    ui: str

    @property
    def url(self) -> str:
        """Where MLflow's UI shows it."""
        return f"{self.ui}/#/experiments/{self.experiment_id}/runs/{self.run_id}"

    @property
    def link(self) -> dg.UrlMetadataValue:
        """The same as asset metadata."""
        return dg.MetadataValue.url(self.url)

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters; a repeated call with other values is refused by MLflow, so a resumed run must agree."""
        from mlflow.entities import Param

        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in values.items()])

    def tags(self, values: Mapping[str, Any]) -> None:
        """Tags; the last value stays."""
        for key, value in values.items():
            self.client.set_tag(self.run_id, key, str(value))

    def last_step(self, metric: str) -> int:
        """Last step recorded of a metric; 0 if none."""
        return max((point.step for point in self.client.get_metric_history(self.run_id, metric)), default=0)

    def curve(self, rows: Iterable[Mapping[str, Any]], metrics: tuple[str, ...]) -> None:
        """Rows with a `step` and of the metrics those that they have; steps recorded before (of a run that resumed) are
        left out. Every row has the first metric."""
        from mlflow.entities import Metric

        done, now = self.last_step(metrics[0]), int(time.time() * 1000)
        points = [
            Metric(name, float(row[name]), now, int(row["step"]))
            for row in rows
            if row["step"] > done
            for name in metrics
            if name in row
        ]
        for start in range(0, len(points), BATCH):
            self.client.log_batch(self.run_id, metrics=points[start : start + BATCH])

    def numbers(self, values: Mapping[str, float]) -> None:
        """Numbers without a curve. MLflow's names allow no brackets: the stand-in `fid[x]` is called `fid:x` there."""
        for name, value in values.items():
            self.client.log_metric(self.run_id, name.replace("[", ":").replace("]", ""), float(value))

    def files(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Record files as artifacts under their own names, in a folder if one is given; those there are replaced."""
        for path in paths:
            self.client.log_artifact(self.run_id, str(path), folder)

    def folders(self, folder: Path) -> list[Path]:
        """Record every folder in `folder` as an artifact of the same name, those that are not yet; returns these."""
        known = {item.path for item in self.client.list_artifacts(self.run_id, folder.name)}
        new = [path for path in sorted(folder.glob("[!.]*")) if f"{folder.name}/{path.name}" not in known]
        for path in new:
            self.client.log_artifacts(self.run_id, str(path), f"{folder.name}/{path.name}")
        return new

    def finish(self, status: str = "FINISHED") -> None:
        """End it: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


class Tracking(dg.ConfigurableResource):
    """MLflow on sqlite in the data root, or on a server."""

    folder: str = Field(description="Data root: mlflow.db and mlartifacts lie in it.")
    uri: str = Field(default="", description="Tracking store; empty: sqlite in the data root.")
    experiment: str = "emo"
    ui: str = Field(default="", description="Address of MLflow's UI; empty: the one `make dev` starts.")

    def run(self, asset: str, root_run_id: str, name: str = "") -> TrackedRun:
        """The run of one asset in one Dagster run. A re-execution has the same root run id and goes on in it."""
        client, experiment_id = self._client()
        tags = {"dagster.root_run_id": root_run_id, "dagster.asset": asset}
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = client.search_runs([experiment_id], wanted, max_results=1)
        if found:
            run_id = found[0].info.run_id
            client.update_run(run_id, status="RUNNING")
        else:
            run_id = client.create_run(experiment_id, tags=tags, run_name=name or asset).info.run_id
        return TrackedRun(client, experiment_id, run_id, self.address)

    @property
    def address(self) -> str:
        """MLflow's UI."""
        return self.ui or f"http://127.0.0.1:{os.environ.get('MLFLOW_PORT', '5000')}"

    def promote(self, run: TrackedRun, checkpoint: str, name: str = "emo", alias: str = "champion") -> str:
        """Register a run's checkpoint as a model version that bears the alias; returns the version's number."""
        if not run.client.search_registered_models(f"name = '{name}'"):
            run.client.create_registered_model(name)
        version = run.client.create_model_version(name, source=checkpoint, run_id=run.run_id).version
        run.client.set_registered_model_alias(name, alias, version)
        return str(version)

    def _client(self) -> tuple[Any, str]:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        folder = Path(self.folder).absolute()
        client = MlflowClient(self.uri or f"sqlite:///{folder / 'mlflow.db'}")
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            try:  # explicitly in the data root: the default would be ./mlruns of whoever runs this
                return client, client.create_experiment(self.experiment, (folder / "mlartifacts").as_uri(), tags=KIND)
            except MlflowException:  # another process was faster
                found = client.get_experiment_by_name(self.experiment)
        return client, found.experiment_id
