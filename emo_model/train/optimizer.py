"""AdamW in two sizes: torch's with float32 moments, or bitsandbytes' with 8 bits a moment (Dettmers et al. 2022).

A moment of 8 bits has a float32 scale every 256 numbers; tensors of fewer than 4096 numbers keep float32. bitsandbytes
holds these states as plain tensors, on the CPU as on CUDA; torchao's tensor subclasses safetensors cannot save.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from emo_model.errors import UserError
from emo_model.train.config import TrainConfig

Groups = Iterable[Mapping[str, Any]]


def adamw(groups: Groups, rate: float, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer a run asks for. UserError where its library is missing."""
    kinds = {"adamw": lambda: torch.optim.AdamW, "adamw_8bit": _bitsandbytes}
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
        return value.to(parameter.device)
    return value if value.is_floating_point() else int(value)


def refuse_another(optimizer: torch.optim.Optimizer, slots: set[str]) -> None:
    """UserError where a checkpoint's states are the other optimizer's: they would be read as nothing."""
    kinds = {"adamw": "exp_avg", "adamw_8bit": "state1"}
    now = "adamw" if isinstance(optimizer, torch.optim.AdamW) else "adamw_8bit"
    found = [kind for kind, slot in kinds.items() if slot in slots]
    if found and found != [now]:
        raise UserError(
            f"this run was begun with optimizer {found[0]}, and {now} cannot read its states; "
            f"run: emo train --set optimizer={found[0]}"
        )
