"""Each check passes on good rows and fails on the one thing it guards."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from emo_model.data.records import TABLES
from emo_model.data.store import DataRoot, write_parquet, write_rows
from emo_pipeline import checks

SHARD = "s0000"
STAMP = {"shard": SHARD, "input_sha256": "x", "step_version": 1}


def put(root: DataRoot, table: str, *rows: dict[str, Any]) -> None:
    """Write rows of a shard table; what a row leaves out is null or a plain value of its type."""
    empty = {
        pa.string(): "",
        pa.int32(): 0,
        pa.int64(): 0,
        pa.float64(): 0.0,
        pa.float32(): 0.0,
        pa.bool_(): False,
        pa.binary(): b"",
    }
    base = {f.name: None if f.nullable else empty.get(f.type, []) for f in TABLES[table].schema}
    filled = [{**base, **{k: v for k, v in STAMP.items() if k in base}, **row} for row in rows]
    write_rows(root.part(table, SHARD), TABLES[table], filled)


def shots(root: DataRoot, *spans: tuple[int, int], frames: int = 10) -> None:
    put(root, "landmarks", *({"video_id": "v", "source_frame": i} for i in range(frames)))
    put(
        root,
        "shots",
        *({"video_id": "v", "shot": n, "start_frame": a, "end_frame": b} for n, (a, b) in enumerate(spans)),
    )


def test_row_schema_takes_what_records_describes(root: DataRoot) -> None:
    shots(root, (0, 10))
    assert not checks.row_schema(("shots", "landmarks")).find(root, SHARD)


def test_row_schema_sees_a_missing_part(root: DataRoot) -> None:
    assert checks.row_schema(("shots",)).find(root, SHARD) == [f"shots {SHARD}: no part file part.parquet"]


def test_row_schema_sees_a_column_of_another_type(root: DataRoot) -> None:
    shots(root, (0, 10))
    path = root.part("shots", SHARD)
    data = root.read("shots", SHARD)
    write_parquet(path, data.set_column(2, "shot", data["shot"].cast(pa.float64())))
    assert "shot: wanted int32, got double" in checks.row_schema(("shots",)).find(root, SHARD)[0]


def test_row_schema_sees_a_dropped_column_and_a_repeated_key(root: DataRoot) -> None:
    shots(root, (0, 5), (5, 10))
    data = root.read("shots", SHARD)
    write_parquet(root.part("shots", SHARD), pa.concat_tables([data, data]))
    assert "4 rows, 2 different keys" in checks.row_schema(("shots",)).find(root, SHARD)[0]
    write_parquet(root.part("shots", SHARD), data.drop_columns(["end_s"]))
    assert "columns: wanted" in checks.row_schema(("shots",)).find(root, SHARD)[0]


def test_row_schema_sees_a_null_where_none_may_be(root: DataRoot) -> None:
    shots(root, (0, 10))
    data = root.read("shots", SHARD)
    schema = pa.schema([field.with_nullable(True) for field in data.schema])
    holed = pa.Table.from_pylist([{**row, "start_s": None} for row in data.to_pylist()], schema=schema)
    write_parquet(root.part("shots", SHARD), holed)
    assert "start_s: 1 nulls" in checks.row_schema(("shots",)).find(root, SHARD)[0]


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        (((0, 4), (4, 10)), None),
        (((0, 4), (5, 10)), "leave gaps"),
        (((0, 6), (4, 10)), "leave gaps or overlap"),
        (((0, 9),), "end at frame 9 of 10"),
        (((1, 10),), "leave gaps"),
        ((), "10 frames and no shot"),
    ],
)
def test_cuts_cover_video(root: DataRoot, spans: tuple, said: str | None) -> None:
    shots(root, *spans)
    found = checks.CUTS_COVER_VIDEO.find(root, SHARD)
    assert not found if said is None else said in found[0]


@pytest.mark.parametrize(
    ("box", "ok"),
    [([10, 10, 50, 50], True), ([-2, 10, 38, 50], True), ([-30, 10, 10, 50], False), ([50, 10, 10, 50], False)],
)
@pytest.mark.parametrize("frames", [6])
def test_boxes_inside_frames(root: DataRoot, frames: int, box: list[float], ok: bool) -> None:
    put(root, "videos", {"source_id": "s", "video_id": "v", "width": 100, "height": 100})
    put(root, "proposals", {"clip_id": "c", "video_id": "v", "start_s": 0.0, "end_s": 1.0})
    rows = [{"video_id": "v", "source_frame": k, "t_s": k / 30, "box": box} for k in range(frames)]
    rows += [
        {"video_id": "v", "source_frame": 60, "t_s": 2.0, "box": [500, 0, 600, 9]}
    ]  # in no clip: nobody's business
    put(root, "landmarks", *rows)
    assert (not checks.BOXES_INSIDE_FRAMES.find(root, SHARD)) is ok


def test_a_face_cut_off_no_longer_than_it_may_be_lost_fails_no_shard(root: DataRoot) -> None:
    test_boxes_inside_frames(root, 5, [80, 0, 140, 60], True)


@pytest.mark.parametrize(("samples", "ok"), [(48_000, True), (48_001, True), (47_998, False), (24_000, False)])
def test_audio_as_long_as_video(root: DataRoot, samples: int, ok: bool) -> None:
    put(root, "proposals", {"clip_id": "c", "num_frames": 90})
    put(root, "clip_audio", {"clip_id": "c", "samples": samples})
    assert (not checks.AUDIO_AS_LONG_AS_VIDEO.find(root, SHARD)) is ok


def people(root: DataRoot, splits: dict[str, str], clips: dict[str, str], faces: dict[str, str] | None = None) -> None:
    """identity -> split, clip -> identity, clip -> face."""
    write_rows(
        root.single("splits"),
        TABLES["splits"],
        [{"identity_id": i, "split": s, "rule": "r"} for i, s in splits.items()],
    )
    rows = [
        {
            "clip_id": clip,
            "video_id": f"v {clip}",
            "identity_id": person,
            "method": "m",
            "face_id": (faces or {}).get(clip),
        }
        for clip, person in clips.items()
    ]
    write_rows(root.single("identities"), TABLES["identities"], rows)


def test_an_identity_in_both_splits_is_seen(root: DataRoot) -> None:
    people(root, {"ada": "train", "ben": "test"}, {"c1": "ada", "c2": "ben"})
    assert not checks.NO_IDENTITY_IN_TWO_SPLITS.find(root)
    rows = [{"identity_id": "ada", "split": split, "rule": "r"} for split in ("train", "test")]
    write_rows(root.single("splits"), TABLES["splits"], rows)
    assert "ada is in ['test', 'train']" in checks.NO_IDENTITY_IN_TWO_SPLITS.find(root)


def test_a_face_and_a_recording_in_both_splits_are_seen(root: DataRoot) -> None:
    """Two names for one person in two videos: nothing but the face, or the same footage, tells."""
    people(root, {"ada": "train", "Ada": "test"}, {"c1": "ada", "c2": "Ada"}, {"c1": "c1", "c2": "c1"})
    assert checks.NO_IDENTITY_IN_TWO_SPLITS.find(root) == ["the face of clip c1 is in ['test', 'train']"]
    people(root, {"ada": "train", "Ada": "test"}, {"c1": "ada", "c2": "Ada"})
    assert not checks.NO_IDENTITY_IN_TWO_SPLITS.find(root)
    table = TABLES["near_duplicates"]
    write_rows(root.single(table), table, [{"clip_id": clip, "recording": "c1"} for clip in ("c1", "c2")])
    assert checks.NO_IDENTITY_IN_TWO_SPLITS.find(root) == ["the recording of clip c1 is in ['test', 'train']"]


def test_a_video_in_both_splits_is_seen(root: DataRoot) -> None:
    """Two names for one person: the clips of one video then lie on both sides."""
    people(root, {"ada": "train", "Ada": "test"}, {"c1": "ada", "c2": "Ada"})
    histogram = {"speed_histogram": [0] * 64}
    put(root, "clip_rows", *({"clip_id": c, "video_id": "v", **histogram} for c in ("c1", "c2")))
    assert checks.NO_IDENTITY_IN_TWO_SPLITS.find(root) == ["video v is in ['test', 'train']"]


def test_manifests_that_share_a_person_are_seen(root: DataRoot) -> None:
    from emo_model.data.manifests import manifest_path

    for name, who in (("train_stage1", ["ada"]), ("train_stage2", ["ada", "ben"]), ("eval", ["ben"])):
        write_parquet(manifest_path(root, name), pa.table({"identity_id": who}))
    found = checks.MANIFESTS_SHARE_NOBODY.find(root, ("train_stage1", "train_stage2", "eval"))
    assert found == ["ben is in train_stage2 and in eval"]  # of a stage-2 manifest older than the splits, say


SUMMARY: dict[str, Any] = {
    "trains": ["temporal_modules", "speed_layers"],
    "parts_before": {"audio_layers": "a", "temporal_modules": "t", "speed_layers": "s"},
    "parts_after": {"audio_layers": "a", "temporal_modules": "t2", "speed_layers": "s2"},
    "loss_start": {"train": 1.0},
    "loss_end": {"train": 0.5},
}


def test_a_frozen_part_that_moved_is_seen() -> None:
    find = checks.FROZEN_PARAMETERS_UNCHANGED.find
    assert not find(SUMMARY)
    assert find({**SUMMARY, "parts_after": {**SUMMARY["parts_after"], "audio_layers": "b"}}) == [
        "audio_layers was frozen and changed"
    ]


def test_a_trained_part_that_never_moved_is_seen() -> None:
    still = {**SUMMARY, "parts_after": {**SUMMARY["parts_after"], "speed_layers": "s"}}
    assert checks.FROZEN_PARAMETERS_UNCHANGED.find(still) == ["speed_layers was trained and did not move"]


def test_a_loss_that_is_no_number_is_seen() -> None:
    rows = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": float("nan")}]
    assert not checks.LOSS_FINITE.find(SUMMARY, rows[:1])
    assert checks.LOSS_FINITE.find(SUMMARY, rows) == ["step 2: loss nan"]
    assert checks.LOSS_FINITE.find({**SUMMARY, "loss_end": {"train": float("inf")}}, rows[:1])


def test_a_failed_check_blocks_and_names_its_first_problem(tmp_path: Path) -> None:
    result = checks.LOSS_FINITE.result("image_checkpoint", SUMMARY, [{"step": 3, "loss": float("inf")}])
    assert not result.passed and result.description == "step 3: loss inf"
    assert checks.LOSS_FINITE.spec("image_checkpoint").blocking
