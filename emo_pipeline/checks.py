"""What must be true of an asset before anything downstream may use it.

Here: each check as a function that returns the problems it found, and its Dagster spec. They run inside the asset they
guard (checks with partitions of their own are a preview in Dagster), and all block. Not here: what makes rows (assets).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow.parquet as pq

from emo_model.data.records import TABLES, Table

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot

Problems = list[str]
SHOWN = 10  # problems listed in the UI
BOX_TOLERANCE_PX = 1.0
SAMPLE_RATE, FPS = 16_000, 30


@dataclass(frozen=True)
class Check:
    """One check: `find` returns a line a problem, none if all is well."""

    name: str
    description: str
    find: Callable[..., Problems]

    def spec(self, asset: str) -> dg.AssetCheckSpec:
        """Its declaration on an asset."""
        return dg.AssetCheckSpec(self.name, asset=asset, description=self.description, blocking=True)

    def result(self, asset: str, *arguments: Any) -> dg.AssetCheckResult:
        """Run it. The first problems are shown, all are counted."""
        problems = self.find(*arguments)
        shown = "\n".join(f"- {line}" for line in problems[:SHOWN]) or "none"
        return dg.AssetCheckResult(
            passed=not problems,
            asset_key=asset,
            check_name=self.name,
            severity=dg.AssetCheckSeverity.ERROR,
            description=problems[0] if problems else None,
            metadata={"problems": len(problems), "first problems": dg.MetadataValue.md(shown)},
        )


# ---- rows of a shard ----


def row_schema(tables: Sequence[str]) -> Check:
    """The blocking schema check of the tables a shard step writes, generated from `records.TABLES`."""

    def find(root: "DataRoot", shard: str) -> Problems:
        return [
            f"{name} {shard}: {line}"
            for name in tables
            for line in _table_problems(root.part(name, shard), TABLES[name])
        ]

    return Check("row_schema", f"columns, types, nulls and keys of {', '.join(tables)} are as records.py says", find)


def _table_problems(path: Any, table: Table) -> Problems:
    if not path.exists():
        return [f"no part file {path.name}"]
    found, wanted = pq.read_schema(path), table.schema
    if found.names != wanted.names:
        return [f"columns: wanted {wanted.names}, got {found.names}"]
    problems = [
        f"{field.name}: wanted {field.type}, got {found.field(field.name).type}"
        for field in wanted
        if found.field(field.name).type != field.type
    ]
    required = [field.name for field in wanted if not field.nullable]
    data = pq.ParquetFile(path).read(columns=sorted({*required, *table.key}))
    problems += [f"{name}: {n} nulls, wanted none" for name in required if (n := data[name].null_count)]
    keys = data.select(list(table.key)).group_by(list(table.key)).aggregate([]).num_rows
    if keys != data.num_rows:
        problems.append(f"key {table.key}: {data.num_rows} rows, {keys} different keys")
    return problems


def _cuts_cover_video(root: "DataRoot", shard: str) -> Problems:
    frames: dict[str, int] = defaultdict(int)
    for video in root.read("landmarks", shard, ["video_id"])["video_id"].to_pylist():
        frames[video] += 1
    shots: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in root.read("shots", shard, ["video_id", "start_frame", "end_frame"]).to_pylist():
        shots[row["video_id"]].append((row["start_frame"], row["end_frame"]))
    problems = [f"{video}: {count} frames and no shot" for video, count in frames.items() if video not in shots]
    for video, found in shots.items():
        edges = [0, *(end for _, end in sorted(found))]
        starts = [start for start, _ in sorted(found)]
        if starts != edges[:-1] or any(end <= start for start, end in found):
            problems.append(f"{video}: shots {sorted(found)} leave gaps or overlap")
        elif edges[-1] != frames[video]:
            problems.append(f"{video}: shots end at frame {edges[-1]} of {frames[video]}")
    return problems


CUTS_COVER_VIDEO = Check("cuts_cover_video", "shots cover every frame of their video, once", _cuts_cover_video)


def _boxes_inside_frames(root: "DataRoot", shard: str) -> Problems:
    from emo_model.data.config import DataConfig

    wanted = DataConfig.of(root).min_face_inside
    videos = root.read("videos", shard, ["video_id", "width", "height"]).to_pylist()
    sizes = {row["video_id"]: (row["width"], row["height"]) for row in videos}
    clips: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in root.read("proposals", shard, ["video_id", "start_s", "end_s"]).to_pylist():
        clips[row["video_id"]].append((row["start_s"], row["end_s"]))
    problems, run = [], 0  # a face may be cut off for as long as it may be lost (tracks.stretches)
    for row in root.read("landmarks", shard, ["video_id", "source_frame", "t_s", "box"]).to_pylist():
        used = any(start <= row["t_s"] < end for start, end in clips[row["video_id"]])
        share = _inside(row["box"], *sizes[row["video_id"]]) if used and row["box"] else 1.0
        run = run + 1 if share < wanted - 1e-6 else 0
        if run > DataConfig.of(root).max_lost_frames:
            problems.append(
                f"{row['video_id']} frame {row['source_frame']}: {share:.0%} of the box inside, wanted {wanted:.0%}"
            )
    return problems


def _inside(box: Sequence[float], width: int, height: int) -> float:
    """Share of a box's area inside the picture; 0 where it is empty or turned round."""
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return 0.0
    seen = max(0.0, min(x1, width) - max(x0, 0)) * max(0.0, min(y1, height) - max(y0, 0))
    return seen / ((x1 - x0) * (y1 - y0))


BOXES_INSIDE_FRAMES = Check(
    "boxes_inside_frames", "in every proposed clip the face boxes lie inside the source picture", _boxes_inside_frames
)


def _audio_as_long_as_video(root: "DataRoot", shard: str) -> Problems:
    frames = dict(zip(*_columns(root, "proposals", shard, "clip_id", "num_frames"), strict=True))
    found = zip(*_columns(root, "clip_audio", shard, "clip_id", "samples"), strict=True)
    return [
        f"{clip}: {samples} samples for {frames.get(clip)} frames"
        for clip, samples in found
        if clip not in frames or abs(samples - frames[clip] * SAMPLE_RATE / FPS) > 1
    ]


AUDIO_AS_LONG_AS_VIDEO = Check(
    "audio_as_long_as_video",
    "a clip's sound has its frames' length at 16 kHz, within one sample",
    _audio_as_long_as_video,
)


def _columns(root: "DataRoot", table: str, shard: str, *names: str) -> list[list[Any]]:
    rows = root.read(table, shard, list(names))
    return [rows[name].to_pylist() for name in names]


# ---- the dataset ----


def _no_identity_in_two_splits(root: "DataRoot") -> Problems:
    """By name, by video, by face and by recording: whatever ties two clips together, they are on one side."""
    splits: dict[str, set[str]] = defaultdict(set)
    for row in root.read_single("splits").to_pylist():
        splits[row["identity_id"]].add(row["split"])
    problems = [f"{who} is in {sorted(where)}" for who, where in splits.items() if len(where) > 1]
    clips = root.read_single("identities").to_pylist()
    problems += [
        f"clip {row['clip_id']}: {row['identity_id']} is in no split"
        for row in clips
        if row["identity_id"] not in splits
    ]
    recording = {row["clip_id"]: row["recording"] for row in root.read_single("near_duplicates").to_pylist()}
    video = dict(zip(*_columns_of(root, "clip_rows", "clip_id", "video_id"), strict=True))
    ties: dict[str, set[str]] = defaultdict(set)
    for row in clips:
        clip, sides = row["clip_id"], splits[row["identity_id"]]
        ties[f"video {video.get(clip, clip)}"] |= sides
        ties[f"the face of clip {row['face_id'] or clip}"] |= sides
        ties[f"the recording of clip {recording.get(clip, clip)}"] |= sides
    return problems + [f"{tie} is in {sorted(where)}" for tie, where in ties.items() if len(where) > 1]


def _columns_of(root: "DataRoot", table: str, *names: str) -> list[list[Any]]:
    rows = root.read(table, columns=list(names))
    return [rows[name].to_pylist() for name in names]


NO_IDENTITY_IN_TWO_SPLITS = Check(
    "no_identity_in_two_splits",
    "nobody, and no video, face or recording, is in training and test (section 4.2)",
    _no_identity_in_two_splits,
)


def _manifests_share_nobody(root: "DataRoot", names: tuple[str, ...]) -> Problems:
    """`names`: the training manifests, and last the one that is held out."""
    from emo_model.data.manifests import manifest_path

    paths = [manifest_path(root, name) for name in names]
    if not all(path.exists() for path in paths):
        return [f"no manifest {path.name}" for path in paths if not path.exists()]
    *trained, held = (set(pq.read_table(path, columns=["identity_id"])["identity_id"].to_pylist()) for path in paths)
    return [
        f"{who} is in {name} and in {names[-1]}"
        for name, people in zip(names[:-1], trained, strict=True)
        for who in sorted(people & held)
    ]


MANIFESTS_SHARE_NOBODY = Check(
    "manifests_share_nobody", "nobody is both trained on and held out", _manifests_share_nobody
)


# ---- training ----


def _loss_finite(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Problems:
    losses = [(f"step {row['step']}", row["loss"]) for row in rows]
    losses += [
        (f"{when} on {what}", value) for when in ("loss_start", "loss_end") for what, value in summary[when].items()
    ]
    if not rows:
        return ["no step was recorded"]
    return [f"{where}: loss {value}" for where, value in losses if not math.isfinite(value)]


LOSS_FINITE = Check(
    "loss_finite", "the loss is a number at every step, and on the fixed batches before and after", _loss_finite
)


def _frozen_parameters_unchanged(summary: Mapping[str, Any]) -> Problems:
    before, after = summary["parts_before"], summary["parts_after"]
    problems = [
        f"{part} was frozen and changed"
        for part in before
        if part not in summary["trains"] and before[part] != after[part]
    ]
    return problems + [
        f"{part} was trained and did not move" for part in summary["trains"] if before[part] == after[part]
    ]


FROZEN_PARAMETERS_UNCHANGED = Check(
    "frozen_parameters_unchanged",
    "by hash: exactly the stage's parts moved (section 3.3; in the speed stage the Audio Layers stay)",
    _frozen_parameters_unchanged,
)
