"""generated_videos: nobody is generated whom the model has learned from."""

import json

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from emo_model.data.records import MANIFEST
from emo_model.data.store import DataRoot, write_rows
from emo_pipeline.assets.generation import _manifest_of

RUN = "00000000-0000-0000-0000-000000000007"


def row(clip: str) -> dict:
    known = dict.fromkeys(MANIFEST.schema.names, "x") | {"clip_id": clip, "identity_id": "ann", "start_s": 0.0}
    known |= {"num_frames": 90, "size": 64, "union_box": [0.0] * 4, "sound_shift_frames": 0, "mean_speed": None}
    return known


def test_only_the_clips_of_the_protocol_are_generated(root: DataRoot) -> None:
    write_rows(root.folder("5_manifest") / "eval.parquet", MANIFEST, [row(f"c{i}") for i in range(4)])
    path = _manifest_of(root, [row("c3"), row("c1")], root.folder("7_generated") / "speed 0.7.parquet")
    assert pq.ParquetFile(path).read()["clip_id"].to_pylist() == ["c1", "c3"]
    assert pq.ParquetFile(path).schema_arrow.equals(MANIFEST.schema)


def test_a_model_that_learned_from_a_test_person_is_refused(
    defs: dg.Definitions, instance: dg.DagsterInstance, root: DataRoot
) -> None:
    """As after a split that was dealt anew: the numbers would look good and mean nothing."""
    write_rows(root.folder("5_manifest") / "eval.parquet", MANIFEST, [row("x")])
    for stage, people, before in (("image", ["ann"], None), ("speed", ["bob"], "image")):
        run = root.folder("6_checkpoints") / stage / RUN
        (run / "checkpoints" / "step-0000001").mkdir(parents=True)
        start = root.folder("6_checkpoints") / str(before) / RUN / "checkpoints" / "step-0000001"
        (run / "run.json").write_text(json.dumps({"start": str(start) if before else None}))
        (run / "summary.json").write_text(
            json.dumps({"loss_end": {"train": 1}, "checkpoint": "checkpoints/step-0000001"})
        )
        pq.write_table(pa.table({"identity_id": people}), run / "clips.parquet")
    only = [dg.AssetKey("generated_videos")]
    result = defs.resolve_job_def("evaluate").execute_in_process(
        instance=instance, asset_selection=only, run_id=RUN, raise_on_error=False
    )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "learned from ann, who are in eval_manifest" in str(failure.step_failure_data.error)
