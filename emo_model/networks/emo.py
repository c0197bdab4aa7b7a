"""EMO (figure 2): all boxes together. Frames are encoded once a clip; each denoising step then is one forward.

Shapes: B clips, F generated frames (the paper's f), N motion frames (n), m neighbours on either side; C channels and
h w cells of a latent or of the map at a place; H W pixels of an image.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from emo_model.networks import gradient_checkpointing
from emo_model.networks.audio_layers import AudioLayers
from emo_model.networks.backbone import Backbone
from emo_model.networks.conditions import At, Conditions
from emo_model.networks.config import EMOConfig, SpeedBuckets
from emo_model.networks.face_locator import FaceLocator
from emo_model.networks.latents import LATENTS
from emo_model.networks.reference_net import ReferenceNet
from emo_model.networks.speed_layers import SpeedLayers
from emo_model.networks.temporal_modules import TemporalModules
from emo_model.networks.unet import places, transformer_blocks
from emo_model.networks.weights import start_as_no_change

PARTS = ("reference_net", "backbone", "face_locator", "audio_layers", "temporal_modules", "speed_layers")


@dataclass(frozen=True)
class FrameFeatures:
    """What ReferenceNet gives for one clip (section 3.2): made once, read in every denoising step."""

    reference: dict[str, Tensor] | None  # transformer block -> (B, h w, C); None: dropped, the same as zero maps
    motion: dict[str, Tensor] | None  # place -> (B, N, C, h, w); None: a still image, Temporal Modules do not run

    def keep(self, reference: Tensor | None, motion: Tensor | None = None) -> "FrameFeatures":
        """Zero maps, which is what dropped conditions are, where a clip's flag (B,) is 0; None: all are kept."""
        return FrameFeatures(_flagged(self.reference, reference), _flagged(self.motion, motion))

    def without_reference(self) -> "FrameFeatures":
        """What zero maps of every clip's reference give, without computing it."""
        return replace(self, reference=None)


def _flagged(maps: dict[str, Tensor] | None, flags: Tensor | None) -> dict[str, Tensor] | None:
    if maps is None or flags is None:
        return maps
    return {name: each * flags.reshape(-1, *[1] * (each.ndim - 1)) for name, each in maps.items()}


class EMO(nn.Module):
    """Section 3.2: portrait, motion frames, voice, head speed and face region -> the noise in a clip's latents."""

    def __init__(self, config: EMOConfig, buckets: SpeedBuckets | None = None) -> None:
        super().__init__()
        self.config, self.buckets = config, buckets or SpeedBuckets()
        self.reference_net = ReferenceNet(config)
        self.backbone = Backbone(config)
        blocks, stands = transformer_blocks(self.backbone.unet), places(self.backbone.unet)
        self.face_locator = FaceLocator(config)
        self.audio_layers = AudioLayers(config, blocks)
        self.temporal_modules = TemporalModules(config, stands)
        self.speed_layers = SpeedLayers(config, stands, self.buckets)
        self.latents = LATENTS[config.latent](config)
        start_as_no_change(self)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "EMO":
        """The network of a checkpoint folder. UserError where it is not one."""
        from emo_model.train.checkpoint import load_network

        return load_network(Path(folder))

    def enable_gradient_checkpointing(self, mode: gradient_checkpointing.Mode = "full") -> None:
        """Trade time for memory: see networks/gradient_checkpointing.py. Outputs and gradients stay the same."""
        gradient_checkpointing.enable(self, mode)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latents (B, C, h, w)."""
        return self.latents.encode(pixels)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) -> pixels (B, 3, H, W) in [-1, 1]."""
        return self.latents.decode(latents)

    def encode_reference(self, reference: Tensor) -> FrameFeatures:
        """For a still image (stage 1): reference (B, C, h, w) latents. No motion, so no Temporal Modules."""
        return FrameFeatures(self.reference_net(reference).attention, motion=None)

    def encode_frames(self, reference: Tensor, motion: Tensor | None = None) -> FrameFeatures:
        """For a clip: reference (B, C, h, w) and motion (B, N, C, h, w) latents; without motion frames (the first
        clip) their maps are n zero maps."""
        seen = self.reference_net(reference)
        if motion is None:
            zeros = {
                p: m.new_zeros(m.shape[0], self.config.motion_frames, *m.shape[1:]) for p, m in seen.places.items()
            }
            return FrameFeatures(seen.attention, zeros)
        return FrameFeatures(seen.attention, self.encode_motion(motion))

    def encode_motion(self, motion: Tensor) -> dict[str, Tensor]:
        """FrameFeatures.motion of motion frames (B, N, C, h, w): all that changes from clip to clip of one portrait."""
        before = self.reference_net(rearrange(motion, "b n c h w -> (b n) c h w")).places
        return {p: rearrange(m, "(b n) c h w -> b n c h w", n=motion.shape[1]) for p, m in before.items()}

    def forward(
        self,
        noisy_latent: Tensor,
        t: Tensor,
        features: FrameFeatures,
        audio: Tensor | None = None,
        speed: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Predict the noise (equation 1; with the "modern" recipe, the velocity).

        noisy_latent (B, F, C, h, w); t (B,); audio (B, F + 2m, layers, width), all zero or None: no sound;
        speed (B, F + 2m) degrees a frame, NaN or None: unknown; mask (B, 1, H, W) or None: not located.
        Returns (B, F, C, h, w). One path for training and sampling. Reference, audio and speed may be of fewer clips:
        of the last ones, and those before know none, at no cost.
        """
        clips, frames = noisy_latent.shape[:2]
        return self.backbone(noisy_latent, t, self.conditions(clips, frames, features, audio, speed, mask))

    def conditions(
        self,
        clips: int,
        frames: int,
        features: FrameFeatures,
        audio: Tensor | None = None,
        speed: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Conditions:
        """What the other boxes hand the Backbone: the same in all steps of sampling B clips. Arguments: `forward`'s."""
        return Conditions(
            frames=frames,
            reference=features.reference,
            face=None if mask is None else self.face_locator(mask),
            audio=None if audio is None else self._listen(audio, clips),
            temporal=None if features.motion is None else self._along_frames(features.motion, speed),
        )

    def _listen(self, audio: Tensor, clips: int) -> At:
        tokens = self.audio_layers.tokens(audio)
        heard = (audio.abs().amax((1, 2, 3)) > 0).to(tokens.dtype)
        heard = heard.repeat_interleave(tokens.shape[0] // len(heard))
        return _last(len(audio), clips, lambda name, hidden: self.audio_layers.attend(name, hidden, tokens, heard))

    def _along_frames(self, motion: dict[str, Tensor], speed: Tensor | None) -> At:
        hurry: At | None = None
        if speed is not None:
            clips, before = next(iter(motion.values())).shape[:2]
            features = self.speed_layers.features(speed, before)
            known = (~speed.isnan()).any(dim=1).to(features.dtype)
            attend = self.speed_layers.attend
            hurry = _last(len(speed), clips, lambda place, queries: attend(place, queries, features, known))
        return lambda place, hidden: self.temporal_modules(place, hidden, motion[place], hurry)


def _last(known: int, clips: int, attend: At) -> At:
    """What is added to the last `known` of the clips that are folded into the batch, and nothing to those before."""

    def added(name: str, hidden: Tensor) -> Tensor:
        front = len(hidden) * (clips - known) // clips
        found = attend(name, hidden[front:])
        return torch.cat([found.new_zeros(front, *found.shape[1:]), found]) if front else found

    return added


def count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def seeded(config: EMOConfig, seed: int, buckets: SpeedBuckets | None = None) -> EMO:
    """A network from nothing, the same for the same seed whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EMO(config, buckets)
