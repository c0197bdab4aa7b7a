"""Who is in training and who is in test (section 4.2: 90/10, no identity in both), and the speed buckets.

Who a clip shows, and who belongs on one side, say identities.py and near_duplicates.py.

A person keeps their side for ever: were they dealt anew as hours grow, a model that learned from somebody would be
measured on them. For the same reason, where somebody in training turns out to be somebody in test, or to share a video
or a recording with them, all of them train: what was learned cannot be unlearned.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emo_model.data.identities import UNKNOWN, Clip, People, people
from emo_model.data.records import IDENTITIES, IDENTITY_CONFLICTS, SPLITS
from emo_model.data.sources import registered, require_each_video_once
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
    unseen_clips: int  # whose shard has not looked at their faces yet: told by name or video alone
    moved: tuple[str, ...]  # people who left the test, for they train under another name or in other footage
    conflicts: tuple[str, ...]  # where names and faces disagree, a line each
    data_version: str


@dataclass(frozen=True)
class BucketReport:
    """The buckets, and where they come from."""

    buckets: SpeedBuckets
    source: str
    frames: int
    data_version: str


# ---- people ----


def build_splits(root: DataRoot) -> SplitReport:
    """Write 5_manifest/identities.parquet, identity_conflicts.parquet and splits.parquet from all shards."""
    require_each_video_once(root)
    columns = ["clip_id", "video_id", "num_frames", "identity_hint", "has_audio"]
    clips = root.read("clip_rows", columns=columns).to_pylist()
    earlier = _earlier(root)
    found = people(
        (Clip(clip["clip_id"], clip["video_id"], clip["identity_hint"]) for clip in clips),
        embeddings(root),
        earlier,
        _same_footage(root),
    )
    person = {row["clip_id"]: row["identity_id"] for row in found.rows}
    hours: dict[str, float] = defaultdict(float)
    for clip in clips:
        hours[person[clip["clip_id"]]] += clip["num_frames"] / 30 / 3600
    speakers = {person[clip["clip_id"]] for clip in clips if clip["has_audio"]}
    before = {row["identity_id"]: row for row in root.read_single("splits").to_pylist()}
    side = {row["video_id"]: before[row["identity_id"]]["split"] for row in earlier if row["identity_id"] in before}
    places = assign(hours, speakers, before, _by_person(found, _fixed(root)), _by_person(found, side), found.together)
    rows = [{"identity_id": name, **place} for name, place in places.items()]
    identities = write_rows(root.single("identities"), IDENTITIES, found.rows)
    write_rows(root.single("identity_conflicts"), IDENTITY_CONFLICTS, map(asdict, found.conflicts))
    splits = write_rows(root.single("splits"), SPLITS, rows)
    split = {name: place["split"] for name, place in places.items()}
    return SplitReport(
        hours={name: sum(hours.get(who, 0.0) for who in split if split[who] == name) for name in ("train", "test")},
        people={name: sum(found == name for found in split.values()) for name in ("train", "test")},
        unseen_clips=len(person.keys() - set(root.read("face_embeddings", columns=["clip_id"])["clip_id"].to_pylist())),
        unknown_people=sum(who.startswith(UNKNOWN) for who in hours),
        moved=tuple(who for who, row in before.items() if split[who] != row["split"]),
        conflicts=tuple(f"{c.kind}: {c.first}, {c.second} ({c.distance:.2f})" for c in found.conflicts),
        data_version=text_sha256(rows_sha256(identities), rows_sha256(splits)),
    )


def embeddings(root: DataRoot) -> dict[str, NDArray[np.float32]]:
    """clip_id -> (128,), of the clips that have one."""
    data = root.read("face_embeddings", columns=["clip_id", "embedding"])
    data = data.filter(pc.is_valid(data["embedding"]))
    values = pc.list_flatten(data["embedding"]).to_numpy().reshape(data.num_rows, -1) if data.num_rows else ()
    return dict(zip(data["clip_id"].to_pylist(), values, strict=True))


def _earlier(root: DataRoot) -> list[dict[str, str]]:
    """The clips' people of the run before; a file of before people were told by face has no videos and is no help."""
    path, wanted = root.single("identities"), ["clip_id", "video_id", "identity_id"]
    if not path.exists() or not set(wanted) <= set(pq.read_schema(path).names):
        return []
    return pq.read_table(path, columns=wanted, partitioning=None).to_pylist()


def _same_footage(root: DataRoot) -> list[list[str]]:
    """Lists of clips that share a recording, of clips that are still there."""
    there = set(root.read("clip_rows", columns=["clip_id"])["clip_id"].to_pylist())
    groups: dict[str, list[str]] = defaultdict(list)
    for row in root.read_single("near_duplicates").to_pylist():
        if row["clip_id"] in there:
            groups[row["recording"]].append(row["clip_id"])
    return list(groups.values())


def _by_person(found: People, side_of_video: Mapping[str, str]) -> dict[str, set[str]]:
    """person -> the sides of their videos, of videos that have one."""
    sides: dict[str, set[str]] = defaultdict(set)
    for row in found.rows:
        if row["video_id"] in side_of_video:
            sides[row["identity_id"]].add(side_of_video[row["video_id"]])
    return sides


def _fixed(root: DataRoot) -> dict[str, str]:
    """video_id -> the side that its collection gives it (HDTF's lists)."""
    hints = {row["source_id"]: row["split_hint"] for row in registered(root) if row["split_hint"]}
    videos = root.read("videos", columns=["video_id", "source_id", "status"]).to_pylist() if hints else []
    return {v["video_id"]: hints[v["source_id"]] for v in videos if v["status"] == "ok" and v["source_id"] in hints}


def assign(
    hours: Mapping[str, float],
    speakers: Set[str],
    before: Mapping[str, Mapping[str, str]] | None = None,
    fixed: Mapping[str, Set[str]] | None = None,
    remembered: Mapping[str, Set[str]] | None = None,
    together: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """identity -> {split, rule}; `speakers` are the people with sound, `before` the splits as they were, `fixed` the
    sides that collections give, `remembered` those that people's videos had, `together` names who shares a side.

    Who had a side keeps it, also while none of their clips are there; then `fixed` counts. Of people who belong
    together, one in training takes all along. In the order of sha256(SALT + id), new people go to test while they fit
    in TEST_SHARE of the hours. If no speaker fits, the one with the fewest hours goes too, as long as another stays: a
    test without sound tests nothing.
    """
    before, together = before or {}, together or {}
    group = {person: together.get(person, person) for person in {*hours, *before, *(fixed or {})}}
    known = _known(group, before, fixed or {}, remembered or {})
    of_group: dict[str, dict[str, str]] = {}  # train is last in the order and wins
    for person in sorted(known, key=lambda person: (known[person][0] == "train", person)):
        of_group[group[person]] = {"split": known[person][0], "who": person}
    total: dict[str, float] = defaultdict(float)
    for person in sorted(hours):
        total[group[person]] += hours[person]
    dealt = deal(total, {group[person] for person in speakers}, {who: side["split"] for who, side in of_group.items()})
    out = {}
    for person in sorted(group):
        side, rule = known.get(person, ("", ""))
        settled = of_group.get(group[person])
        if settled is None:
            side, rule = dealt[group[person]]
        elif side != settled["split"]:
            side, rule = settled["split"], f"{settled['split']}: one side with {settled['who']}"
        out[person] = {"split": side, "rule": rule}
    return out


def _known(
    people: Iterable[str],
    before: Mapping[str, Mapping[str, str]],
    fixed: Mapping[str, Set[str]],
    remembered: Mapping[str, Set[str]],
) -> dict[str, tuple[str, str]]:
    """person -> (side, rule), of those who have a side by themselves."""
    known = {}
    for person in people:
        sides = remembered.get(person, set()) | ({before[person]["split"]} if person in before else set())
        if "train" in sides and person in before and before[person]["split"] == "test":
            known[person] = "train", "train: their videos were there"
        elif person in before:
            known[person] = before[person]["split"], before[person]["rule"]
        elif sides:
            side = max(sides)  # train after test
            known[person] = side, f"{side}: their videos were there"
        elif person in fixed:
            side = max(fixed[person])
            known[person] = side, f"{side}: so its collection says"
    return known


def deal(hours: Mapping[str, float], speakers: Set[str], sides: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """(side, rule) of the groups of people that have no side yet."""
    order = sorted(set(hours) - set(sides), key=lambda group: text_sha256(SALT + group))
    limit = TEST_SHARE * math.fsum(hours.values())
    tested = {group for group, side in sides.items() if side == "test"}
    rules: dict[str, str] = {}
    taken = math.fsum(hours.get(group, 0.0) for group in tested)
    for group in order:
        if taken + hours[group] <= limit:
            rules[group] = f"test: next by hash, and within {TEST_SHARE:.0%} of the hours"
            taken += hours[group]
    wanted = [group for group in order if group in speakers] or order
    everybody = set(hours) & speakers or set(hours)
    if wanted and len(everybody) > 1 and not any(group in rules or group in tested for group in everybody):
        rules[min(wanted, key=hours.__getitem__)] = f"test: fewest hours; no one fits within {TEST_SHARE:.0%}"
    return {group: ("test", rules[group]) if group in rules else ("train", "train: not in test") for group in order}


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
