"""Which stage fits on 24, 40 and 80 GB: weights, gradients, optimizer state, average and activations at PAPER size.

    python benchmarks/memory.py              PAPER, latents made beforehand
    python benchmarks/memory.py --encode     the VAE in the step
    python benchmarks/memory.py MIDDLE

How it knows. Weights, gradients, optimizer state and average are counted on a network of shapes alone. Activations are
counted too, not modelled: forward and backward pass of the training loop's objective run on fake tensors (torch's
FakeTensorMode: types and shapes go through every kernel, a GPU's autocast and gradient checkpointing included, numbers
do not), on two clips and on three, and every storage is followed from its making to its end. The highest sum is what a
step needs beyond what is there all the time. tests/benchmarks/test_memory.py holds it against a process's real memory.

Bytes a trained parameter: weight 4, gradient 4, AdamW's moments 8 (8-bit: 2, and a scale a 256 of each), average 4, and
4 that AdamW's `foreach` takes during its step. Bytes a frozen one: 2. Shared over N GPUs: gradients, moments and
average with ZeRO-2; with FSDP trained weights too, but for emo_model/train/sharding.py's two largest units and what is
in none, which are whole while they compute. 8-bit moments are not shared. Every GPU keeps its own activations.

Not counted: the CUDA context, cuDNN's workspace, the allocator's gaps. A tenth of a card is left free for them.
"""

import argparse
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from _workbench import GB, OURS, PRESETS, Precision, batch_of, empty, loss_of, ready, shapes_only
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from emo_model.networks.config import EMOConfig
from emo_model.networks.emo import EMO
from emo_model.train.config import TrainConfig
from emo_model.train.loop import freeze
from emo_model.train.sharding import units
from emo_model.train.stages import STAGES, Stage

CARDS = (24, 40, 80)  # GB
ROOM = 0.9  # of a card, for tensors
MOMENTS = {"AdamW": 8.0, "8-bit AdamW": 2 + 2 * 4 / 256}  # bytes a trained parameter
IN_ITS_STEP = {"AdamW": 4.0, "8-bit AdamW": 0.0}
GPUS = (1, 2, 4, 8)
MOST = 256  # clips a GPU that are tried


class Held(TorchDispatchMode):
    """While this is open, the bytes of every storage made: `moments` of (gradients, all else) at each new high."""

    def __init__(self) -> None:
        super().__init__()
        self.gradients = self.other = 0
        self.moments: list[tuple[int, int]] = []
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        for given in _storages((args, kwargs)):
            self._known[given] = True  # what was there before is not ours; what is ours is known already
        found = function(*args, **(kwargs or {}))
        for made in _storages(found):
            if made not in self._known:
                self._follow(made)
        return found

    def keeps(self, parameter: nn.Parameter) -> None:
        """Hook: this parameter's gradient is there, to stay."""
        size = parameter.grad.untyped_storage().nbytes()
        self.gradients, self.other = self.gradients + size, self.other - size

    def highest(self) -> int:
        """Bytes at worst."""
        return max(gradients + other for gradients, other in self.moments)

    def _follow(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known[storage] = True
        self.other += size
        self.moments.append((self.gradients, self.other))
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.other -= size


def _storages(value: object) -> Iterator[torch.UntypedStorage]:
    return (leaf.untyped_storage() for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Autocast's policy where a GPU's differs from the CPU's for what EMO calls: norms take and give float32."""
    layer_norm, group_norm = nn.functional.layer_norm, nn.functional.group_norm
    with (
        patch("torch.nn.functional.layer_norm", lambda x, *rest: layer_norm(x.float(), *rest)),
        patch("torch.nn.functional.group_norm", lambda x, *rest: group_norm(x.float(), *rest)),
    ):
        yield


def held_by_a_step(
    network: EMOConfig,
    config: TrainConfig,
    stage: Stage,
    size: int,
    cached: bool,
    gpu: bool = True,
    precision: Precision = OURS,
    **how: Any,
) -> Held:
    """Forward and backward pass on fake tensors, followed. how: as `ready` takes it."""
    here = torch.device("cpu")
    with shapes_only(), as_on_a_gpu() if gpu else nullcontext():
        emo = ready(network, stage, config, here, precision, values=False, **how)
        loss = loss_of(emo, config, stage, batch_of(network, stage, size, here, cached))
        held = Held()
        for parameter in freeze(emo, stage).values():
            parameter.register_post_accumulate_grad_hook(held.keeps)
        with held:
            loss().backward()
    return held


@dataclass(frozen=True)
class Need:
    """What a stage needs, in bytes."""

    trained: int  # parameters
    frozen: int
    whole: int  # trained parameters that stand whole at once where weights are shared
    two: Held  # a step on two clips
    three: Held

    def step(self, gpus: int, size: int) -> float:
        """Bytes that a step holds at worst. Between the same two operations activations grow by the clip, gradients
        not; one clip is not asked itself, because dimensions of one let torch leave copies out."""
        if len(self.two.moments) != len(self.three.moments):
            raise ValueError(
                "a step on two clips and one on three make different storages: nothing to extrapolate from"
            )
        (gradients, two), (_, three) = (np.array(held.moments, float).T for held in (self.two, self.three))
        return float((gradients / gpus + two + (size - 2) * (three - two)).max())

    def total(self, optimizer: str, gpus: int, size: int, share_weights: bool = False) -> float:
        """Bytes on each of so many GPUs, `size` clips each."""
        here = self.trained / gpus + self.whole if share_weights else self.trained
        always = 4 * here + 2 * self.frozen + (MOMENTS[optimizer] + 4) * self.trained / gpus
        update = (4 + IN_ITS_STEP[optimizer]) * self.trained / gpus
        return always + max(self.step(gpus, size), update)

    def clips(self, card: int, optimizer: str, gpus: int, share_weights: bool = False) -> int:
        """The largest micro-batch that fits on a card; 0: none."""
        needs = lambda size: self.total(optimizer, gpus, size, share_weights)  # noqa: E731
        return bisect_right(range(1, MOST + 1), ROOM * card * GB, key=needs)


def need(network: EMOConfig, config: TrainConfig, stage: Stage, cached: bool) -> Need:
    """Count one stage."""
    emo = empty(network)
    trained = sum(p.numel() for p in freeze(emo, stage).values())
    used = [emo.get_submodule(part) for part in _used(emo, stage, cached)]
    held = [held_by_a_step(network, config, stage, size, cached) for size in (2, 3)]
    everything = sum(p.numel() for module in used for p in module.parameters())
    return Need(trained, everything - trained, _whole(emo), *held)


def _used(emo: EMO, stage: Stage, cached: bool) -> list[str]:
    """Parts that the stage runs: another one need not be on the GPU."""
    parts = ["backbone", "reference_net", "face_locator", *(() if cached else ("latents",))]
    parts += ["temporal_modules"] if stage.video else []
    return parts + [f"{name}_layers" for name in ("audio", "speed") if name in stage.reads]


def _whole(emo: EMO) -> int:
    sizes = sorted(_learns(unit) for unit in units(emo))
    return _learns(emo) - sum(sizes) + sum(sizes[-2:])


def _learns(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def main() -> None:
    """Print a table a stage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset", nargs="?", default="PAPER", choices=PRESETS)
    parser.add_argument("--encode", action="store_true", help="the VAE inside the step")
    chosen = parser.parse_args()
    network, config = PRESETS[chosen.preset]
    for name, stage in STAGES.items():
        found = need(network, config, stage, cached=not chosen.encode)
        one, two = found.step(gpus=10**9, size=1), found.step(gpus=10**9, size=2)
        print(
            f"\n{name}: {found.trained / 1e6:.0f} M trained, {found.frozen / 1e6:.0f} M frozen. GB: weights "
            f"{(4 * found.trained + 2 * found.frozen) / GB:.1f}, gradients {4 * found.trained / GB:.1f}, AdamW "
            f"{MOMENTS['AdamW'] * found.trained / GB:.1f} (8-bit {MOMENTS['8-bit AdamW'] * found.trained / GB:.1f}), "
            f"average {4 * found.trained / GB:.1f}, activations {one / GB:.1f} for one clip and {(two - one) / GB:.1f} "
            "for another"
        )
        print(f"{'':30}{'GB for 1 clip':>14}   clips a GPU that fit on {', '.join(f'{card} GB' for card in CARDS)}")
        for optimizer in MOMENTS:
            for gpus in GPUS if optimizer == "AdamW" else GPUS[:1]:
                for how, shared in (("ZeRO-2", False), ("FSDP", True)) if gpus > 1 else (("", False),):
                    total = found.total(optimizer, gpus, 1, shared)
                    fit = "".join(f"{found.clips(card, optimizer, gpus, shared) or '-':>7}" for card in CARDS)
                    title = f"{optimizer}, {gpus} GPU{'s' * (gpus > 1)} {how}"
                    print(f"  {title:28}{total / GB:14.1f}   {fit}", flush=True)


if __name__ == "__main__":
    main()
