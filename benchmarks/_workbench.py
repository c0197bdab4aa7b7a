"""What the benches of the network share: sizes, networks that are never held twice, random batches, clocks, memory.

MIDDLE has PAPER's shape at 0.3 of its widths and half its side, for two cores and two gigabytes. Weights are random:
they change neither time nor memory.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from emo_model import diffusion
from emo_model.networks import gradient_checkpointing
from emo_model.networks.config import PAPER_NETWORK, TINY_NETWORK, EMOConfig
from emo_model.networks.emo import EMO
from emo_model.train.config import PAPER_TRAIN, TINY_TRAIN, TrainConfig
from emo_model.train.loop import freeze
from emo_model.train.objective import Objective, draw
from emo_model.train.stages import Stage

GB = 1e9
MIDDLE_NETWORK = PAPER_NETWORK.model_copy(
    update={"image_size": 256, "channels": (96, 192, 384, 384), "heads": 4, "vae_channels": (32, 64, 128, 128)}
)
PRESETS: dict[str, tuple[EMOConfig, TrainConfig]] = {
    "TINY": (TINY_NETWORK, TINY_TRAIN),
    "MIDDLE": (MIDDLE_NETWORK, PAPER_TRAIN),
    "PAPER": (PAPER_NETWORK, PAPER_TRAIN),
}


@dataclass(frozen=True)
class Precision:
    """Type of the weights, by what they are for."""

    trained: torch.dtype = torch.float32  # AdamW's master weights
    frozen: torch.dtype = torch.bfloat16
    float32: tuple[str, ...] = ()  # parts of EMO that stay so although they are frozen

    def of(self, part: str, module: nn.Module, parameter: nn.Parameter) -> torch.dtype:
        """Of one parameter of a part's module, which `freeze` has seen.

        Norms stay float32: a thousandth of the weights, and the CPU's norms refuse float32 maps otherwise.
        """
        if not isinstance(module, nn.Linear | nn.Conv2d) or (part in self.float32 and not parameter.requires_grad):
            return torch.float32
        return self.trained if parameter.requires_grad else self.frozen


OURS = Precision()


def empty(network: EMOConfig, kind: type[EMO] = EMO) -> EMO:
    """A network whose parameters are shapes alone."""
    with init_empty_weights(include_buffers=False):
        return kind(network)


def fill(emo: EMO, device: torch.device, precision: Precision, values: bool = True) -> EMO:
    """Parameters in their final type and place, one at a time: no copy in another type is ever there."""
    for path, module in emo.named_modules():
        for name, p in module._parameters.items():
            if p is not None:
                made = torch.empty(p.shape, dtype=precision.of(path.split(".")[0], module, p), device=device)
                module._parameters[name] = nn.Parameter(made, requires_grad=p.requires_grad)
        if values and hasattr(module, "reset_parameters"):
            module.reset_parameters()
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device) if values else torch.empty_like(buffer, device=device)
    return emo


def ready(
    network: EMOConfig,
    stage: Stage,
    config: TrainConfig,
    device: torch.device,
    precision: Precision,
    kind: type[EMO] = EMO,
    values: bool = True,
    temporal: bool = True,
) -> EMO:
    """A network as the training loop holds it in a stage. temporal: are Temporal Modules checkpointed, too? A peer's,
    or without them, the rest is by diffusers' own switch."""
    emo = empty(network, kind)
    freeze(emo, stage)
    fill(emo, device, precision, values)
    if config.gradient_checkpointing != "no":
        emo.train()
        if kind is EMO and temporal:
            emo.enable_gradient_checkpointing(config.gradient_checkpointing)
        else:
            stock_checkpointing(emo, temporal)
    return emo


def stock_checkpointing(emo: EMO, temporal: bool) -> None:
    """diffusers' own switch, and on Temporal Modules where asked. Blocks without attention, the smallest maps, are left
    out: diffusers recomputes their resnets without the hooks that Temporal Modules run in."""
    for unet in (emo.backbone.unet, emo.reference_net.unet):
        unet.enable_gradient_checkpointing()
        for block in (*unet.down_blocks, *unet.up_blocks):
            if not getattr(block, "has_cross_attention", False):
                block.gradient_checkpointing = False
    if temporal:
        gradient_checkpointing.enable(emo.temporal_modules)


def shapes_only() -> FakeTensorMode:
    """While this is open, tensors are types and shapes: every operation of a step at PAPER's size, and no memory."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def batch_of(network: EMOConfig, stage: Stage, size: int, device: torch.device, cached: bool) -> dict[str, Tensor]:
    """A random batch of the stage's contract (emo_model/train/objective.py); cached: latents instead of pixels."""
    frames, side = (network.frames if stage.video else 1), network.image_size
    around = frames + 2 * network.nearby
    picture = (network.latent_channels, network.latent_size, network.latent_size) if cached else (3, side, side)
    shapes = {
        "pixels": (size, frames, *picture),
        "reference": (size, *picture),
        "motion": (size, network.motion_frames, *picture),
        "audio": (size, around, network.audio_layers, network.audio_width),
        "speed": (size, around),
    }
    pictures = ("pixels", "reference", "motion")
    names = {name: f"{name}_latents" if cached and name in pictures else name for name in shapes}
    batch = {names[name]: torch.rand(shape, device=device) * 2 - 1 for name, shape in shapes.items()}
    return batch | {"speed": batch["speed"].abs(), "mask": torch.ones(size, 1, side, side, device=device)}


def optimizer_of(name: str, trained: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    """adamw as the training loop has it; sgd: without any state."""
    return (torch.optim.SGD if name == "sgd" else torch.optim.AdamW)(trained.values(), lr=1e-5)


def loss_of(emo: EMO, config: TrainConfig, stage: Stage, batch: dict[str, Tensor]) -> Callable[[], Tensor]:
    """The stage's loss on this batch, in the training loop's precision."""
    scheduler = diffusion.schedule(diffusion.RECIPES[config.noise])
    objective = Objective(emo, scheduler, stage, config)
    chance = draw(objective.latent_shape(batch), config, torch.Generator().manual_seed(0))

    def loss() -> Tensor:
        with autocast(batch["mask"].device, config):
            return objective(batch, chance).mean()

    return loss


def step_of(
    emo: EMO, config: TrainConfig, stage: Stage, batch: dict[str, Tensor], optimizer: str = "adamw"
) -> Callable[[], None]:
    """One optimizer step of the stage on this batch, as the training loop does it."""
    trained, loss = freeze(emo, stage), loss_of(emo, config, stage, batch)
    rule = optimizer_of(optimizer, trained)

    def step() -> None:
        loss().backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), config.gradient_norm)
        rule.step()
        rule.zero_grad(set_to_none=True)

    return step


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    """The training loop's precision on this device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.mixed_precision == "bf16")


def device_here() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def where(device: torch.device) -> str:
    """The device in words."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product: what this device does at best."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / statistics.median(seconds(lambda: a @ b, device, 2, 5))


def seconds(run: Callable[[], object], device: torch.device, warm_up: int, timed: int) -> list[float]:
    """Of each timed run."""
    found = []
    for _ in range(warm_up + timed):
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        found.append(time.perf_counter() - started)
    return found[warm_up:]


def synchronize(device: torch.device) -> None:
    """Wait for the device, where it runs behind."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of one run, those done twice for gradient checkpointing counted twice.

    To be called under `shapes_only`: the counter holds on to tensors, three times the memory of a step without it.
    """
    for direction in ("", "_backward"):  # torch's table lacks the CPU's attention
        gpu, cpu = "_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu"
        flop_registry[getattr(torch.ops.aten, cpu + direction)] = flop_registry[
            getattr(torch.ops.aten, gpu + direction)
        ]
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


class Peak:
    """Highest memory since `reset`: the GPU's, or this process's resident memory as Linux keeps it (VmHWM)."""

    def __init__(self, device: torch.device) -> None:
        self.gpu = device.type == "cuda"

    def reset(self) -> None:
        """Start again from what is held now."""
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def now(self) -> int:
        """Bytes held."""
        return torch.cuda.memory_allocated() if self.gpu else _status("VmRSS")

    def highest(self) -> int:
        """Bytes held at worst."""
        return torch.cuda.max_memory_allocated() if self.gpu else _status("VmHWM")


def available() -> int:
    """Bytes that this machine, or its GPU, still has to give."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable")


def _status(field: str) -> int:
    return _kilobytes(Path("/proc/self/status"), field)


def _kilobytes(path: Path, field: str) -> int:
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
