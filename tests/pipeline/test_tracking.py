"""MLflow on sqlite in the data root: one run a lineage, a curve without repeats, artifacts where they belong."""

from pathlib import Path

import pytest

from emo_pipeline.assets.training import CURVES
from emo_pipeline.tracking import TrackedRun, Tracking


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return Tracking(folder=str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def run(tracking: Tracking) -> TrackedRun:
    return tracking.run("image_checkpoint", "root-run")


def test_a_re_execution_goes_on_in_the_same_run(tracking: Tracking, run: TrackedRun) -> None:
    run.finish("KILLED")
    again = tracking.run("image_checkpoint", "root-run")
    assert again.run_id == run.run_id
    assert again.client.get_run(again.run_id).info.status == "RUNNING"
    assert tracking.run("image_checkpoint", "another").run_id != run.run_id
    assert tracking.run("video_checkpoint", "root-run").run_id != run.run_id


def test_a_resumed_curve_has_every_step_once(run: TrackedRun) -> None:
    rows = [{"step": step, "loss": 1.0 / step} for step in range(1, 1301)]  # more than MLflow takes in one call
    run.curve(rows[:1200], ("loss",))
    run.curve(rows[1100:], ("loss",))
    assert [point.step for point in run.client.get_metric_history(run.run_id, "loss")] == list(range(1, 1301))


def test_a_metric_that_only_some_rows_have_is_a_curve_of_these(tracking: Tracking) -> None:
    run = tracking.run("image_checkpoint", "validated")
    rows = [{"step": k, "loss": 1.0} | ({"loss_heldout": 0.5} if k == 2 else {}) for k in (1, 2, 3)]
    run.curve(rows, CURVES)
    history = run.client.get_metric_history
    assert [point.step for point in history(run.run_id, "loss")] == [1, 2, 3]
    assert [(point.step, point.value) for point in history(run.run_id, "loss_heldout")] == [(2, 0.5)]


def test_samples_become_artifacts_as_they_appear_whole_and_once(tmp_path: Path) -> None:
    tracking = Tracking(folder=str(tmp_path))
    run, samples = tracking.run("video_checkpoint", "sampled"), tmp_path / "samples"
    assert run.folders(samples) == []  # none yet
    for name in ("step-0000002", ".step-0000004"):  # the second is being written
        (samples / name).mkdir(parents=True)
        (samples / name / "clip.mp4").write_bytes(b"film")
    assert [path.name for path in run.folders(samples)] == ["step-0000002"]
    assert run.folders(samples) == []
    (samples / ".step-0000004").rename(samples / "step-0000004")
    again = tracking.run("video_checkpoint", "sampled")  # a retry, in the same MLflow run
    assert [path.name for path in again.folders(samples)] == ["step-0000004"]
    found = run.client.list_artifacts(run.run_id, "samples/step-0000004")
    assert [item.path for item in found] == ["samples/step-0000004/clip.mp4"]


def test_a_stand_ins_name_is_kept_in_mlflow(run: TrackedRun) -> None:
    run.numbers({"fid[efficientnet-lite0]": 3.5})
    metrics = run.client.get_run(run.run_id).data.metrics
    assert metrics["fid:efficientnet-lite0"] == 3.5 and "fid" not in metrics


def test_artifacts_belong_to_the_data_root_and_nothing_lands_beside_the_caller(
    tracking: Tracking, run: TrackedRun
) -> None:
    experiment = run.client.get_experiment(run.experiment_id)
    assert experiment.artifact_location == (Path(tracking.folder) / "mlartifacts").as_uri()
    assert (Path(tracking.folder) / "mlflow.db").exists()
    assert not Path("mlruns").exists() and not Path("mlflow.db").exists()


def test_the_link_is_one_the_ui_understands(
    run: TrackedRun, monkeypatch: pytest.MonkeyPatch, tracking: Tracking
) -> None:
    assert run.url == f"http://127.0.0.1:5000/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    monkeypatch.setenv("MLFLOW_PORT", "5001")
    assert tracking.address == "http://127.0.0.1:5001"


def test_the_champion_bears_the_alias_and_its_checkpoint_is_named_not_copied(
    tracking: Tracking, run: TrackedRun, tmp_path: Path
) -> None:
    first = tracking.promote(run, str(tmp_path / "one"))
    second = tracking.promote(run, str(tmp_path / "two"))
    champion = run.client.get_model_version_by_alias("emo", "champion")
    assert (first, second, champion.version) == ("1", "2", 2) or champion.version == second
    assert champion.source == str(tmp_path / "two")
    assert (
        not any((Path(tracking.folder) / "mlartifacts").rglob("*"))
        if (Path(tracking.folder) / "mlartifacts").exists()
        else True
    )
