"""Data preparation against the floor: what no design avoids. Bar: floor / ours at least 0.8 on the same cores.

    python benchmarks/prepare.py [FOLDER_OF_VIDEOS]      the sample videos without one

The floor is plain PyAV and MediaPipe, two processes over the same videos, models loaded once a process: one decode with
the landmarker on every frame; one decode, crop and encode of every clip; the audio encoder once over every clip's
sound. Ours is the time of the steps video_probe to audio_features, start of their processes included.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np

from emo_model import samples
from emo_model.data import pipeline, sources
from emo_model.data.audio import read_wav
from emo_model.data.audio_encoders import load_encoder
from emo_model.data.faces import Landmarker
from emo_model.data.media import write_video
from emo_model.data.shards import run_step
from emo_model.data.sources import video_path
from emo_model.data.store import DataRoot
from emo_model.data.workers import Workers

WORKERS, COPIES = 2, 3  # of every video: a shard has 200, and start-up should not count as it does for a dozen
MEASURED = ("video_probe", "shots_and_faces", "face_clips", "head_pose", "head_speed", "clip_audio", "audio_features")


def decoded(path: str) -> Iterable[tuple[float, np.ndarray]]:
    with av.open(path) as container:
        for frame in container.decode(video=0):
            yield frame.time or 0.0, frame.to_ndarray(format="rgb24")


def landmarks(path: str) -> int:
    """One decode, the landmarker on every frame; how many there were."""
    count = 0
    with Landmarker() as landmarker:
        for count, (t_s, picture) in enumerate(decoded(path), start=1):  # noqa: B007
            landmarker.see(t_s, picture)
    return count


def crops(job: tuple[str, list[dict], int]) -> int:
    """One decode; every clip's frames cropped, resized and encoded as ours are."""
    path, clips, size = job
    frames = 0
    pictures: dict[str, list[np.ndarray]] = {clip["clip_id"]: [] for clip in clips}
    start = None
    for t_s, picture in decoded(path):
        start = t_s if start is None else start
        for clip in clips:
            if clip["start_s"] <= t_s - start < clip["end_s"]:
                x, y, side = max(0, clip["crop_x"]), max(0, clip["crop_y"]), clip["crop_size"]
                square = picture[y : y + side, x : x + side]
                pictures[clip["clip_id"]].append(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA))
    for clip in clips:
        seen = pictures[clip["clip_id"]]
        shown = (seen[min(len(seen) - 1, k * len(seen) // clip["num_frames"])] for k in range(clip["num_frames"]))
        with tempfile.TemporaryDirectory() as folder:
            frames += write_video(Path(folder) / "clip.mp4", shown, 30, (size, size))
    return frames


def features(job: tuple[str, int]) -> int:
    """The encoder once over a clip's sound."""
    return len(load_encoder().features(read_wav(Path(job[0])), job[1]))


def _ready(_: int) -> None:
    time.sleep(1)


def copy(raw: Path, to: Path) -> None:
    """COPIES of every video that differ in a box at their end, so that none is a duplicate."""
    to.mkdir()
    for number in range(COPIES):
        for path in sorted(path for path in raw.rglob("*") if path.suffix in (".mp4", ".mov")):
            box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
            (to / f"{number}_{path.name}").write_bytes(path.read_bytes() + box)


def timed(pool: ProcessPoolExecutor, work: Callable, jobs: list) -> tuple[float, int]:
    started = time.perf_counter()
    total = sum(pool.map(work, jobs))
    return time.perf_counter() - started, total


def main(folder: str | None = None) -> None:
    """Both, and where the rest goes."""
    raw = Path(folder) if folder else samples.default_folder() / "videos"
    with tempfile.TemporaryDirectory(prefix="prepare-bench-") as place:
        root = DataRoot(Path(place) / "data").create()
        copy(raw, Path(place) / "raw")
        sources.add_folder(root, Path(place) / "raw", "bench")
        ours = {}
        with Workers(WORKERS) as workers:  # as `emo prepare` has them
            for step in pipeline.SHARD_STEPS:
                if step.name == MEASURED[0]:
                    workers.close()  # so that their start is among what is measured
                started = time.perf_counter()
                run_step(step, root, "s0000", workers=workers)
                ours[step.name] = time.perf_counter() - started
        videos = [row for row in root.read("videos", "s0000").to_pylist() if row["status"] == "ok"]
        paths = {row["video_id"]: str(video_path(root, "s0000", row["video_id"])) for row in videos}
        proposals = root.read("proposals", "s0000").to_pylist()
        by_video = {v: [clip for clip in proposals if clip["video_id"] == v] for v in paths}
        sound = {row["clip_id"]: row for row in root.read("audio", "s0000").to_pylist()}
        wavs = {row["clip_id"]: row["path"] for row in root.read("clip_audio", "s0000").to_pylist()}
        size = root.read("crops", "s0000").to_pylist()[0]["size"]
        with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
            list(pool.map(_ready, range(WORKERS)))
            floor = {
                "decode + landmarks": timed(pool, landmarks, list(paths.values())),
                "decode + crop + encode": timed(
                    pool, crops, [(paths[v], clips, size) for v, clips in by_video.items() if clips]
                ),
                "audio features": timed(
                    pool, features, [(str(root.path / wavs[c]), row["num_frames"]) for c, row in sound.items()]
                ),
            }
        seconds = sum(row["duration_s"] for row in videos)
    measured = sum(ours[name] for name in MEASURED)
    bottom = sum(took for took, _ in floor.values())
    print(f"{len(videos)} videos, {seconds:.0f} s, {len(proposals)} clips; {WORKERS} processes; seconds:")
    for name, (took, count) in floor.items():
        print(f"  floor  {name:24}{took:8.1f}   {count} frames")
    for name, took in ours.items():
        print(f"  ours   {name:24}{took:8.1f}{'' if name in MEASURED else '   not in the ratio'}")
    print(f"floor {bottom:.1f} s / ours {measured:.1f} s = {bottom / measured:.2f}   (bar 0.8)")
    hours = 250 * WORKERS * sum(ours.values()) / seconds
    print(f"the paper's 250 h at this rate: {hours:.0f} core-hours, all steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
