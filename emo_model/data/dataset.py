"""A manifest's clips as training batches (sections 3.3, 4.1): pairs of stage 1, windows of 2 and 3.

A batch depends on (seed, step) alone, so a resumed run sees what an uninterrupted one would have.
Memory: 20 bytes a frame for boxes and speeds (0.5 GB for 250 hours); pictures and features stay in files.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from emo_model.data.frames import Frames, made_again, mapped
from emo_model.data.records import MANIFEST
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from emo_model.networks.config import EMOConfig
from emo_model.train.stages import Stage

KEPT_BYTES = 4 << 30  # smaller sets are decoded once and kept at the network's size: 3 hours at 64 pixels
WIDEST = 0.25  # in training each side of the face region moves out by up to this share of the box


@dataclass(frozen=True)
class Clip:
    """One row of the manifest, with what its frames are known to be."""

    clip_id: str
    num_frames: int
    size: int  # pixels a side of the stored crop
    frames: Frames
    union_box: NDArray[np.float32]  # (4,) of the whole clip, x0 y0 x1 y1 in pixels of the stored crop
    boxes: NDArray[np.float32]  # (F, 4) likewise, by frame; NaN: no face found
    speed: NDArray[np.float32]  # (F,) degrees a frame at 30 fps; NaN: unknown
    audio: Path | None  # (F, layers, width) float16; None: silent
    audio_mend: str = ""  # what to do where its file is not what it was
    shift: int = 0  # frame j belongs to the features of frame j + shift

    def pixels(self, frames: NDArray[np.int64]) -> Tensor:
        """(len(frames), 3, H, W) in [-1, 1], at the network's size."""
        return torch.from_numpy(self.frames.read(frames).transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1

    def latents(self, frames: NDArray[np.int64], encoder: str, shape: tuple[int, ...]) -> Tensor:
        """(len(frames), *shape) float16, as `emo_model/train/latents.py` made them. Opened anew each time: a mapping a
        clip would be too many for one process."""
        path = self.frames.latents(encoder)
        return torch.from_numpy(mapped(path, made_again(path), (self.num_frames, *shape))[frames])

    def features(self, frames: NDArray[np.int64], network: EMOConfig) -> Tensor:
        """(len(frames), layers, width) of the sound. UserError where the file is damaged or holds what is no number."""
        assert self.audio is not None
        shape = (self.num_frames, network.audio_layers, network.audio_width)
        heard = mapped(self.audio, self.audio_mend, shape)[frames].astype(np.float32)
        if not np.isfinite(heard).all():
            raise UserError(
                f"clip {self.clip_id}: {self.audio} holds features that are not finite, in frames {frames[0]} to "
                f"{frames[-1]}; {self.audio_mend}"
            )
        return torch.from_numpy(heard)


class ClipDataset:
    """Clips of one manifest for one stage. `Objective` (emo_model/train/objective.py) documents the batch."""

    def __init__(self, manifest: Path, root: DataRoot, stage: Stage, network: EMOConfig, seed: int = 0) -> None:
        self.stage, self.network, self.seed = stage, network, seed
        self.latents: str | None = None  # encoder whose latents `batch` gives for pictures; None: pixels
        rows = read_manifest(manifest)
        keep = sum(row["num_frames"] for row in rows) * network.image_size**2 * 3 <= KEPT_BYTES
        self.clips = list(_clips(rows, root, stage, network, keep))

    @property
    def clip_ids(self) -> list[str]:
        """The clips, in the manifest's order."""
        return [clip.clip_id for clip in self.clips]

    def batch(self, step: int, batch_size: int) -> dict[str, Any]:
        """The batch of one step; it depends on (seed, step) and on nothing that ran before."""
        return self._batch(np.random.default_rng([0, self.seed, step]), batch_size, self.latents)

    def fixed_batches(self, count: int, batch_size: int) -> list[dict[str, Any]]:
        """The same batches for every run and seed: what validation measures."""
        return [self._batch(np.random.default_rng([1, number]), batch_size, None) for number in range(count)]

    def _batch(self, rng: np.random.Generator, size: int, encoder: str | None) -> dict[str, Any]:
        draw = _window if self.stage.video else _pair
        samples = [draw(self.clips[rng.integers(len(self.clips))], self.network, rng, encoder) for _ in range(size)]
        tensors = {name: torch.stack([s[name] for s in samples]) for name in samples[0] if name != "clip_id"}
        return tensors | {"clip_id": [sample["clip_id"] for sample in samples]}


# ---- samples ----


def _pair(clip: Clip, network: EMOConfig, rng: np.random.Generator, encoder: str | None) -> dict[str, Any]:
    """Stage 1: one target frame and another random frame of the same clip as reference."""
    target, reference = (int(i) for i in rng.choice(clip.num_frames, 2, replace=False))
    return _sample(clip, network, rng, np.array([target]), reference, encoder)


def _window(clip: Clip, network: EMOConfig, rng: np.random.Generator, encoder: str | None) -> dict[str, Any]:
    """Stages 2 and 3: n motion frames, the f behind them, and a reference from elsewhere in the clip."""
    n, f, m = network.motion_frames, network.frames, network.nearby
    # Every drawn frame has its own sound in the clip, wherever that lies.
    first = int(rng.integers(max(n, -clip.shift), clip.num_frames - f - max(clip.shift, 0) + 1))
    frames, motion = np.arange(first, first + f), np.arange(first - n, first)
    elsewhere = np.setdiff1d(np.arange(clip.num_frames), np.concatenate([motion, frames]))
    reference = int(rng.choice(elsewhere if len(elsewhere) else motion))
    # Real neighbours where the clip has them, else its edge again.
    last = clip.num_frames - 1
    near = np.arange(first - m, first + f + m)
    sample = _sample(clip, network, rng, frames, reference, encoder) | {
        **_pictures(clip, network, "motion", motion, encoder),
        "speed": torch.from_numpy(clip.speed[np.clip(near, 0, last)]),
    }
    if clip.audio is not None:
        sample["audio"] = clip.features(np.clip(near + clip.shift, 0, last), network)
    return sample


def _sample(
    clip: Clip,
    network: EMOConfig,
    rng: np.random.Generator,
    frames: NDArray[np.int64],
    reference: int,
    encoder: str | None,
) -> dict[str, Any]:
    scale = network.image_size / clip.size
    widen = rng.uniform(0, WIDEST, 4)
    return {
        **_pictures(clip, network, "pixels", frames, encoder),
        **{name: one[0] for name, one in _pictures(clip, network, "reference", np.array([reference]), encoder).items()},
        "mask": region_mask(_region(clip, frames) * scale, network.image_size, widen),
        "clip_id": clip.clip_id,
        "frame": torch.tensor(int(frames[0])),
        "reference_frame": torch.tensor(reference),
    }


def _region(clip: Clip, frames: NDArray[np.int64]) -> NDArray[np.float32]:
    """(4,) box around the faces of these frames; of the whole clip where none of them shows a face."""
    seen = clip.boxes[frames]
    if np.isnan(seen).all():
        return clip.union_box
    return np.concatenate([np.nanmin(seen[:, :2], axis=0), np.nanmax(seen[:, 2:], axis=0)])


def region_mask(box: NDArray[np.floating], size: int, widen: NDArray[np.floating] | float = 0.0) -> Tensor:
    """M: (1, size, size), 1 inside the box x0 y0 x1 y1 (pixels), sides moved out by shares of its extent."""
    x0, y0, x1, y1 = box
    outwards = np.array([x0 - x1, y0 - y1, x1 - x0, y1 - y0])
    left, top, right, bottom = np.array(box) + outwards * widen
    centre = np.arange(size) + 0.5  # a pixel is inside if its middle is
    rows, columns = (centre >= top) & (centre <= bottom), (centre >= left) & (centre <= right)
    return torch.from_numpy((rows[:, None] & columns[None]).astype(np.float32))[None]


def _pictures(
    clip: Clip, network: EMOConfig, name: str, frames: NDArray[np.int64], encoder: str | None
) -> dict[str, Tensor]:
    """As pixels under their name, or as latents under NAME_latents."""
    if encoder is None:
        return {name: clip.pixels(frames)}
    shape = (network.latent_channels, network.latent_size, network.latent_size)
    return {f"{name}_latents": clip.latents(frames, encoder, shape)}


# ---- the manifest ----


def read_manifest(manifest: Path) -> list[dict[str, Any]]:
    """Rows of a manifest (columns: `records.MANIFEST`). UserError where it is missing, no manifest or empty."""
    if not manifest.is_file():
        raise UserError(f"no manifest {manifest}; run: emo prepare FOLDER_OF_VIDEOS")
    try:
        table = pq.ParquetFile(manifest).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{manifest} is damaged or no manifest; make it again, run: emo manifest") from error
    found = {field.name: field.type for field in table.schema}
    if other := [field.name for field in MANIFEST.schema if found.get(field.name) != field.type]:
        raise UserError(
            f"{manifest} is no manifest of this version of EMO: {', '.join(other[:3])} missing or of another type; "
            "make it again, run: emo manifest"
        )
    if not table.num_rows:
        raise UserError(f"{manifest.name} has no clips; see `emo why`, then run: emo prepare FOLDER_OF_VIDEOS")
    return table.to_pylist()


def _clips(rows: list[dict[str, Any]], root: DataRoot, stage: Stage, network: EMOConfig, keep: bool) -> Iterator[Clip]:
    known = tracks(root, {row["clip_id"] for row in rows})
    shortest = network.motion_frames + network.frames if stage.video else 2
    for row in rows:
        shift = row["sound_shift_frames"] if "audio" in stage.reads else 0
        _refuse_unusable(row, root, stage, shortest + abs(shift), network.image_size)
        track = known.get(row["clip_id"])
        if track is None or len(track[0]) != row["num_frames"]:
            raise UserError(
                f"clip {row['clip_id']}: {row['num_frames']} frames are wanted in the table frames, "
                f"{0 if track is None else len(track[0])} are there; {_remade(root, 'frames', row)}"
            )
        audio, mend = root.path / row["audio_path"] if "audio" in stage.reads else None, _remade(root, "audio", row)
        if audio is not None:
            _refuse_other_features(row, audio, network, mend)
        crop, count = root.path / row["path"], row["num_frames"]
        frames = Frames(crop, row["crop_sha256"], count, network.image_size, keep, _remade(root, "crops", row))
        union_box = np.array(row["union_box"], np.float32)
        yield Clip(row["clip_id"], count, row["size"], frames, union_box, *track, audio, mend, shift)


def _refuse_unusable(row: Mapping[str, Any], root: DataRoot, stage: Stage, shortest: int, size: int) -> None:
    clip = f"clip {row['clip_id']}"
    if not (root.path / row["path"]).is_file():
        raise UserError(f"{clip}: {row['path']} is gone from {root.path}; {_remade(root, 'crops', row)}")
    if row["size"] < size:
        raise UserError(
            f"{clip} is {row['size']} pixels wide, and the network sees {size}; prepare the videos in a data root of "
            "their own, run: EMO_DATA=FOLDER emo prepare FOLDER_OF_VIDEOS --preset PAPER"
        )
    if row["num_frames"] < shortest:
        raise UserError(
            f"{clip} has {row['num_frames']} frames, stage {stage.name} wants {shortest} or more; "
            "build the manifest again, run: emo prepare FOLDER_OF_VIDEOS"
        )
    if "audio" in stage.reads and not row["audio_path"]:
        raise UserError(
            f"{clip} has no audio features, and stage {stage.name} learns from sound; give it the manifest "
            "train_stage2 (silent clips are in train_stage1 only), run: emo prepare FOLDER_OF_VIDEOS"
        )


def _remade(root: DataRoot, table: str, row: Mapping[str, Any]) -> str:
    """How to have a shard's files made anew: `emo prepare` looks at its tables, and not at each file."""
    folder = shlex.quote(str(root.part(table, row["shard"]).parent))
    return f"to have its shard's made again, run: rm -r {folder}, then: emo prepare"


def _refuse_other_features(row: Mapping[str, Any], audio: Path, network: EMOConfig, mend: str) -> None:
    wanted = (row["num_frames"], network.audio_layers, network.audio_width)
    if (shape := mapped(audio, mend).shape) != wanted:
        raise UserError(
            f"clip {row['clip_id']}: audio features of shape {wanted} are wanted (frames, layers, width of "
            f"{network.audio_encoder}), {row['audio_path']} has {shape} of {row['audio_encoder']}; "
            f"run: emo weights get {network.audio_encoder}, then: emo prepare FOLDER_OF_VIDEOS"
        )


def tracks(root: DataRoot, clip_ids: set[str]) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """clip_id -> boxes (F, 4) and speeds (F,) in frame order, NaN where unknown."""
    wanted = pa.array(sorted(clip_ids))
    found = {}
    for part in root.parts("frames"):
        rows = pq.read_table(part, columns=["clip_id", "frame", "box", "speed_deg"], partitioning=None)
        rows = rows.filter(pc.is_in(rows["clip_id"], wanted))
        if not rows.num_rows:  # a shard with none of the clips
            continue
        rows = rows.sort_by([("clip_id", "ascending"), ("frame", "ascending")])
        boxes = _filled(rows["box"])
        speed = rows["speed_deg"].to_numpy().astype(np.float32)
        ids = rows["clip_id"].to_numpy()
        starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
        for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
            found[ids[start]] = boxes[start:stop], speed[start:stop]
    return found


def _filled(boxes: pa.ChunkedArray) -> NDArray[np.float32]:
    """(F, 4), NaN where the list is null."""
    out = np.full((len(boxes), 4), np.nan, np.float32)
    known = boxes.is_valid().to_numpy()
    out[known] = boxes.drop_null().combine_chunks().flatten().to_numpy().reshape(-1, 4)
    return out
