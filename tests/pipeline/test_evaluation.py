"""Two folders of other methods' videos become rows of the table, of the report and runs of MLflow, beside ours."""

import dataclasses
import json
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from emo_model import weights
from emo_model.data.store import DataRoot, write_json
from emo_model.evaluate import clips, observe
from emo_pipeline.assets.evaluation import METRICS
from emo_pipeline.tracking import Tracking
from tests.model.evaluate.conftest import write_video

RUN = "00000000-0000-0000-0000-00000000000e"
AFTER_GENERATION = ("video_features", *METRICS, "comparison_table", "evaluation_report", "champion_model")


def video(path: Path, seed: int, count: int = 30, level: int = 0) -> Path:
    """A drifting texture, with one second of a hum."""
    rng = np.random.default_rng(seed)
    texture = np.kron(rng.integers(0, 180, (8, 8, 3)), np.ones((8, 8, 1)))
    frames = np.stack([np.roll(texture, t, axis=1) + level for t in range(count)]).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, frames, 30, (3000 * np.sin(np.arange(16_000) / 20)).astype(np.int16))


@pytest.fixture
def generation(root: DataRoot, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """What generated_videos leaves: our answers to two clips of two people, and the protocol; without weights."""
    monkeypatch.setattr(weights, "have", lambda name: False)
    folder, rows = root.folder("7_generated") / RUN, []
    for number, person in enumerate(("ann", "bob")):
        real = video(root.folder("1_clips") / f"c{number}.mkv", number)
        video(folder / "ours" / f"c{number}.mp4", number, level=10)
        rows.append({"clip_id": f"c{number}", "identity_id": person, "path": root.relative(real), "sound_path": None})
    frozen = clips.freeze(rows, seconds=1.0, size=64)
    models = {"ours": {"checkpoint": "6_checkpoints/x", "sha256": "abc"}}
    write_json(folder / "generation.json", {"protocol": dataclasses.asdict(frozen), "clips": rows, "models": models})
    made = dg.AssetMaterialization("generated_videos", metadata={"generation": root.relative(folder)})
    instance.report_runless_asset_event(made)


def test_two_method_folders_are_rows_of_the_table_the_page_and_mlflow(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    root: DataRoot,
    generation: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One by the files' names, one by a map that names a file too many; afterwards no metric decodes anything."""
    job = defs.resolve_job_def("evaluate")
    video(root.path / "methods" / "Wav2Lip" / "c0.mp4", 0, level=20)
    video(root.path / "methods" / "Wav2Lip" / "c1.mp4", 1, level=20)
    video(root.path / "methods" / "hallo" / "first.mp4", 0, level=5)
    (root.path / "methods" / "hallo" / "clips.csv").write_text("clip_id,file\nc0,first.mp4\nc1,gone.mp4\n")
    result = job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(name) for name in AFTER_GENERATION], run_id=RUN
    )
    made = {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    said = str(made["video_features"]["said of the videos"].value)
    assert "hallo: no video of this clip (c1)" in said and "Wav2Lip" not in said

    folder = root.part("evaluations", RUN).parent
    table = (folder / "table.md").read_text()
    lines = {line.split(" | ")[0].strip("| "): line for line in table.splitlines() if line.startswith("| ")}
    assert {"ours", "Wav2Lip", "hallo", "ground truth", "SadTalker (EMO's Table 1)"} <= set(lines)
    assert "9.38 / 31.70" in lines["Wav2Lip"]  # EMO printed it, in a column of its own
    assert "hallo: no video of this clip (c1): no number" in table
    assert "Wav2Lip" in (folder / "report" / "index.html").read_text()
    known = json.loads((folder / "methods.json").read_text())["methods"]
    assert [pair["clip_id"] for pair in known["Wav2Lip"]] == ["c0", "c1"]

    client, experiment = Tracking(folder=str(root.path))._client()
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    wav2lip = runs["evaluation of Wav2Lip"].data
    assert wav2lip.metrics["published fid HDTF"] == 9.38 and wav2lip.params["method"] == "Wav2Lip"
    assert wav2lip.metrics["psnr"] < runs["evaluation"].data.metrics["psnr"] and "fid" not in wav2lip.metrics
    assert "psnr" not in runs["evaluation of hallo"].data.metrics
    assert not any(name.startswith("published") for name in runs["evaluation"].data.metrics)
    assert {run.data.params["protocol"] for run in runs.values()} == {made["comparison_table"]["protocol"].value}
    artifacts = {item.path for item in client.list_artifacts(runs["evaluation"].info.run_id, "evaluation")}
    assert {"evaluation/table.md", "evaluation/table.csv", "evaluation/protocol.json"} <= artifacts

    monkeypatch.setattr(observe, "open_video", lambda *a: pytest.fail("decoded again"))
    assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(name) for name in METRICS]).success
