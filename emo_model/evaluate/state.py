"""Published weights into our modules: read without running code, every key and shape asked for."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from emo_model.errors import UserError

Network = TypeVar("Network", bound=nn.Module)


def read_state(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a torch file, or of its entry `key`. UserError on anything but a table of tensors."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path} could not be read as weights: {str(error).splitlines()[0]}") from error
    if key is not None and isinstance(content, Mapping):
        if key not in content:
            raise UserError(f"{path} holds no {key}, only: {', '.join(map(str, content))}")
        content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no table of tensors")
    return dict(content)


def loaded(network: Network, state: Mapping[str, Tensor], path: Path) -> Network:
    """The network with these weights, frozen and in evaluation mode.

    UserError naming the first keys that are missing, unexpected or of another shape. Only num_batches_tracked may
    be missing: files older than that count have none, and evaluation does not use it.
    """
    wanted = network.state_dict()
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    faults = [
        f"{name} {keys[0]} and {len(keys) - 1} more" if len(keys) > 1 else f"{name} {keys[0]}"
        for name, keys in (("missing", missing), ("unexpected", [k for k in state if k not in wanted]))
        if keys
    ]
    faults += [f"{k} is {tuple(v.shape)}, wanted {tuple(wanted[k].shape)}"
               for k, v in state.items() if k in wanted and v.shape != wanted[k].shape][:1]  # fmt: skip
    if faults:
        raise UserError(f"{path} is not {type(network).__name__}: {'; '.join(faults)}")
    network.load_state_dict(dict(state), strict=False)
    return network.eval().requires_grad_(False)
