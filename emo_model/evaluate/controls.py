"""Rows that keep every other row honest: what real video, and answers that need no model, get under the same protocol.

ground truth                 what the metric says of the real clips
ground truth, half vs half   the floor: how far real video is from itself, first halves against second ones
copy-first-frame             the reference for the whole clip: a method that loses to it has learned no motion
reconstruction [PRESET]      the real clip through the preset's latent space: no model in that space does better
audio-shuffled               the real clip with somebody else's voice: what a metric of sound says of a mismatch
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from .video import Video

GROUND_TRUTH, HALVES, COPY = "ground truth", "ground truth, half vs half", "copy-first-frame"
RECONSTRUCTION, SHUFFLED = "reconstruction", "audio-shuffled"
CONTROLS = (GROUND_TRUTH, HALVES, COPY, RECONSTRUCTION, SHUFFLED)
BATCH = 16


def is_control(method: str) -> bool:
    """Whether a row's name is that of a control, whatever stands in brackets behind it."""
    return method.partition(" [")[0] in CONTROLS


def best_preset() -> str:
    """PAPER where Stable Diffusion's weights, of which its autoencoder is a part, are here; else TINY."""
    from emo_model import weights

    return "PAPER" if weights.have("sd15") else "TINY"


def reconstructed(video: Video, preset: str) -> Video:
    """A real video at the preset's size, through its latent space, and back at its own size."""
    import torch
    import torch.nn.functional as F

    latents, size = _latents(preset)

    def resized(pixels: torch.Tensor, side: int) -> torch.Tensor:
        return F.interpolate(pixels, (side, side), mode="bicubic", antialias=True, align_corners=False)

    frames = np.empty_like(video.frames)
    with torch.inference_mode():
        for start in range(0, len(frames), BATCH):
            pixels = torch.from_numpy(video.frames[start : start + BATCH]).movedim(-1, 1).float() / 127.5 - 1
            seen = latents.decode(latents.encode(resized(pixels, size).clamp(-1, 1)))
            back = (resized(seen, frames.shape[1]) + 1) * 127.5
            frames[start : start + BATCH] = back.round().clamp(0, 255).byte().movedim(1, -1).numpy()
    return Video(frames, video.fps, video.reference, video.sound_path, truth=video)


@cache
def _latents(preset: str) -> tuple[Any, int]:
    """The preset's latent space, and the side of its pictures. UserError where its weights are missing."""
    from emo_model import weights
    from emo_model.config import PRESETS
    from emo_model.networks.latents import LATENTS
    from emo_model.networks.published import stable_diffusion

    config = PRESETS[preset].network
    latents = LATENTS[config.latent](config).eval()
    if config.latent == "autoencoder_kl":
        _, vae = stable_diffusion(weights.path("sd15"), config)
        latents.vae.load_state_dict(vae)
    return latents, config.image_size


def others(identities: Sequence[str], seed: int) -> list[int | None]:
    """For each clip another one, of somebody else where there is somebody; None for a clip that is alone."""
    rng, found = np.random.default_rng(seed), []
    for i, who in enumerate(identities):
        rest = [j for j in range(len(identities)) if j != i]
        strangers = [j for j in rest if identities[j] != who] or rest
        found.append(int(rng.choice(strangers)) if strangers else None)
    return found
