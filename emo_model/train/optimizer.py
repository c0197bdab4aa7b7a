"""AdamW in two sizes, torch's with float32 moments or bitsandbytes' with 8 bits a moment (Dettmers et al. 2022), and
Muon (Jordan et al. 2024), with which small networks need fewer steps (emo_model/LOG.md).

A moment of 8 bits has a float32 scale every 256 numbers; tensors of fewer than 4096 numbers keep float32. bitsandbytes
holds these states as plain tensors, on the CPU as on CUDA; torchao's tensor subclasses safetensors cannot save.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from emo_model.errors import UserError
from emo_model.train.config import TrainConfig
from emo_model.train.sharding import part_of

Groups = Iterable[Mapping[str, Any]]


class Matrices(torch.optim.Optimizer):
    """torch.optim.Muon in float32, all matrices of a shape at once; a convolution's filters are its matrix's rows.

    torch steps them one by one in bfloat16, which a CPU without such instructions emulates: half of a small network's
    training step (emo_model/LOG.md). Steps are as large as AdamW's: Liu et al. 2025, "Muon is scalable", section 2.2.
    """

    def __init__(self, groups: Groups, rate: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": rate, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in (p for p in group["params"] if p.grad is not None):
                state, gradient = self.state[parameter], parameter.grad
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(gradient)
                buffer = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
                ahead = gradient.lerp(buffer, group["momentum"])  # Nesterov's
                by_shape.setdefault(parameter.shape, []).append((parameter, ahead.flatten(1)))
            for shape, each in by_shape.items():
                steps = orthogonal(torch.stack([ahead for _, ahead in each]))
                size = group["lr"] * 0.2 * max(steps.shape[1:]) ** 0.5
                for (parameter, _), step in zip(each, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(step.reshape(shape), alpha=-size)


def orthogonal(matrices: Tensor) -> Tensor:
    """(K, A, B) -> the same with singular values of about 1: five of Newton and Schulz's steps (Jordan et al. 2024)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    """Muon for matrices and convolutions, as one optimizer with torch's AdamW for all else.

    Its steps are scaled to be as large as AdamW's would be (Liu et al. 2025, "Muon is scalable"), so both share a rate.
    """

    def __init__(self, groups: Groups, rate: float, **adamw: Any) -> None:
        def split(matrices: bool) -> list[dict[str, Any]]:
            return [{**group, "params": [p for p in group["params"] if (p.ndim > 1) == matrices]} for group in groups]

        self._both = (
            Matrices(split(True), rate, adamw["weight_decay"]),
            torch.optim.AdamW(split(False), rate, **adamw),
        )
        self.param_groups = [group for each in self._both for group in each.param_groups]
        self.state = self._both[1].state = self._both[0].state  # by parameter, and no parameter is in both

    def step(self) -> None:
        """One step of both."""
        for each in self._both:
            each.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's."""
        for each in self._both:
            each.zero_grad(set_to_none)


Optimizer: TypeAlias = torch.optim.Optimizer | Muon


def build(groups: Groups, rate: float, config: TrainConfig) -> Optimizer:
    """The optimizer a run asks for. UserError where its library is missing or cannot do it."""
    if config.optimizer != "adamw" and config.shard != "no":
        raise UserError(
            f"{config.optimizer} cannot be shared out over ranks; run: emo train --set shard=no, "
            "or --set optimizer=adamw"
        )
    kinds = {"adamw": lambda: torch.optim.AdamW, "adamw_8bit": _bitsandbytes, "muon": lambda: Muon}
    return kinds[config.optimizer]()(
        list(groups), rate, betas=(0.9, config.beta2), eps=1e-8, weight_decay=config.weight_decay
    )


def _bitsandbytes() -> type[torch.optim.Optimizer]:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            "optimizer adamw_8bit wants bitsandbytes, which is not installed; run: pip install 'open-emo[adamw8bit]' "
            "(pip install --no-deps 'bitsandbytes>=0.50,<0.51' in an environment of the lock)"
        ) from None
    return AdamW8bit


def saved(slot: str, value: Tensor | int) -> Tensor:
    """One of a parameter's states as a tensor that shares its memory with no other, as safetensors want it:
    bitsandbytes counts steps in an int and hands every parameter the same table of its 256 values (qmap)."""
    value = torch.as_tensor(value)
    return value.clone() if slot.startswith("qmap") else value


def restored(slot: str, value: Tensor, parameter: nn.Parameter) -> Tensor | int:
    """The way back, in its own precision; torch counts steps in a float on the CPU, bitsandbytes in an int."""
    if slot != "step":
        return part_of(value, parameter)
    return value if value.is_floating_point() else int(value)


def refuse_another(optimizer: Optimizer, slots: set[str]) -> None:
    """UserError where a checkpoint's states are another optimizer's: they would be read as nothing."""
    now = (
        "muon" if isinstance(optimizer, Muon) else "adamw" if isinstance(optimizer, torch.optim.AdamW) else "adamw_8bit"
    )
    kinds = {"momentum_buffer": "muon", "state1": "adamw_8bit", "exp_avg": "adamw"}  # Muon's has AdamW's slots as well
    found = next((kind for slot, kind in kinds.items() if slot in slots), now)
    if found != now:
        raise UserError(
            f"this run was begun with optimizer {found}, and {now} cannot read its states; "
            f"run: emo train --set optimizer={found}"
        )
