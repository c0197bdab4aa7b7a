"""near_duplicates: clips of two videos that show one recording, encoded, sized, cut or labelled anew.

    look up   words of the fingerprints that stand in two videos: never every clip against every clip
    compare   the two clips word by word where most common words lay one above the other
    decide    of clips that overlap by half of the shorter one is kept: with sound, larger face, earlier registered

Whatever shares a recording stands on one side of the split, also where little of it overlaps. Two clips of one video
never overlap (tracks.py) and are not compared.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_model.data.fingerprints import FACE_EVERY, HOP, MIRROR, RATE
from emo_model.data.records import NEAR_DUPLICATES
from emo_model.data.sources import registered, require_each_video_once
from emo_model.data.store import DataRoot, rows_sha256, write_rows

SOUND_STEP_S, FACE_STEP_S = HOP / RATE, FACE_EVERY / 30
SAME_SOUND, SAME_PICTURE = 0.25, 0.10  # share of bits that differ; measured by benchmarks/scores_people.py
OTHER_PICTURE = 0.25  # one voice to two different faces is no copy: 0.35 and more, where copies reach 0.12
MIN_OVERLAP_S = 2.0
SHARE = 0.5  # of the shorter clip that must be common for it to be left out
STOP = 64  # a word in more clips than this says nothing (a pause, a jingle)
REPEATS = 2  # places of a word in one clip that are looked up: a still face says the same one again and again
SAMPLED = 4  # of sound words one in so many is looked up, chosen by its own bits: the same ones in every copy
BANDS, LATER = 4, 6  # a picture is looked up by 16 of its bits and the same 16 a second later

Words = NDArray[Any]


@dataclass(frozen=True)
class Clip:
    """What is compared of a clip. sound: (T,) uint32, a word every SOUND_STEP_S; face: (T,) uint64, FACE_STEP_S."""

    clip_id: str
    video_id: str
    seconds: float
    sound: Words
    face: Words
    quality: tuple[float, ...] = (0.0, 0.0, 0.0)  # the smaller, the better


@dataclass(frozen=True)
class Pair:
    """Two clips of one recording. offset_s: b's first frame in a's time. Distances: share of bits that differ."""

    a: str
    b: str
    offset_s: float
    overlap_s: float
    sound: float | None
    picture: float | None


@dataclass(frozen=True)
class DuplicateReport:
    """Clips that share a recording with another, those to leave out, and the data version."""

    clips: int
    left_out: int
    data_version: str


def build_near_duplicates(root: DataRoot) -> DuplicateReport:
    """Write 5_manifest/near_duplicates.parquet from the fingerprints of all shards."""
    require_each_video_once(root)
    clips = read_clips(root)
    data = write_rows(root.single("near_duplicates"), NEAR_DUPLICATES, rows(clips, find(clips)))
    left_out = data.num_rows - data["near_duplicate_of"].null_count
    return DuplicateReport(data.num_rows, left_out, rows_sha256(data))


def read_clips(root: DataRoot) -> list[Clip]:
    """All clips with their fingerprints, by clip_id."""
    sound = _by_clip(root, "clip_audio", "sound_hash", "<u4")
    face = _by_clip(root, "crops", "face_hash", "<u8")
    numbers = {row["source_id"]: row["number"] for row in registered(root)}
    videos = root.read("videos", columns=["video_id", "source_id", "status"]).to_pylist()
    registration = {row["video_id"]: numbers.get(row["source_id"], 0) for row in videos if row["status"] == "ok"}
    columns = ["clip_id", "video_id", "num_frames", "min_face_px", "has_audio"]
    return [
        Clip(
            clip_id=row["clip_id"],
            video_id=row["video_id"],
            seconds=row["num_frames"] / 30,
            sound=sound.get(row["clip_id"], np.zeros(0, "<u4")),
            face=face.get(row["clip_id"], np.zeros(0, "<u8")),
            quality=(not row["has_audio"], -row["min_face_px"], registration.get(row["video_id"], 0)),
        )
        for row in root.read("clip_rows", columns=columns).sort_by("clip_id").to_pylist()
    ]


def _by_clip(root: DataRoot, table: str, column: str, kind: str) -> dict[str, Words]:
    data = root.read(table, columns=["clip_id", column])
    pairs = zip(data["clip_id"].to_pylist(), data[column].to_pylist(), strict=True)
    return {clip: np.frombuffer(words, kind) for clip, words in pairs}


# ---- finding ----


def find(clips: Sequence[Clip]) -> list[Pair]:
    """All pairs of clips of different videos that show one recording, by sound or by picture."""
    video = np.unique([clip.video_id for clip in clips], return_inverse=True)[1] if clips else np.empty(0, int)
    found: dict[tuple[int, int], Pair] = {}
    by_sound = common([sampled(clip.sound) for clip in clips], video)
    by_face = common([banded(clip.face) for clip in clips], video)
    for step_s, candidates in ((SOUND_STEP_S, by_sound), (FACE_STEP_S, by_face)):
        for a, b, offset in candidates:
            if (a, b) not in found and (pair := compare(clips[a], clips[b], offset * step_s)) is not None:
                found[(a, b)] = pair
    return [found[key] for key in sorted(found)]


def sampled(sound: Words) -> tuple[Words, Words]:
    """(keys, places) of the sound words to look up; silence has none."""
    chosen = (sound != 0) & ((sound * np.uint32(2654435761)) >> np.uint32(30) == 0)
    return sound[chosen].astype(np.uint64), np.flatnonzero(chosen)


def banded(face: Words) -> tuple[Words, Words]:
    """(keys, places) of the pictures to look up: 16 bits now, the same 16 a second later, and which 16."""
    now, later = face[:-LATER], face[LATER:]
    keys, places = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    both = np.flatnonzero((now != 0) & (later != 0))
    for band in range(BANDS):
        shift, mask = np.uint64(16 * band), np.uint64(0xFFFF)
        low, high = ((words[both] >> shift) & mask for words in (now, later))
        keys.append(low | (high << np.uint64(16)) | np.uint64(band << 32))
        places.append(both)
    return np.concatenate(keys), np.concatenate(places)


def common(words: Sequence[tuple[Words, Words]], video: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(a, b, offset): clips a < b of two videos that have words in common, most of them `offset` places later in a."""
    if not words:
        return
    keys = np.concatenate([key for key, _ in words])
    places = np.concatenate([place for _, place in words]).astype(np.int32)
    owners = np.repeat(np.arange(len(words), dtype=np.int32), [len(key) for key, _ in words])
    order = np.argsort(keys, kind="stable")
    keys, places, owners = keys[order], places[order], owners[order]
    if not len(keys):
        return
    fresh = np.r_[True, (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])]  # a clip's first place with a word
    again = np.arange(len(keys)) - np.maximum.accumulate(np.where(fresh, np.arange(len(keys)), 0))
    word = np.cumsum(np.r_[True, keys[1:] != keys[:-1]]) - 1
    clips = np.bincount(word[fresh])
    telling = (clips[word] <= STOP) & (again < REPEATS)
    keys, places, owners = keys[telling], places[telling], owners[telling]
    hits = [np.empty((0, 3), np.int32)]
    for apart in range(1, REPEATS * STOP):
        left = np.flatnonzero(keys[apart:] == keys[:-apart])
        if not len(left):
            break
        a, b = owners[left], owners[left + apart]
        other = video[a] != video[b]
        hits.append(np.stack([a, b, places[left] - places[left + apart]], axis=1)[other])
    triples, counts = np.unique(np.concatenate(hits), axis=0, return_counts=True)
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for (a, b, offset), count in zip(triples.tolist(), counts.tolist(), strict=True):
        if count > best.get((a, b), (0, 0))[0]:
            best[(a, b)] = count, offset
    yield from ((a, b, offset) for (a, b), (_, offset) in sorted(best.items()))


def compare(a: Clip, b: Clip, offset_s: float) -> Pair | None:
    """The pair, if sound or picture is the same where b starts `offset_s` into a, within a few words; else None."""
    sound, at_s = _distance(a.sound, b.sound, offset_s, SOUND_STEP_S)
    if sound is None or sound > SAME_SOUND:
        at_s = offset_s
    plain, shown_s = _distance(a.face, b.face, at_s, FACE_STEP_S)
    turned = np.where(b.face == 0, b.face, b.face ^ MIRROR)  # an unknown word stays unknown
    mirrored, mirrored_s = _distance(a.face, turned, at_s, FACE_STEP_S)
    both = [(plain, shown_s), (mirrored, mirrored_s)]
    picture, shown_s = min(both, key=lambda found: 1.0 if found[0] is None else found[0])
    if sound is None or sound > SAME_SOUND:
        if picture is None or picture > SAME_PICTURE:
            return None
        at_s = shown_s
    elif picture is not None and picture > OTHER_PICTURE:
        return None
    overlap_s = min(a.seconds, at_s + b.seconds) - max(0.0, at_s)
    return Pair(a.clip_id, b.clip_id, at_s, overlap_s, sound, picture)


def _distance(a: Words, b: Words, offset_s: float, step_s: float) -> tuple[float | None, float]:
    """(share of bits that differ, offset in seconds) at the best place near the offset; (None, offset) where less
    than MIN_OVERLAP_S of both can be compared."""
    best: tuple[float | None, float] = (None, offset_s)
    for shift in range(round(offset_s / step_s) - 1, round(offset_s / step_s) + 2):
        x, y = a[max(shift, 0) :], b[max(-shift, 0) :]
        count = min(len(x), len(y))
        known = (x[:count] != 0) & (y[:count] != 0)
        if known.sum() * step_s < MIN_OVERLAP_S - step_s:
            continue
        share = float(np.bitwise_count(x[:count] ^ y[:count])[known].mean() / (8 * a.itemsize))
        if best[0] is None or share < best[0]:
            best = share, shift * step_s
    return best


# ---- deciding ----


def rows(clips: Iterable[Clip], pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """A row for each clip that shares a recording. Best first, a clip is kept unless it overlaps one that is."""
    quality = {clip.clip_id: (*clip.quality, clip.clip_id) for clip in clips}
    seconds = {clip.clip_id: clip.seconds for clip in clips}
    of: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        of[pair.a].append(pair)
        of[pair.b].append(pair)
    groups, kept, out = _groups(of), set(), []
    for clip in sorted(of, key=quality.__getitem__):
        mine = [(pair, pair.b if pair.a == clip else pair.a) for pair in of[clip]]
        twins = [
            (-pair.overlap_s, other, pair)
            for pair, other in mine
            if other in kept and pair.overlap_s >= SHARE * min(seconds[clip], seconds[other])
        ]
        row = dict.fromkeys(NEAR_DUPLICATES.schema.names) | {"clip_id": clip, "recording": groups[clip]}
        if twins:
            _, other, pair = min(twins, key=lambda twin: twin[:2])
            offset_s = pair.offset_s if pair.b == clip else -pair.offset_s
            row |= {"near_duplicate_of": other, "picture_distance": pair.picture, "sound_distance": pair.sound}
            row |= {"offset_s": offset_s, "overlap_s": pair.overlap_s}
        else:
            kept.add(clip)
        out.append(row)
    return out


def _groups(of: dict[str, list[Pair]]) -> dict[str, str]:
    """clip -> the first clip of all that are tied to it by pairs."""
    group: dict[str, str] = {}
    for first in sorted(of):
        waiting = [] if first in group else [first]
        while waiting:
            clip = waiting.pop()
            if clip not in group:
                group[clip] = first
                waiting += [name for pair in of[clip] for name in (pair.a, pair.b)]
    return group
