"""Time, memory and matrix-rate share of one training step of each stage, and of one denoising step.

    python benchmarks/train_step.py                 TINY (what two CPU cores train)
    python benchmarks/train_step.py PAPER           SD 1.5's sizes; on a CPU one sample, minutes a step
    python benchmarks/train_step.py PAPER --stage video --steps 1

Each stage runs in a process of its own and prints its line when it is done: seconds a step (median), clips a second,
peak memory, and the step's floating-point operations (counted by torch on shapes alone, recomputation included) over
what the same device does in large matrix products in the same run and precision: the ratio.

At PAPER's and MIDDLE's sizes: bf16, trained weights and AdamW's state in float32, frozen weights in bf16, gradient
checkpointing (on a CPU "full", for its bar; else the preset's), latents made beforehand (`--encode`: by the VAE in the
step). Peak memory is the process's resident memory at worst (VmHWM) or the GPU's. Bar: stages 2 and 3 in 20 GB of a
CPU's. Stage 1 trains 1.7 billion parameters; where weights, gradients and AdamW's moments exceed this machine's memory
it says so and steps with plain SGD, which keeps no state: forward and backward pass are the same.

`denoise` is one step of sampling without guidance: a clip of f frames, all conditions, ReferenceNet's features made
once before it (their seconds are given too).
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

import torch
from _workbench import (
    GB,
    PRESETS,
    Peak,
    Precision,
    autocast,
    available,
    batch_of,
    device_here,
    empty,
    fill,
    loss_of,
    matrix_rate,
    operations,
    ready,
    seconds,
    shapes_only,
    step_of,
    where,
)

from emo_model.networks.config import EMOConfig
from emo_model.networks.emo import FrameFeatures, count
from emo_model.train.config import TrainConfig
from emo_model.train.loop import freeze
from emo_model.train.stages import SPEED, STAGES

BAR = 20  # GB resident, stages 2 and 3 at PAPER size, one sample
GPU_BATCH = 4  # section 4.1, stages 2 and 3
# Freed blocks go back to the system: else the gaps that glibc's heap keeps are measured too.
HEAP = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "1"}


def main() -> None:
    """Print one line a stage."""
    chosen = arguments()
    if HEAP.keys() - os.environ.keys():  # glibc reads them when a process begins
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], os.environ | HEAP)
    if chosen.stage is None:
        for stage in (*STAGES, "denoise"):
            if subprocess.run([sys.executable, __file__, *sys.argv[1:], "--stage", stage]).returncode:
                print(f"{stage:7}: its process ended without a result (out of memory?)", flush=True)
        return
    network, config = PRESETS[chosen.preset]
    if chosen.preset != "TINY" and device_here().type == "cpu":
        config = config.model_copy(update={"gradient_checkpointing": "full"})
    if chosen.stage == "denoise":
        denoise(network, config, chosen)
    else:
        train(network, config, chosen)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset", nargs="?", default="TINY", choices=PRESETS)
    parser.add_argument("--stage", choices=[*STAGES, "denoise"], help="only this one, in this process")
    parser.add_argument("--steps", type=int, help="timed steps; 5, and 1 at PAPER's size on a CPU")
    parser.add_argument("--batch-size", type=int, help="clips a step; one at PAPER's size on a CPU")
    parser.add_argument("--optimizer", choices=["auto", "adamw", "sgd"], default="auto")
    parser.add_argument("--encode", action="store_true", help="the VAE inside the step")
    return parser.parse_args()


def train(network: EMOConfig, config: TrainConfig, chosen: argparse.Namespace) -> None:
    """One stage's line."""
    device, stage = device_here(), STAGES[chosen.stage]
    size = chosen.batch_size or batch_size(config, chosen, device)
    cached = network.latent == "autoencoder_kl" and not chosen.encode
    rate, dtype = rate_of(config, device)
    precision, cpu = Precision(frozen=dtype), torch.device("cpu")
    with shapes_only():
        emo = ready(network, stage, config, cpu, precision, values=False)
        trained = sum(p.numel() for p in freeze(emo, stage).values())
        loss = loss_of(emo, config, stage, batch_of(network, stage, size, cpu, cached))
        done = operations(lambda: loss().backward())
    optimizer = chosen.optimizer
    if optimizer == "auto":
        optimizer = optimizer_that_fits(chosen.stage, trained, count(emo) - trained)
    peak = Peak(device)
    before = peak.now()
    emo = ready(network, stage, config, device, precision)
    weights = peak.now() - before
    step = step_of(emo, config, stage, batch_of(network, stage, size, device, cached), optimizer)
    peak.reset()
    timed = statistics.median(seconds(step, device, *runs(chosen, device)))
    bar = f" (bar: {BAR} GB)" if chosen.preset == "PAPER" and stage.video and device.type == "cpu" else ""
    print(
        f"{chosen.stage:7} batch {size:2}, {trained / 1e6:7.1f} M trained, {optimizer}: {timed:7.3f} s a step, "
        f"{size / timed:6.3f} clips/s, {done / 1e12:8.3f} TFLOP, {done / timed / rate:.2f} of the matrix rate "
        f"({rate / 1e12:.2f} TFLOP/s, {dtype}, {where(device)}); "
        f"peak {peak.highest() / GB:5.2f} GB{bar}, weights {weights / GB:.2f} GB, "
        f"{'latents made beforehand' if cached else 'pixels encoded in the step'}",
        flush=True,
    )


def batch_size(config: TrainConfig, chosen: argparse.Namespace, device: torch.device) -> int:
    """Clips a step where none is asked for."""
    if chosen.preset == "TINY":
        return config.of(chosen.stage).batch_size
    return GPU_BATCH if device.type == "cuda" else 1


def runs(chosen: argparse.Namespace, device: torch.device) -> tuple[int, int]:
    """(warm-up, timed) runs. The first step makes the optimizer's state."""
    slow = chosen.preset == "PAPER" and device.type == "cpu"
    return (1 if slow else 2), chosen.steps or (1 if slow else 5)


def rate_of(config: TrainConfig, device: torch.device) -> tuple[float, torch.dtype]:
    """FLOP/s of matrix products in training's precision, and that precision."""
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
    return matrix_rate(device, dtype), dtype


def optimizer_that_fits(stage: str, trained: int, frozen: int) -> str:
    """adamw, or sgd where weights, gradients and two moments alone exceed what is left of the memory."""
    need, have = 16 * trained + 2 * frozen, available()
    if need < 0.95 * have:
        return "adamw"
    print(
        f"{stage:7} AdamW wants {need / GB:.1f} GB before any activation ({trained / 1e9:.2f} billion trained "
        f"parameters, 16 bytes each), {have / GB:.1f} GB are free: plain SGD in its place, which keeps no state and "
        f"wants {(need - 8 * trained) / GB:.1f} GB",
        flush=True,
    )
    return "sgd"


@torch.no_grad()
def denoise(network: EMOConfig, config: TrainConfig, chosen: argparse.Namespace) -> None:
    """The line of one denoising step."""
    device, size = device_here(), chosen.batch_size or 1
    rate, dtype = rate_of(config, device)

    def prepared(device: torch.device, values: bool) -> tuple[Callable[[], FrameFeatures], Callable]:
        emo = fill(empty(network).requires_grad_(False).eval(), device, Precision(frozen=dtype), values)
        batch = batch_of(network, SPEED, size, device, cached=True)
        t = torch.full((size,), 500, device=device)
        encode = lambda: emo.encode_frames(batch["reference_latents"], batch["motion_latents"])  # noqa: E731
        given = [batch[name] for name in ("audio", "speed", "mask")]
        return encode, lambda features: emo(batch["pixels_latents"], t, features, *given)

    with shapes_only(), autocast(torch.device("cpu"), config):
        encode, step = prepared(torch.device("cpu"), values=False)
        features = encode()
        done = operations(lambda: step(features))
    peak = Peak(device)
    encode, step = prepared(device, values=True)
    peak.reset()
    with autocast(device, config):
        made = statistics.median(seconds(encode, device, *runs(chosen, device)))
        features = encode()
        timed = statistics.median(seconds(lambda: step(features), device, *runs(chosen, device)))
    side = network.image_size
    print(
        f"denoise {network.frames} frames of {side} x {side}: {timed:7.3f} s a step, {done / 1e12:8.3f} TFLOP, "
        f"{done / timed / rate:.2f} of the matrix rate ({rate / 1e12:.2f} TFLOP/s, {dtype}); features once a clip "
        f"{made:.3f} s, a step without them kept {(made + timed) / timed:.2f} times as long; "
        f"peak {peak.highest() / GB:.2f} GB",
        flush=True,
    )


if __name__ == "__main__":
    main()
