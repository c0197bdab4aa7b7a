"""Who is in training and who is in test (section 4.2: 90/10, no identity in both), and the speed buckets.

A clip's person is the collection's name for them. Where the collection names nobody, the whole video counts as one
unknown person, `unknown:VIDEO_ID`: that never splits a video, but cannot see one person in two videos.

A person keeps their side for ever: were they dealt anew as hours grow, a model that learned from somebody would be
measured on them.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from emo_model.data.records import IDENTITIES, SPLITS
from emo_model.data.sources import registered
from emo_model.data.store import DataRoot, rows_sha256, text_sha256, write_json, write_rows
from emo_model.networks.config import SpeedBuckets

SALT = "emo-v1:"
TEST_SHARE = 0.1  # of the hours, section 4.2
NUM_BUCKETS = 9  # [D]
MIN_FRAMES = 100  # training frames a bucket; with fewer the quantiles are noise


@dataclass(frozen=True)
class SplitReport:
    """Hours and people by split, and the data version (hash of both tables)."""

    hours: dict[str, float]
    people: dict[str, int]
    unknown_people: int
    data_version: str


@dataclass(frozen=True)
class BucketReport:
    """The buckets, and where they come from."""

    buckets: SpeedBuckets
    source: str
    frames: int
    data_version: str


# ---- people ----


def identity(clip: Mapping[str, str | None]) -> tuple[str, str]:
    """(identity_id, method) of a row with identity_hint and video_id."""
    if clip["identity_hint"]:
        return str(clip["identity_hint"]), "named by the collection"
    return f"unknown:{clip['video_id']}", "not named: one person a video is assumed"


def build_splits(root: DataRoot) -> SplitReport:
    """Write 5_manifest/identities.parquet and splits.parquet from the clip rows of all shards."""
    columns = ["clip_id", "video_id", "num_frames", "identity_hint", "has_audio"]
    hours: dict[str, float] = defaultdict(float)
    people, videos, speakers = [], [], set()
    for clip in root.read("clip_rows", columns=columns).to_pylist():
        person, method = identity(clip)
        hours[person] += clip["num_frames"] / 30 / 3600
        people.append({"clip_id": clip["clip_id"], "identity_id": person, "method": method})
        videos.append(clip["video_id"])
        if clip["has_audio"]:
            speakers.add(person)
    before = {row["identity_id"]: row for row in root.read_single("splits").to_pylist()}
    fixed = _fixed(root)
    sides = {row["identity_id"]: fixed[video] for row, video in zip(people, videos, strict=True) if video in fixed}
    rows = [{"identity_id": person, **place} for person, place in assign(hours, speakers, before, sides).items()]
    identities = write_rows(root.single("identities"), IDENTITIES, people)
    splits = write_rows(root.single("splits"), SPLITS, rows)
    return SplitReport(
        hours={
            name: sum(hours.get(row["identity_id"], 0.0) for row in rows if row["split"] == name)
            for name in ("train", "test")
        },
        people={name: sum(row["split"] == name for row in rows) for name in ("train", "test")},
        unknown_people=sum(person.startswith("unknown:") for person in hours),
        data_version=text_sha256(rows_sha256(identities), rows_sha256(splits)),
    )


def _fixed(root: DataRoot) -> dict[str, str]:
    """video_id -> the side that its collection gives it (HDTF's lists)."""
    hints = {row["source_id"]: row["split_hint"] for row in registered(root) if row["split_hint"]}
    videos = root.read("videos", columns=["video_id", "source_id", "status"]).to_pylist() if hints else []
    return {v["video_id"]: hints[v["source_id"]] for v in videos if v["status"] == "ok" and v["source_id"] in hints}


def assign(
    hours: Mapping[str, float],
    speakers: Set[str],
    before: Mapping[str, Mapping[str, str]] | None = None,
    fixed: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """identity -> {split, rule}; `speakers` are the people with sound, `before` the splits as they were, `fixed` the
    sides that collections give.

    Who had a side keeps it, also while none of their clips are there; then `fixed` counts. In the order of
    sha256(SALT + id), new people go to test while they fit in TEST_SHARE of the hours. If no speaker fits, the one with
    the fewest hours goes too, as long as another stays: a test without sound tests nothing.
    """
    known = {
        person: {"split": side, "rule": f"{side}: so its collection says"} for person, side in (fixed or {}).items()
    }
    known |= {person: {"split": row["split"], "rule": row["rule"]} for person, row in (before or {}).items()}
    order = sorted(set(hours) - set(known), key=lambda person: text_sha256(SALT + person))
    limit = TEST_SHARE * math.fsum(hours.values())
    tested = {person for person, place in known.items() if place["split"] == "test"}
    rules: dict[str, str] = {}
    taken = math.fsum(hours.get(person, 0.0) for person in tested)
    for person in order:
        if taken + hours[person] <= limit:
            rules[person] = f"test: next by hash, and within {TEST_SHARE:.0%} of the hours"
            taken += hours[person]
    wanted = [person for person in order if person in speakers] or order
    everybody = set(hours) & speakers or set(hours)
    if wanted and len(everybody) > 1 and not any(person in rules or person in tested for person in everybody):
        rules[min(wanted, key=hours.__getitem__)] = f"test: fewest hours; no one fits within {TEST_SHARE:.0%}"
    return known | {
        person: {"split": "test" if person in rules else "train", "rule": rules.get(person, "train: not in test")}
        for person in order
    }


# ---- speed buckets ----


def build_speed_buckets(root: DataRoot) -> BucketReport:
    """Write 5_manifest/speed_buckets.json: centres c and radii r from the training people's frames."""
    speeds = training_speeds(root)
    buckets, source = speed_buckets(speeds)
    value = {**buckets.model_dump(mode="json"), "source": source, "frames": len(speeds)}
    write_json(root.folder("5_manifest") / "speed_buckets.json", value)
    return BucketReport(buckets, source, len(speeds), text_sha256(value))


def training_speeds(root: DataRoot) -> NDArray[np.float64]:
    """speed_deg of every training frame where it is known, degrees a frame at 30 fps."""
    frames = [str(path) for path in root.parts("frames")]
    people, splits = root.single("identities"), root.single("splits")
    if not frames or not people.exists():
        return np.empty(0)
    query = """
        SELECT speed_deg FROM read_parquet($frames) JOIN read_parquet($people) USING (clip_id)
        JOIN read_parquet($splits) USING (identity_id) WHERE split = 'train' AND speed_deg IS NOT NULL"""
    with duckdb.connect() as connection:
        values = connection.execute(query, {"frames": frames, "people": str(people), "splits": str(splits)})
        return values.fetchnumpy()["speed_deg"].astype(np.float64)


def speed_buckets(speeds: NDArray[np.float64]) -> tuple[SpeedBuckets, str]:
    """Centres at the quantiles (i + 1/2) / D, radii the mean distance to the neighbours; and the reason why.

    Too few frames, or quantiles that coincide, give the table of `SpeedBuckets` instead.
    """
    if len(speeds) < MIN_FRAMES * NUM_BUCKETS:
        return (
            SpeedBuckets(),
            f"the fixed table: {len(speeds)} training frames, {MIN_FRAMES * NUM_BUCKETS} wanted",
        )
    centres = np.round(np.quantile(speeds, (np.arange(NUM_BUCKETS) + 0.5) / NUM_BUCKETS), 4)
    gaps = np.diff(centres)
    if gaps.min() <= 0:
        return SpeedBuckets(), "the fixed table: quantiles of the training frames coincide"
    radii = np.concatenate([gaps[:1], (gaps[:-1] + gaps[1:]) / 2, gaps[-1:]])
    buckets = SpeedBuckets(centres=tuple(map(float, centres)), radii=tuple(map(float, np.round(radii, 4))))
    return buckets, f"quantiles of {len(speeds)} training frames"
