"""What a run makes of fixed held-out clips every so many steps, to look at: the same clips, noise and seed each time.

    samples/step-NNNNNNN/CLIP.mp4      stages video and speed: from the clip's first frame and its voice
    samples/step-NNNNNNN/stills.png    stage image, a row a clip: reference, target, prediction
    samples/step-NNNNNNN/failed.txt    why there is less than that

A folder appears whole. Training's random numbers are not touched. A failure is written down and told, and training goes
on: it comes after the step's checkpoint, and no picture is worth a run.
"""

import contextlib
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from PIL import Image

from emo_model import diffusion
from emo_model.data.dataset import read_manifest, tracks
from emo_model.data.store import DataRoot
from emo_model.generate.manifest import animate_clip
from emo_model.generate.sampler import stills
from emo_model.generate.sound import encoder_for
from emo_model.generate.video import Model, Settings, to_uint8
from emo_model.networks.emo import EMO
from emo_model.train.config import RunSpec, TrainConfig

Told = Callable[[], object]  # true: the run was told to stop, so look no further


class _ToldToStop(Exception):
    pass


def sample(
    spec: RunSpec,
    config: TrainConfig,
    emo: EMO,
    scheduler: DDIMScheduler,
    batch: Mapping[str, Any],
    step: int,
    told: Told = lambda: False,
) -> Path | None:
    """Write the samples of a step with the weights that emo holds now; returns their folder, None where stopped.

    batch: fixed held-out samples as `Objective` documents them; the image stage draws these.
    """
    folder = spec.run_dir / "samples" / f"step-{step:07d}"
    temporary = folder.with_name(f".{folder.name}")
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        for half in folder.parent.glob(".step-*"):  # of a run that was killed here
            shutil.rmtree(half)
        temporary.mkdir(parents=True)
        with torch.random.fork_rng(devices):
            if spec.stage == "image":
                _stills(emo, scheduler, config, batch).save(temporary / "stills.png")
            else:
                _videos(spec, config, emo, scheduler, step, temporary, told)
    except _ToldToStop:
        shutil.rmtree(temporary, ignore_errors=True)
        return None
    except Exception as error:
        print(f"step {step}: no samples: {error}; training goes on", file=sys.stderr)
        with contextlib.suppress(OSError):  # a full disk: the next checkpoint says so better
            (temporary / "failed.txt").write_text(traceback.format_exc())
    with contextlib.suppress(OSError):
        for half in temporary.glob("*.partial"):  # of a video that failed
            shutil.rmtree(half)
        shutil.rmtree(folder, ignore_errors=True)  # the same step again, after a resume
        temporary.rename(folder)
    return folder


def _stills(emo: EMO, scheduler: DDIMScheduler, config: TrainConfig, batch: Mapping[str, Any]) -> Image.Image:
    device, settings = emo.backbone.unet.device, Settings(steps=config.sample_steps)
    reference, mask = batch["reference"].to(device), batch["mask"].to(device)
    predicted = stills(emo, scheduler, reference, mask, settings.steps, settings.guidance, settings.seed)
    columns = [to_uint8(pictures) for pictures in (reference, batch["pixels"][:, 0], predicted)]
    return Image.fromarray(np.concatenate([np.concatenate(list(column)) for column in columns], axis=1))


def _videos(
    spec: RunSpec, config: TrainConfig, emo: EMO, scheduler: DDIMScheduler, step: int, folder: Path, told: Told
) -> None:
    def go_on(_done: int, _total: int) -> None:
        if told():
            raise _ToldToStop

    copies = (spec.run_dir / f"{name}.parquet" for name in ("held_out_clips", "clips"))
    manifest = next((copy for copy in copies if copy.is_file()), spec.heldout or spec.manifest)
    rows, root = read_manifest(manifest)[: config.sample_clips], DataRoot(spec.root)
    boxes = tracks(root, {row["clip_id"] for row in rows})
    shared = diffusion.RECIPES[config.noise].shared
    model = Model(folder, emo, scheduler, encoder_for(emo.config), f"{spec.run_dir.name}, step {step}", shared)
    for row in rows:
        out, box = folder / f"{row['clip_id']}.mp4", boxes[row["clip_id"]][0]
        animate_clip(
            model, row, box, root, out, Settings(steps=config.sample_steps), config.sample_seconds, progress=go_on
        )
