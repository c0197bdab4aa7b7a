"""One denoising step with all conditions on, against the forward pass of diffusers' stock UNetMotionModel.

    python benchmarks/generate_step.py                 TINY and MIDDLE, a minute on two cores
    python benchmarks/generate_step.py PAPER           SD 1.5's sizes; on a CPU minutes
    python benchmarks/generate_step.py PAPER --count   floating-point operations alone, counted on shapes

Both get the same latents, frames, batch and precision, are warmed, and take turns. Stock has its text cross-attentions
(77 tokens), where ours has reference- and audio-attention; ours has the motion frames in its Temporal Modules, and the
Speed Layers. Keys and values, which `emo generate` projects once a clip, are projected in every step here. Bars: at
most 1.3 times stock's time at PAPER, 2 times at TINY. Then what a frame costs, by part: features of portrait, motion
frames, voice, speed and region, and decoding once a clip, the step as often as the sampler steps.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from _workbench import (
    GB,
    PRESETS,
    Peak,
    Precision,
    autocast,
    batch_of,
    device_here,
    empty,
    fill,
    matrix_rate,
    operations,
    seconds,
    shapes_only,
    where,
)
from accelerate import init_empty_weights
from diffusers import UNetMotionModel
from einops import rearrange

from emo_model.networks.conditions import Conditions
from emo_model.networks.config import EMOConfig
from emo_model.train.config import TrainConfig
from emo_model.train.stages import SPEED

BARS = {"TINY": 2.0, "PAPER": 1.3}
TOKENS, STEPS = 77, 40
Run = Callable[[], object]


def main() -> None:
    """Print the ratio, and a frame's parts."""
    chosen = arguments()
    for preset in chosen.presets or ["TINY", "MIDDLE"]:
        network, config = PRESETS[preset]
        counted = count(network, config)
        bar = f" (bar: {BARS[preset]})" if preset in BARS else ""
        print(
            f"{preset}: ours {counted['step'] / 1e12:.3f} TFLOP a step, stock {counted['stock'] / 1e12:.3f}: "
            f"{counted['step'] / counted['stock']:.2f} times{bar}; features {counted['features'] / 1e12:.3f} and "
            f"decoding {counted['decode'] / 1e12:.3f} once a clip of {network.frames} frames",
            flush=True,
        )
        if not chosen.count:
            time_it(preset, network, config, counted, chosen.rounds)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("presets", nargs="*", help=f"of {', '.join(PRESETS)}")
    parser.add_argument("--count", action="store_true", help="operations alone")
    parser.add_argument("--rounds", type=int, default=3, help="timed turns")
    chosen = parser.parse_args()
    if unknown := set(chosen.presets) - PRESETS.keys():
        parser.error(f"no preset {', '.join(unknown)}")
    return chosen


def parts(network: EMOConfig, config: TrainConfig, device: torch.device, values: bool) -> dict[str, Run]:
    """What a generated clip runs, and the stock model's pass, in the training loop's precision."""
    precision = Precision(frozen=torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32)
    emo = fill(empty(network).requires_grad_(False).eval(), device, precision, values)
    stock = fill(stock_model(network).requires_grad_(False).eval(), device, precision, values)
    batch = batch_of(network, SPEED, 1, device, cached=True)
    noisy, t = batch["pixels_latents"], torch.full((1,), 500, device=device)
    text = torch.randn(network.frames, TOKENS, stock.config.cross_attention_dim, device=device)  # a copy a frame
    given = [batch[name] for name in ("audio", "speed", "mask")]
    frames = rearrange(noisy, "b f c h w -> b c f h w")

    def encode() -> Conditions:
        features = emo.encode_frames(batch["reference_latents"], batch["motion_latents"])
        return emo.conditions(1, network.frames, features, *given)

    def quiet(run: Callable[[], Any]) -> Callable[[], Any]:
        @torch.no_grad()
        def wrapped() -> Any:
            with autocast(device, config):
                return run()

        return wrapped

    conditions = quiet(encode)()
    return {
        "step": quiet(lambda: emo.backbone(noisy, t, conditions)),
        "stock": quiet(lambda: stock(frames, t, encoder_hidden_states=text)),
        "features": quiet(encode),
        "decode": quiet(lambda: emo.decode_latents(noisy[0])),
    }


def stock_model(network: EMOConfig) -> torch.nn.Module:
    """UNetMotionModel with the Backbone's sizes and as many frames."""
    kinds = [("CrossAttn" if has else "", "Motion") for has in network.attention]
    with init_empty_weights(include_buffers=False):
        return UNetMotionModel(
            sample_size=network.latent_size,
            in_channels=network.latent_channels,
            out_channels=network.latent_channels,
            down_block_types=tuple(f"{cross}DownBlock{motion}" for cross, motion in kinds),
            up_block_types=tuple(f"{cross}UpBlock{motion}" for cross, motion in reversed(kinds)),
            block_out_channels=network.channels,
            layers_per_block=network.layers_per_block,
            norm_num_groups=network.norm_groups,
            cross_attention_dim=768 if network.latent == "autoencoder_kl" else network.audio_token_width,
            num_attention_heads=network.heads,
            motion_num_attention_heads=network.temporal_heads,
            motion_max_seq_length=network.temporal_positions,
            use_motion_mid_block=True,
        )


def count(network: EMOConfig, config: TrainConfig) -> dict[str, int]:
    """Operations of each part, on shapes."""
    with shapes_only():
        runs = parts(network, config, torch.device("cpu"), values=False)
        return {name: operations(run) for name, run in runs.items()}


def time_it(preset: str, network: EMOConfig, config: TrainConfig, counted: dict[str, int], rounds: int) -> None:
    """Two lines: the ratio, and a frame's seconds."""
    device = device_here()
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
    rate, runs = matrix_rate(device, dtype), parts(network, config, device, values=True)
    peak = Peak(device)
    peak.reset()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name in runs:
        runs[name]()
    for _ in range(rounds):
        for name, run in runs.items():
            times[name] += seconds(run, device, 0, 1)
    took = {name: statistics.median(each) for name, each in times.items()}
    bar = f" (bar: {BARS[preset]})" if preset in BARS else ""
    print(
        f"{preset}: ours {took['step']:.3f} s a step, stock {took['stock']:.3f} s: "
        f"{statistics.median(ours / theirs for ours, theirs in zip(times['step'], times['stock'], strict=True)):.2f} "
        f"times{bar}; {counted['step'] / took['step'] / rate:.2f} of the matrix rate ({rate / 1e12:.2f} TFLOP/s, "
        f"{dtype}, {where(device)}); peak with both {peak.highest() / GB:.1f} GB"
    )
    clip = took["features"] + STEPS * took["step"] + took["decode"]
    once = {"features": 1, "step": STEPS, "decode": 1}
    shares = ", ".join(f"{name} {often * took[name] / clip:.1%}" for name, often in once.items())
    print(
        f"{preset}: {clip / network.frames:.2f} s a frame in {STEPS} steps of one branch: {shares}",
        flush=True,
    )


if __name__ == "__main__":
    main()
