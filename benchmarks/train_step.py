"""Time, memory and matrix-rate share of one training step of each stage.

    python benchmarks/train_step.py            TINY (what two CPU cores train)
    python benchmarks/train_step.py PAPER      SD 1.5's sizes; wants a GPU with 80 GB for stage 1

Prints, for each stage, seconds a step (median), clips a second, peak memory, and the step's floating-point operations
(counted by torch) over what the same device does in large matrix products in the same run and precision: the ratio.
Weights are random, since they change nothing here. Pixels, sound and masks are random too.
"""

import statistics
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from emo_model import diffusion
from emo_model.networks.config import PAPER_NETWORK, TINY_NETWORK, EMOConfig
from emo_model.networks.emo import EMO, count
from emo_model.train.config import PAPER_TRAIN, TINY_TRAIN, TrainConfig
from emo_model.train.loop import freeze
from emo_model.train.objective import Objective, draw
from emo_model.train.stages import STAGES, Stage

PRESETS = {"TINY": (TINY_NETWORK, TINY_TRAIN, None), "PAPER": (PAPER_NETWORK, PAPER_TRAIN, 4)}
WARM_UP, TIMED = 2, 5


def batch_of(network: EMOConfig, stage: Stage, size: int, device: torch.device) -> dict:
    """A random batch of the stage's contract (emo_model/train/objective.py)."""
    frames, side = (network.frames if stage.video else 1), network.image_size
    around = frames + 2 * network.nearby
    batch = {
        "pixels": torch.rand(size, frames, 3, side, side) * 2 - 1,
        "reference": torch.rand(size, 3, side, side) * 2 - 1,
        "motion": torch.rand(size, network.motion_frames, 3, side, side) * 2 - 1,
        "mask": torch.ones(size, 1, side, side),
        "audio": torch.randn(size, around, network.audio_layers, network.audio_width),
        "speed": torch.rand(size, around),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product: what this device does at best."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / median_seconds(lambda: a @ b, device)


def median_seconds(run, device: torch.device) -> float:
    """Median of TIMED runs after WARM_UP."""
    seconds = []
    for _ in range(WARM_UP + TIMED):
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[WARM_UP:])


def synchronize(device: torch.device) -> None:
    """Wait for the device, where it runs behind."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(emo: EMO, config: TrainConfig, stage: Stage, batch: int, device: torch.device) -> tuple[float, int, float]:
    """(seconds a step, floating-point operations, peak bytes; 0 where the device does not count)."""
    trained = freeze(emo, stage)
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-5)
    objective = Objective(emo, diffusion.schedule(diffusion.RECIPES[config.noise]), stage, config)
    data = batch_of(emo.config, stage, batch, device)
    chance = draw(objective.latent_shape(data), config, torch.Generator().manual_seed(0))

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.mixed_precision == "bf16"):
            loss = objective(data, chance).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), config.gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with FlopCounterMode(display=False) as counter:
        step()
    seconds = median_seconds(step, device)
    return seconds, counter.get_total_flops(), torch.cuda.max_memory_allocated() if device.type == "cuda" else 0


def main() -> None:
    """Print one line a stage."""
    name = sys.argv[1] if len(sys.argv) > 1 else "TINY"
    network, config, batch = PRESETS[name]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
    rate = matrix_rate(device, dtype)
    with device:
        emo = EMO(network)
    if config.gradient_checkpointing:
        emo.enable_gradient_checkpointing()
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}: {count(emo) / 1e6:.1f} M parameters on {where}; {dtype}, matrix rate {rate / 1e12:.2f} TFLOP/s")
    for stage in STAGES.values():
        size = batch or config.of(stage.name).batch_size
        try:
            seconds, operations, peak = measure(emo, config, stage, size, device)
        except torch.OutOfMemoryError:
            print(f"{stage.name:6} batch {size:3}: does not fit on this device")
            continue
        memory = f"{peak / 2**30:5.1f} GiB" if peak else "memory not counted"
        share = operations / seconds / rate
        print(
            f"{stage.name:6} batch {size:3}: {seconds:7.3f} s a step, {size / seconds:6.2f} clips/s, "
            f"{operations / 1e12:8.3f} TFLOP, {memory}, {share:.2f} of the matrix rate"
        )


if __name__ == "__main__":
    main()
