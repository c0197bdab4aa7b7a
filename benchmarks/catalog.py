"""The catalog over 150 million frame rows (1,400 hours at 30 fps): ten questions, each under 1 s (median of 5).

    python benchmarks/catalog.py [million rows] [folder]     150 take about 9 GB below the folder, deleted afterwards

Rows have the real schemas and realistic distributions (clips of 3 to 12 s, log-normal speeds, heads that mostly look
ahead, Zipf-like hours by person); blendshapes are left out. The catalog is built and asked by the project's own code.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from emo_model.data.catalog import build_catalog, query
from emo_model.data.records import TABLES, Table
from emo_model.data.store import DataRoot, text_sha256, write_parquet

SHARD_ROWS, SHARD_VIDEOS, PEOPLE = 600_000, 200, 20_000
TRIES = 5
QUERIES = {
    "hours by split": "SELECT split, sum(num_frames) / 108000 FROM clips GROUP BY 1",
    "rejects by reason": "SELECT reason, count(*) FROM rejected GROUP BY 1 ORDER BY 2 DESC",
    "speed histogram, all frames": "FROM speed_histogram",
    "ten fastest clips": "SELECT clip_id, mean_speed FROM clips ORDER BY 2 DESC LIMIT 10",
    "frames with yaw over 40": "SELECT count(*) FROM frames WHERE abs(yaw) > 40",
    "clips without sound": "SELECT count(*) FROM clips WHERE NOT has_audio",
    "one clip's track": "SELECT frame, yaw, speed_deg FROM frames WHERE clip_id = $clip ORDER BY frame",
    "people by hours": "SELECT identity_id, sum(num_frames) / 108000 AS hours FROM clips GROUP BY 1 ORDER BY 2 DESC",
    "speed quantiles by source": "SELECT source, median(speed_p10), median(speed_p50), median(speed_p90) FROM clips "
    "GROUP BY 1",
    "stage-2 candidates": "SELECT count(*), sum(num_frames) / 108000 FROM clips WHERE split = 'train' AND has_audio "
    "AND num_frames >= 16 AND min_face_px >= 80 AND blur >= 50 AND camera_motion <= 2",
}


def _nothing(kind: pa.DataType, count: int) -> pa.Array:
    """0, an empty list or no bytes, for columns that may not be null."""
    if pa.types.is_list(kind) or pa.types.is_binary(kind):
        return pa.array([[] if pa.types.is_list(kind) else b""] * count, kind)
    return pa.array(np.zeros(count, np.int8)).cast(kind)


def table_of(table: Table, count: int, **columns: object) -> pa.Table:
    """Rows of a table's exact schema; what is not given is null, or 0 where it may not be."""
    arrays = []
    for field in table.schema:
        if field.name in columns:
            given = columns[field.name]
            arrays.append(given.cast(field.type) if isinstance(given, pa.Array) else pa.array(given, field.type))
        elif field.nullable:
            arrays.append(pa.nulls(count, field.type))
        elif pa.types.is_string(field.type):
            arrays.append(pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), ["x"]).cast(field.type))
        else:
            arrays.append(_nothing(field.type, count))
    return pa.Table.from_arrays(arrays, schema=table.schema)


def vectors(values: np.ndarray) -> pa.Array:
    """(N, K) -> N lists."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, values.ravel().astype(np.float32))


def write_shard(root: DataRoot, number: int) -> str:
    """One shard's videos, clips, frames and rejects; returns one of its clips."""
    rng, shard = np.random.default_rng(number), f"s{number:04d}"
    lengths = rng.integers(90, 361, SHARD_ROWS // 225)
    lengths = lengths[np.cumsum(lengths) <= SHARD_ROWS]
    count, total = len(lengths), int(lengths.sum())
    videos = np.array([text_sha256(shard, v) for v in range(SHARD_VIDEOS)])
    of = rng.integers(0, SHARD_VIDEOS, count)
    names = np.array([f"{videos[v][:12]}_{1000 * k:08d}" for k, v in enumerate(of)])
    order = np.argsort(names)
    names, of = names[order], of[order]
    pace = rng.lognormal(-0.3, 0.5, count)
    people = (PEOPLE * rng.random(SHARD_VIDEOS) ** 3).astype(int)
    write_parquet(
        root.part("videos", shard),
        table_of(
            TABLES["videos"], SHARD_VIDEOS, source_id=[v[:16] for v in videos], video_id=videos,
            source=rng.choice(["hdtf", "vfhq", "web"], SHARD_VIDEOS), status=["ok"] * SHARD_VIDEOS,
        ),
    )  # fmt: skip
    write_parquet(
        root.part("clip_rows", shard),
        table_of(
            TABLES["clip_rows"], count, clip_id=names, video_id=videos[of], num_frames=lengths,
            has_audio=rng.random(count) < 0.9, blur=rng.lognormal(5, 0.8, count),
            min_face_px=rng.lognormal(5, 0.5, count), camera_motion=rng.exponential(0.5, count), mean_speed=pace * 1.4,
            speed_p10=pace * 0.3, speed_p50=pace, speed_p90=pace * 2.2,
            speed_histogram=pa.FixedSizeListArray.from_arrays(rng.integers(0, 12, count * 64, np.int32), 64),
            identity_hint=[f"person {people[v]:05d}" for v in of],
        ),
    )  # fmt: skip
    write_parquet(
        root.part("rejected", shard, "shots_and_faces"),
        table_of(
            TABLES["rejected"], count, id=[f"{n}x" for n in names],
            reason=rng.choice(["no_face", "two_faces", "too_short", "face_lost"], count),
        ),
    )  # fmt: skip
    clip = np.repeat(np.arange(count), lengths)
    frame = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    sway = np.sin(frame * 0.05 + rng.random(count)[clip] * 6)
    angles = 15 * sway[:, None] * [1.0, 0.6, 0.3] + rng.normal(0, [14, 6, 4], (count, 3))[clip]
    speed = pace[clip] * rng.lognormal(0, 0.6, total)
    noise = rng.normal(size=(total, 4)).astype(np.float32)
    ids = pa.DictionaryArray.from_arrays(clip.astype(np.int32), names).cast(pa.string())
    write_parquet(
        root.part("frames", shard),
        table_of(
            TABLES["frames"], total, clip_id=ids, frame=frame, t_s=frame / 30, found=np.ones(total, bool),
            box=vectors(np.round(100 + 40 * sway[:, None] + noise, 2)), quaternion=vectors(noise / 2),
            translation=vectors(noise[:, :3] + [0, 0, -40]), yaw=angles[:, 0], pitch=angles[:, 1], roll=angles[:, 2],
            speed_raw_deg=speed * 1.4, speed_deg=speed, mouth_open=np.abs(sway) * 0.3,
        ),
    )  # fmt: skip
    return str(names[count // 2])


def write_people(root: DataRoot) -> None:
    """The tables over all shards."""
    clips = root.read("clip_rows", columns=["clip_id", "identity_hint"])
    write_parquet(
        root.single("identities"),
        table_of(TABLES["identities"], len(clips), clip_id=clips["clip_id"].combine_chunks(),
                 identity_id=clips["identity_hint"].combine_chunks()),
    )  # fmt: skip
    people = clips["identity_hint"].unique().to_pylist()
    sides = ["test" if int(text_sha256(name)[:4], 16) < 6554 else "train" for name in people]
    write_parquet(root.single("splits"), table_of(TABLES["splits"], len(people), identity_id=people, split=sides))


def main(million_rows: float = 150, folder: str | None = None) -> None:
    """Make the rows, build the catalog, ask."""
    place = Path(tempfile.mkdtemp(prefix="catalog-bench-", dir=folder))
    root = DataRoot(place).create()
    try:
        shards = max(1, round(million_rows * 1e6 / SHARD_ROWS))
        for number in range(shards):
            clip = write_shard(root, number)
            if number % 25 == 24:
                print(f"  {number + 1} of {shards} shards written", file=sys.stderr, flush=True)
        write_people(root)
        report = build_catalog(root)
        size = sum(path.stat().st_size for path in place.rglob("*.parquet")) / 1e9
        print(f"{report.rows['frames']:,} frame rows, {report.rows['clip_rows']:,} clips, {size:.1f} GB, catalog built "
              f"in {report.seconds:.1f} s")  # fmt: skip
        print(f"{'question':30}{'median s':>10}{'bar 1 s':>10}")
        for name, sql in QUERIES.items():
            seconds = []
            for _ in range(TRIES):
                started = time.perf_counter()
                query(root, sql, {"clip": clip} if "$clip" in sql else ())
                seconds.append(time.perf_counter() - started)
            median = statistics.median(seconds)
            print(f"{name:30}{median:10.3f}{'ok' if median < 1 else 'MISSED':>10}", flush=True)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main(*(float(arg) if arg.replace(".", "").isdigit() else arg for arg in sys.argv[1:]))  # type: ignore[arg-type]
