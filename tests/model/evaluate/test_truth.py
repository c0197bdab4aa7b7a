"""Ground truth from raw files: the very frames of the source at its own rate, of the clips that a protocol names."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emo_model.data.records import LANDMARKS, MANIFEST, PROPOSALS, Table
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from emo_model.evaluate import clips, truth
from emo_model.evaluate.protocol import NAMED
from emo_model.evaluate.video import read_frames

from .conftest import write_video

SIDE, LEFT, TOP = 32, 10, 6


@pytest.fixture
def raw() -> np.ndarray:
    """Three seconds at 25 fps; every frame is another one."""
    return np.random.default_rng(0).integers(0, 255, (75, 48, 64, 3)).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path, raw: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    """One raw video with its frames' times, from which clips are cut."""
    root = DataRoot(tmp_path / "data").create()
    video = write_video(tmp_path / "raw.mp4", raw, 25)
    monkeypatch.setattr(truth, "video_path", lambda root, shard, video_id: video)
    times = [{"video_id": "v0", "source_frame": j, "t_s": j / 25} for j in range(len(raw))]
    put(root.part("landmarks", "s0000"), LANDMARKS, times)
    return root


def put(path: Path, table: Table, rows: list[dict]) -> None:
    """Rows with only the columns that are read here."""
    known = [{name: value for name, value in r.items() if name in table.schema.names} for r in rows]
    schema = pa.schema([field.with_nullable(True) for field in table.schema])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(known, schema=schema), path)


def row(clip: str, start_s: float = 0.0, seconds: float = 1.0, range_id: str | None = None, **more: object) -> dict:
    frames = round(seconds * 30)
    known = {"clip_id": clip, "video_id": "v0", "shard": "s0000", "identity_id": "ann", "start_s": start_s}
    known |= {"num_frames": frames, "path": f"{clip}.mp4", "sound_path": f"{clip}.wav", "crop_sha256": clip}
    known |= {"crop_x": LEFT, "crop_y": TOP, "crop_size": SIDE, "range_id": range_id}
    return known | {"protocol": "HDTF"} | more


def freeze(rows: list[dict], **values: object) -> clips.Protocol:
    return clips.freeze(rows, "HDTF-open-v1", metrics=(), size=SIDE, **values)


def test_ground_truth_is_the_sources_own_frames_pixel_by_pixel(root: DataRoot, raw: np.ndarray) -> None:
    """From the 30 fps clip every fifth frame would be one that was shown twice."""
    rows = [row("c1", start_s=1.2), row("c0", start_s=0.0)]
    frozen = freeze(rows)
    clips.prepare(root, rows, frozen)
    for clip, first in (("c0", 0), ("c1", 30)):
        pair = clips.pair(root, next(r for r in rows if r["clip_id"] == clip), Path("x.mp4"), frozen)
        shown = read_frames(root.path / pair.real, fps=25, size=SIDE, seconds=10)
        wanted = raw[first : first + 25, TOP : TOP + SIDE, LEFT : LEFT + SIDE]
        np.testing.assert_array_equal(shown, wanted)


def test_what_is_there_is_not_cut_again_and_another_crop_is(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("c0")]
    clips.prepare(root, rows, freeze(rows))
    done: list[str] = []
    truth.cut(root, rows, freeze(rows), done.append)
    assert done == []
    moved = [row("c0", crop_x=LEFT + 4)]
    truth.cut(root, moved, freeze(moved), done.append)
    assert done == ["c0"] and freeze(moved).hash != freeze(rows).hash


def test_ground_truth_stops_with_the_clip_and_with_the_protocols_seconds(root: DataRoot) -> None:
    rows = [row("c0", seconds=2.5)]
    for seconds, wanted in ((10.0, 62), (1.0, 25)):  # the clip's last frame is on screen at 74/30 s, before 62/25
        frozen = freeze(rows, seconds=seconds)
        clips.prepare(root, rows, frozen)
        path = root.path / clips.pair(root, rows[0], Path("x.mp4"), frozen).real
        assert len(read_frames(path, fps=25, size=SIDE, seconds=10)) == wanted


# ---- which clips ----


def hold(root: DataRoot, rows: list[dict]) -> None:
    """Write the rows as eval's manifest, and their crops."""
    put(root.folder("5_manifest") / "eval.parquet", MANIFEST, rows)
    put(root.part("proposals", "s0000"), PROPOSALS, rows)


def test_hdtf_takes_the_first_clip_of_every_range(root: DataRoot) -> None:
    first, second = "WDA_Ann_000", "WDA_Ann_001"
    rows = [row("c0", 8.0, range_id=first), row("c1", 2.0, range_id=first), row("c2", 0.0, range_id=second)]
    rows += [row("c3", protocol="held-out people"), row("c4", 0.5, video_id="v1"), row("c5", 0.0, video_id="v1")]
    hold(root, rows)
    assert {r["clip_id"] for r in clips.read(root, name="HDTF-open-v1")} == {"c1", "c2", "c5"}


def test_web_clips_are_of_four_seconds_and_the_same_whatever_else_is_there(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "WEB_CLIPS", 2)
    rows = [row(f"c{i}", seconds=4.0 if i else 3.9) for i in range(6)]
    hold(root, rows)
    chosen = [r["clip_id"] for r in clips.read(root, name="web-clips-v1")]
    assert len(chosen) == 2 and "c0" not in chosen
    hold(root, list(reversed(rows)))
    assert [r["clip_id"] for r in clips.read(root, name="web-clips-v1")] == chosen


def test_a_test_set_that_is_no_hdtf_says_what_to_run(root: DataRoot) -> None:
    hold(root, [row("c0", protocol="held-out people")])
    with pytest.raises(UserError, match="no clip to evaluate on .HDTF-open-v1.*emo manifest --test-set hdtf_test"):
        clips.read(root, name="HDTF-open-v1")
    with pytest.raises(UserError, match="unknown protocol 'hdtf'; known: demo, HDTF-open-v1, web-clips-v1"):
        clips.read(root, name="hdtf")


def test_the_demo_reads_the_clips_as_they_are(root: DataRoot) -> None:
    hold(root, [row("c0"), row("c1")])
    (first, _) = clips.read(root)
    frozen = clips.freeze([first], metrics=())
    assert frozen.truth == "clip" and clips.pair(root, first, Path("x.mp4"), frozen).real == Path("c0.mp4")


def test_a_named_protocol_is_the_same_for_everybody() -> None:
    """Its values are part of its name: a change is another protocol, v2."""
    assert NAMED["HDTF-open-v1"] == {"truth": "raw", "fps": 25.0, "size": 512, "seconds": 10.0, "split": "hdtf-v1"}
    assert NAMED["web-clips-v1"] == {"truth": "raw", "fps": 25.0, "size": 512, "seconds": 4.0}
