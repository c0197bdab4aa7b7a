"""A stage's launchpad: its numbers reach the trainer, wrong ones never do; what the trainer leaves reaches MLflow."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from emo_model.data.records import MANIFEST
from emo_model.data.store import DataRoot, write_json, write_rows
from emo_model.train.config import RunSpec
from emo_pipeline.assets import training
from emo_pipeline.launch import Rows, Trainer
from emo_pipeline.resources import Data
from emo_pipeline.tracking import Tracking


class Pretender(Trainer):
    """Writes what a trainer leaves of two steps, one of them with samples that failed."""

    def train(self, run_file: Path, report: Any) -> None:
        rows: Rows = [{"step": k, "loss": 1.0, "lr": 0.1, "gradient_norm": 1.0, "clips_per_s": 2.0} for k in (1, 2)]
        rows[1]["loss_heldout"] = 0.7
        for name, file in (("step-0000001", "stills.png"), ("step-0000002", "failed.txt")):
            folder = run_file.parent / "samples" / name
            folder.mkdir(parents=True)
            (folder / file).write_text("x")
        report(rows)
        raise dg.Failure("the power went", allow_retries=False)


def launch(
    root: DataRoot, data: Data, instance: dg.DagsterInstance | None = None, **config: Any
) -> tuple[dg.ExecuteInProcessResult, Tracking]:
    write_json(root.folder("6_checkpoints") / "base_weights.json", {"preset": "TINY", "seed": 3})
    write_rows(root.folder("5_manifest") / "train_stage1.parquet", MANIFEST, [])
    write_rows(root.folder("5_manifest") / "held_out_stage1.parquet", MANIFEST, [])
    tracking = Tracking(folder=str(root.path))
    result = dg.materialize(
        [training.image_checkpoint],
        resources={"data": data, "trainer": Pretender(), "tracking": tracking},
        run_config={"ops": {"image_checkpoint": {"config": config}}},
        raise_on_error=False,
        instance=instance,
    )
    return result, tracking


def written(root: DataRoot) -> list[Path]:
    return list(root.folder("6_checkpoints").glob("image/*/run.json"))


def test_the_launchpads_numbers_reach_the_trainer_and_mlflow(root: DataRoot, data: Data) -> None:
    given = {"ema_decay": 0.9, "accumulate": 2, "gradient_checkpointing": "selective"}
    instance = dg.DagsterInstance.ephemeral()
    _, tracking = launch(root, data, instance, noise="modern", steps=7, changed=given)
    spec = RunSpec.read(written(root)[0])
    assert (spec.changed, spec.steps) == (given | {"noise": "modern"}, 7)
    (seen,) = instance.fetch_observations(dg.AssetKey("image_checkpoint"), limit=9).records
    live = seen.asset_observation.metadata
    assert live["step"].value == 2 and live["clips a second"].value == 2.0
    client, experiment = tracking._client()
    (run,) = client.search_runs([experiment])
    params = run.data.params
    assert (params["noise"], params["ema_decay"], params["accumulate"], params["steps"]) == ("modern", "0.9", "2", "7")
    assert {"clips_per_s", "loss_heldout", "gradient_norm"} <= run.data.metrics.keys()
    assert [item.path for item in client.list_artifacts(run.info.run_id, "samples")] == [
        "samples/step-0000001",
        "samples/step-0000002",
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"noise": "blue"}, "'sd15', 'velocity', 'clean' or 'modern', got 'blue'"),
        ({"changed": {"ema": 0.9}}, "no number 'ema'"),
        ({"changed": {"accumulate": {"a": 1}}}, "accumulate of training"),
    ],
)
def test_a_wrong_number_is_one_line_and_leaves_no_run(root: DataRoot, data: Data, config: dict, said: str) -> None:
    result, _ = launch(root, data, **config)
    failure = json.dumps(str(result.failure_data_for_node("image_checkpoint")))
    assert not result.success and said in failure.replace("\\'", "'")
    assert not written(root)
