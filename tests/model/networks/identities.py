"""EMO as it starts, beside the two networks it must then equal: diffusers' own, with what reads text skipped."""

from dataclasses import dataclass

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from einops import rearrange
from torch import Tensor, nn

from emo_model.networks.config import EMOConfig
from emo_model.networks.emo import FrameFeatures, seeded
from emo_model.networks.unet import transformer_blocks
from emo_model.networks.weights import from_animatediff, from_stable_diffusion
from tests.model.networks.small import inputs


@dataclass(frozen=True)
class Identities:
    """Predictions (B, F, C, h, w) for the same noise, from the same random weights."""

    still: Tensor  # EMO, every condition given, Temporal Modules at their zero start
    stable_diffusion: Tensor  # the UNet, frame by frame
    moving: Tensor  # EMO with AnimateDiff's weights and no motion frames
    animatediff: Tensor  # UNetMotionModel

    @classmethod
    @torch.no_grad()
    def of(cls, config: EMOConfig, frames: int, batch: int = 1) -> "Identities":
        """Each network goes before the next one comes: of PAPER's, 15 GB of weights at most are there at a time."""
        given = inputs(batch=batch, frames=frames, config=config)
        torch.manual_seed(0)
        stock = UNet2DConditionModel(**config.unet()).eval()
        adapter = MotionAdapter(
            config.channels,
            config.layers_per_block,
            motion_num_attention_heads=config.temporal_heads,
            motion_norm_num_groups=config.norm_groups,
        )
        animatediff = _motion_model(UNetMotionModel.from_unet2d(stock, adapter).eval(), given)
        stable_diffusion = _frame_by_frame(without_text(stock), given)
        emo = seeded(config, 1).eval()
        from_stable_diffusion(emo, stock.state_dict())
        del stock
        conditions = {name: given[name] for name in ("audio", "speed", "mask")}
        features = emo.encode_frames(given["reference"], given["motion"])
        still = emo(given["noisy"], given["t"], features, **conditions)
        from_animatediff(emo, adapter_state(adapter))
        nothing_before = FrameFeatures(features.reference, {p: maps[:, :0] for p, maps in features.motion.items()})
        moving = emo(given["noisy"], given["t"], nothing_before, **conditions)
        return cls(still, stable_diffusion, moving, animatediff)


def without_text(unet: nn.Module) -> nn.Module:
    """Skip the cross-attentions, as diffusers' block does where it has none."""
    for name, block in transformer_blocks(unet).items():
        if "motion_modules" not in name:
            block.attn2, block.norm2 = None, None
    return unet


def adapter_state(adapter: MotionAdapter) -> dict[str, Tensor]:
    """AnimateDiff's weights; the position tables are no weights."""
    return {name: tensor for name, tensor in adapter.state_dict().items() if not name.endswith("pos_embed.pe")}


def _frame_by_frame(unet: nn.Module, given: dict[str, Tensor]) -> Tensor:
    frames = given["noisy"].shape[1]
    folded = rearrange(given["noisy"], "b f c h w -> (b f) c h w")
    out = unet(folded, given["t"].repeat_interleave(frames), encoder_hidden_states=None).sample
    return rearrange(out, "(b f) c h w -> b f c h w", f=frames)


def _motion_model(model: nn.Module, given: dict[str, Tensor]) -> Tensor:
    noisy = rearrange(given["noisy"], "b f c h w -> b c f h w")
    unread = torch.zeros(len(noisy), 1, 8)  # repeated for each frame, then skipped
    out = without_text(model)(noisy, given["t"], encoder_hidden_states=unread).sample
    return rearrange(out, "b c f h w -> b f c h w")
