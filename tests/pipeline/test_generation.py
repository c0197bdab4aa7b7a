"""generated_videos: nobody is generated whom the model has learned from; pairs, which nothing evaluates."""

import json
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo_model.data.records import MANIFEST
from emo_model.data.store import DataRoot, write_rows
from emo_model.generate.video import Model
from emo_pipeline.assets.generation import _manifest_of
from tests.model.generate.small import SeesFaces, small_model, write_pair

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


def test_pairs_are_made_kept_and_not_evaluated(
    defs: dg.Definitions, instance: dg.DagsterInstance, root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(root.folder("6_checkpoints") / "step-1")
    monkeypatch.setattr(Model, "load", classmethod(lambda cls, folder: model))
    monkeypatch.setattr("emo_pipeline.assets.generation.checkpoint_of", lambda *_: model.folder)
    monkeypatch.setattr("emo_model.generate.portrait.Landmarker", SeesFaces)
    write_pair(tmp_path)
    pairs, asset = tmp_path / "mine.csv", dg.AssetKey("generated_videos")

    def launched(*rows: str, **config: str) -> dg.ExecuteInProcessResult:
        pairs.write_text("\n".join(["name,portrait,audio,face_region", *rows]))
        config = {"steps": 2, "guidance": "1", "pairs": str(pairs), **config}
        return defs.resolve_job_def("evaluate").execute_in_process(
            instance=instance, asset_selection=[asset, dg.AssetKey("video_features")], raise_on_error=False,
            run_config={"ops": {"generated_videos": {"config": config}}},
        )  # fmt: skip

    rows = ("ann,face.png,voice.wav,", "bad,gone.png,voice.wav,", "bob,face.png,voice.wav,free")
    for kept in (0, 2):
        result = launched(*rows)
        assert result.success and not result.asset_materializations_for_node("generated_videos")
        assert {e.step_key for e in result.all_events if e.event_type_value == "STEP_SKIPPED"} == {"video_features"}
        (record, *_) = instance.fetch_observations(asset, limit=1).records
        seen = record.asset_observation.metadata
        assert (seen["videos"].value, seen["kept"].value) == (2, kept)
        assert seen["bad rows"].value.startswith("- line 3 of mine.csv, bad: ") and "gone.png" in seen["bad rows"].value
    folder = root.folder("7_generated") / "mine"
    assert sorted(path.name for path in folder.glob("*.mp4")) == ["ann.mp4", "bob.mp4"]

    def line(result: dg.ExecuteInProcessResult) -> str:
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        return str(failure.step_failure_data.error.cause or failure.step_failure_data.error)

    assert "none of the 1 rows" in line(launched(rows[1]))
    assert "no face region 'wide'" in line(launched(rows[0], face_region="wide"))
    pairs = tmp_path / "other" / "mine.csv"
    pairs.parent.mkdir()
    assert "holds the videos of" in line(launched(rows[0]))
