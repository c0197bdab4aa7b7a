"""What a data set will cost, before anything starts: videos, hours, shards, core-hours, disk, downloads.

Hours of many files are estimated: the headers of SAMPLE files drawn at random say how long a byte lasts, the sizes of
all say the rest, and the sample's own scatter gives the error. Disk and core-hours are upper bounds: as if every second
became a clip that is trained on.
"""

import math
import os
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from emo_model.config import PRESETS
from emo_model.data import annotations, downloads, sources
from emo_model.data.annotations import Video
from emo_model.data.audio_encoders import default_encoder
from emo_model.data.config import TINY_DATA, DataConfig
from emo_model.data.media import open_media
from emo_model.data.pictures import is_picture
from emo_model.data.store import DataRoot
from emo_model.errors import UserError

SAMPLE, SAMPLE_S = 200, 60.0  # files looked into, and seconds spent at most
FPS = 30
PICTURES_A_SECOND = 25  # of a folder of them, where only its list knows; an assumption
LOWEST_RATE = 500  # bytes a second: a header that claims more time than that is damaged

CORE_HOURS = 177 / 250  # of one hour of video, all steps: benchmarks/prepare.py, 33 real videos, crops of 256 pixels
# Bytes a frame at 30 fps. Crops: write_video on 120 frames each of three development videos gave 2,280 on average at
# 256 pixels, 6,920 at 512. Tables: prepared sample videos. Sound: 16 bits at 16 kHz.
CROP_256, CROP_GROWTH = 2280, math.log2(6920 / 2280)
TABLES = {"landmarks": 200, "pose and speed": 380}
SOUND = 2 * 16_000 / FPS
LATENTS = "cached latents"
FEATURES = {"wav2vec2_base": 12 * 768 * 2, "whisper_tiny_encoder": 4 * 384 * 2}
STREAM_MB_S = 2.5 / 8  # of a downloaded video at 1080p; an assumption


@dataclass(frozen=True)
class Part:
    """One source of a plan. hours None: nobody can know before it is downloaded."""

    name: str
    sizes: tuple[int, ...] = ()  # bytes of each file
    urls: int = 0  # still to download
    hours: float | None = None
    error: float = 0.0  # half of the 95 % interval of hours
    download_hours: float | None = 0.0  # whole videos, of which only annotated seconds are used; None: unknown
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """The cost of all parts together."""

    parts: tuple[Part, ...]
    shards: int
    cores: int
    crop_size: int
    encoder: str
    free: int  # bytes on the data root's disk
    rate_mb_s: float | None = None  # limit of downloads
    disk: dict[str, float] = field(default_factory=dict)  # bytes an hour of clips, by what they hold

    @property
    def videos(self) -> int:
        """Files and URLs."""
        return sum(len(part.sizes) + part.urls for part in self.parts)

    @property
    def hours(self) -> float:
        """Known or estimated hours."""
        return math.fsum(part.hours or 0.0 for part in self.parts)

    @property
    def error(self) -> float:
        """Half of the 95 % interval of the hours; the parts' samples are independent."""
        return math.sqrt(math.fsum(part.error**2 for part in self.parts))

    @property
    def core_hours(self) -> float:
        """Of all steps, on cores as fast as the benchmark's."""
        return self.hours * CORE_HOURS

    @property
    def bytes(self) -> float:
        """Disk for everything made of the videos, and for downloads whose length is known."""
        return self.hours * math.fsum(self.disk.values()) + self.download_bytes

    @property
    def download_bytes(self) -> float:
        """Of downloads whose length is known."""
        return math.fsum(part.download_hours or 0.0 for part in self.parts) * 3600 * STREAM_MB_S * 1e6

    def lines(self) -> list[str]:
        """The plan for a person to read."""
        unknown = sum(part.urls for part in self.parts if part.hours is None)
        lines = [_part_line(part) for part in self.parts]
        spread = f" +- {self.error:.3g} (95 %)" if self.error else ""
        lines.append(f"{self.videos} videos in {self.shards} shards, {self.hours:.4g} hours{spread} to work on")
        if self.hours:
            lines += self._costs(self.hours, self.download_bytes)
        if unknown:
            lines.append(f"{unknown} URLs: nobody knows their hours before they are downloaded. Each hour of them:")
            lines += self._costs(1.0, 3600 * STREAM_MB_S * 1e6)
        return lines + [f"! {line}" for line in self._advice()]

    def _costs(self, hours: float, downloads: float) -> list[str]:
        parts = {name: hours * an_hour for name, an_hour in self.disk.items()} | {"downloads": downloads}
        core_hours = hours * CORE_HOURS
        lines = [
            f"  {core_hours:.3g} core-hours: {core_hours / self.cores:.3g} hours on this machine's {self.cores} cores"
        ]
        if downloads and self.rate_mb_s:
            lines.append(f"  {downloads / self.rate_mb_s / 3.6e9:.3g} hours of downloads at {self.rate_mb_s:g} MB/s")
        return [
            *lines,
            f"  disk, if all of it becomes clips (crops of {self.crop_size} pixels, features of {self.encoder}; "
            f"downloads at {STREAM_MB_S * 8:g} Mbit/s):",
            *(f"    {name:18}{_gb(value)}" for name, value in parts.items() if value),
            f"    {'in all':18}{_gb(math.fsum(parts.values()))}   free:{_gb(self.free)}",
        ]

    def _advice(self) -> list[str]:
        """What does not fit, and what would make it cheaper."""
        lines = []
        total, latents = self.bytes, self.hours * self.disk.get(LATENTS, 0.0)
        if total > self.free:
            lines.append(f"{_gb(total - self.free).strip()} of disk are missing; set EMO_DATA to a larger disk")
        if total > self.free >= total - latents:
            lines.append("without latents it fits; run: emo train --set cache_latents=false")
        prepared = math.fsum(value for name, value in self.disk.items() if name != LATENTS)
        if self.crop_size > TINY_DATA.crop_size and self.disk["crops"] > 0.2 * prepared:
            lines.append(
                f"crops of {TINY_DATA.crop_size} pixels take a third of the disk; run: emo prepare --preset TINY"
            )
        if self.cores > 2:
            lines.append(f"emo prepare uses 2 processes; run: emo prepare --workers {self.cores}")
        if self.disk["audio features"] > 0.5 * prepared:
            lines.append("most of it are audio features: what is silent has none, and a manifest without it needs none")
        if any(part.urls for part in self.parts) and not shutil.which("ffmpeg"):
            lines.append("without an ffmpeg program sites give their joined files only, often 720p or less; install it")
        return lines


def plan(root: DataRoot, named: Sequence[Path] = ()) -> Plan:
    """The plan of folders of videos, lists of URLs (.txt) and data sets' lists; of what is registered without any.

    Nothing is written and no site is asked. UserError where a name is none of these.
    """
    parts = [_named(path) for path in named] or _registered(root)
    config, encoder = DataConfig.of(root), default_encoder()
    shards = sources.Shards()
    for part in parts:
        for size in (*part.sizes, *(0,) * part.urls):
            last = shards.take(size)
    if not any(len(part.sizes) + part.urls for part in parts):
        raise UserError(f"no videos in {', '.join(map(str, named)) or root.path}; run: emo plan FOLDER_OF_VIDEOS")
    a_frame = {
        "crops": CROP_256 * (config.crop_size / 256) ** CROP_GROWTH,
        "audio features": FEATURES[encoder],
        "sound": SOUND,
        **TABLES,
        **_latents(config),
    }
    existing = next(place for place in (root.path, *root.path.parents) if place.exists())
    return Plan(
        parts=tuple(parts),
        shards=int(last[1:]) + 1,
        cores=len(os.sched_getaffinity(0)),
        crop_size=config.crop_size,
        encoder=encoder,
        free=shutil.disk_usage(existing).free,
        rate_mb_s=downloads.Downloads.of(root).rate_mb_s,
        disk={name: value * FPS * 3600 for name, value in a_frame.items()},
    )


def _latents(config: DataConfig) -> dict[str, float]:
    """Bytes a frame that training adds (emo_model/train/latents.py), where a preset with crops of this size keeps
    latents: float16, once for all stages."""
    for chosen in PRESETS.values():
        if chosen.data.crop_size == config.crop_size and chosen.train.cache_latents:
            return {LATENTS: 2 * chosen.network.latent_channels * chosen.network.latent_size**2}
    return {}


# ---- what there is ----


def _named(path: Path) -> Part:
    if path.suffix == ".txt" and path.is_file():
        return _urls(path)
    if annotations.is_lists(path):
        lists = annotations.read(path)
        return _listed(str(path), lists.videos)
    if not path.is_dir():
        raise UserError(f"wanted a folder of videos, a list of URLs (.txt) or a data set's lists; {path} is none")
    skipped: list[tuple[str, str]] = []
    found = list(sources.scan_folder(path, skipped))
    note = f"{len(skipped)} more are not taken" if skipped else ""
    return _files(str(path), [place for place, _ in found], [size for _, size in found], note)


def _urls(path: Path) -> Part:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    urls = {line for line in lines if line and not line.startswith("#")}
    lists = sum(map(downloads.is_list, urls))
    note = f"and {lists} channels or play lists, which are asked when registered" if lists else ""
    return Part(str(path), urls=len(urls) - lists, download_hours=None, note=note)


def _listed(name: str, videos: Sequence[Video]) -> Part:
    """Annotated seconds are known; of whole videos, that they last to the end of the last range."""
    least = math.fsum(max((r.end_s for r in video.ranges), default=0.0) for video in videos) / 3600
    used = math.fsum(video.seconds for video in videos) / 3600
    return Part(name, urls=len(videos), hours=used, download_hours=least, note="annotated; downloads last longer")


def _registered(root: DataRoot) -> list[Part]:
    """One part a collection: what is probed is known, local files are sampled, the rest is to be downloaded."""
    rows = sources.registered(root)
    durations = {
        row["source_id"]: row["duration_s"] or 0.0
        for row in root.read("videos", columns=["source_id", "duration_s"]).to_pylist()
    }
    parts = []
    for name in sorted({row["source"] for row in rows}):
        ours = [row for row in rows if row["source"] == name]
        probed = [row for row in ours if row["source_id"] in durations]
        left = [row for row in ours if row["source_id"] not in durations]
        known = math.fsum(_used(row, durations[row["source_id"]]) for row in probed) / 3600
        if probed:
            parts.append(Part(f"{name}, probed", tuple(row["bytes"] or 0 for row in probed), hours=known))
        files = [row for row in left if row["bytes"] is not None]
        if files:
            places = sources.local_paths(root, files)
            here = [(path, row["bytes"]) for row in files if (path := places[row["source_id"]])]
            parts.append(_files(name, [path for path, _ in here], [size for _, size in here], ""))
        listed = [row for row in left if row["bytes"] is None and row["ranges"]]
        if listed:
            seconds = math.fsum(_used(row, math.inf) for row in listed)
            least = math.fsum(max(r["end_s"] for r in row["ranges"]) for row in listed)
            parts.append(
                Part(name, urls=len(listed), hours=seconds / 3600, download_hours=least / 3600, note="annotated")
            )
        if others := len(left) - len(files) - len(listed):
            parts.append(Part(name, urls=others, download_hours=None))
    return parts


def _used(row: dict, seconds: float) -> float:
    if not row["ranges"]:
        return seconds
    return math.fsum(max(0.0, min(r["end_s"], seconds) - r["start_s"]) for r in row["ranges"])


# ---- hours ----


def _files(name: str, paths: Sequence[Path], sizes: Sequence[int], note: str) -> Part:
    hours, error, looked = estimated_hours(paths, sizes)
    said = f"by the headers of {looked} drawn at random" if looked < len(paths) else "by their headers"
    return Part(name, tuple(sizes), hours=hours, error=error, note=", ".join(filter(None, (said, note))))


def estimated_hours(paths: Sequence[Path], sizes: Sequence[int]) -> tuple[float, float, int]:
    """(hours, half of their 95 % interval, files looked into) of files of these sizes in bytes.

    The ratio estimator of a simple random sample: hours = all bytes x sampled seconds / sampled bytes, its error from
    the residuals, with the correction for a finite population. A file that cannot be opened counts as nothing.
    """
    order = random.Random(0).sample(range(len(paths)), len(paths))
    seconds: list[float] = []
    nbytes: list[int] = []
    started = time.monotonic()
    for at in order[:SAMPLE]:
        if len(seconds) > 1 and time.monotonic() - started > SAMPLE_S:
            break
        seconds.append(_seconds(paths[at], sizes[at]))
        nbytes.append(sizes[at])
    count, total = len(seconds), len(paths)
    if not count or not sum(nbytes):
        return 0.0, 0.0, count
    ratio = sum(seconds) / sum(nbytes)
    residuals = np.array(seconds) - ratio * np.array(nbytes)
    variance = float(residuals @ residuals) / max(count - 1, 1)
    error = 1.96 * total * math.sqrt((1 - count / total) * variance / count)
    return ratio * sum(sizes) / 3600, error / 3600, count


def _seconds(path: Path, size: int) -> float:
    """What a file's header says; 0 where it is none or says what cannot be."""
    if path.is_dir():
        return sum(map(is_picture, (file.name for file in path.iterdir()))) / PICTURES_A_SECOND
    try:
        with open_media(path) as container:
            seconds = (container.duration or 0) / av.time_base if container.streams.video else 0.0
    except (av.error.FFmpegError, OSError, ValueError):
        return 0.0
    return seconds if 0 < seconds <= size / LOWEST_RATE else 0.0


def _part_line(part: Part) -> str:
    files = f"{len(part.sizes)} files of {_gb(sum(part.sizes)).strip()}" if part.sizes else ""
    urls = f"{part.urls} URLs" if part.urls else ""
    spread = f" +- {part.error:.2g}" if part.error else ""
    hours = "hours unknown" if part.hours is None else f"{part.hours:.4g} hours{spread}"
    what = " and ".join(filter(None, (files, urls))) or "nothing"
    return f"{part.name}: {what}, {hours}" + (f" ({part.note})" if part.note else "")


def _gb(nbytes: float) -> str:
    return f"{nbytes / 1e9:10.2f} GB"
