"""Checkpoints: folders in diffusers' layout, safetensors and JSON only, whole or not there.

model_index.json  PART/config.json  PART/diffusion_pytorch_model.safetensors  scheduler/  speed_buckets.json
provenance.json
training/{optimizer.safetensors, state.json}   only to go on training
training/newest.safetensors                    with an average of the weights: PART holds the average, this the newest
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emo_model.errors import UserError
from emo_model.networks.config import EMOConfig, SpeedBuckets
from emo_model.networks.emo import EMO, PARTS
from emo_model.train.optimizer import refuse_another, restored, saved

TENSORS = "diffusion_pytorch_model.safetensors"
NEWEST = "newest.safetensors"


def save(
    folder: Path,
    emo: EMO,
    scheduler: DDIMScheduler,
    provenance: Mapping[str, Any],
    optimizer: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    average: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a checkpoint folder under another name, then rename it: a kill leaves the old ones and no half one.

    average: of the trained parameters by name; it is what the parts then hold.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for name in _saved_parts(emo):
        (temporary / name).mkdir(parents=True)
        _write_json(temporary / name / "config.json", {"_class_name": type(_part(emo, name)).__name__})
        prefix = f"{name}."
        part = _part(emo, name).state_dict()
        part |= {n.removeprefix(prefix): t for n, t in (average or {}).items() if n.startswith(prefix)}
        save_file(_contiguous(part), temporary / name / TENSORS)
    _write_json(temporary / "model_index.json", {"_class_name": "EMO", "config": emo.config.model_dump(mode="json")})
    _write_json(temporary / "speed_buckets.json", emo.buckets.model_dump(mode="json"))
    _write_json(temporary / "provenance.json", dict(provenance))
    scheduler.save_pretrained(temporary / "scheduler")
    if optimizer is not None:
        (temporary / "training").mkdir()
        save_file(_contiguous(optimizer), temporary / "training" / "optimizer.safetensors")
        _write_json(temporary / "training" / "state.json", dict(state or {}))
        if average:
            newest = {name: tensor for name, tensor in emo.named_parameters() if name in average}
            save_file(_contiguous(newest), temporary / "training" / NEWEST)
    _sync(temporary)
    if folder.exists():  # the same step again, after a resume
        shutil.rmtree(folder)
    os.replace(temporary, folder)
    return folder


def load_network(folder: Path, buckets: SpeedBuckets | None = None) -> EMO:
    """EMO from a checkpoint folder; other speed buckets than its own where given. UserError where it is none."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"no checkpoint at {folder}: a folder with model_index.json is wanted; run: emo train --help")
    config = EMOConfig.model_validate(json.loads(index.read_text())["config"])
    buckets = buckets or SpeedBuckets.model_validate_json((folder / "speed_buckets.json").read_text())
    emo = EMO(config, buckets)
    for name in _saved_parts(emo):
        _part(emo, name).load_state_dict(load_file(folder / name / TENSORS))
    return emo.eval()


def load_training(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Optimizer tensors and the loop's state of a checkpoint folder."""
    state = json.loads((folder / "training" / "state.json").read_text())
    return load_file(folder / "training" / "optimizer.safetensors"), state


def newest_weights(folder: Path) -> dict[str, Tensor]:
    """The trained parameters as the optimizer left them, where the parts hold their average; else nothing."""
    path = folder / "training" / NEWEST
    return load_file(path) if path.is_file() else {}


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """AdamW's moments and step counts, by parameter name: `NAME:exp_avg`."""
    states = ((names[p], slot, value) for p, slots in optimizer.state.items() for slot, value in slots.items())
    return {f"{name}:{slot}": saved(slot, value) for name, slot, value in states}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], names: Mapping[nn.Parameter, str]
) -> None:
    """The way back; a parameter that had no gradient yet has no moments."""
    refuse_another(optimizer, {full.rsplit(":", 1)[1] for full in tensors})
    by_name = {name: parameter for parameter, name in names.items()}
    for full, value in tensors.items():
        name, slot = full.rsplit(":", 1)
        optimizer.state[by_name[name]][slot] = restored(slot, value, by_name[name])


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    return max(folder.glob("step-*"), default=None)


def keep_last(folder: Path, count: int, milestone: int = 0) -> None:
    """Remove all but the newest `count` checkpoints of a run; every `milestone`-th step stays for good."""
    for old in sorted(folder.glob("step-*"))[:-count]:
        if not milestone or int(old.name.removeprefix("step-")) % milestone:
            shutil.rmtree(old)


def remove(folder: Path) -> None:
    """Delete a checkpoint folder, whole or half."""
    shutil.rmtree(folder)


def part_hashes(emo: EMO) -> dict[str, str]:
    """sha256 of every part's tensors: what a stage freezes must come out the same."""
    return {name: _hash(_part(emo, name).state_dict()) for name in PARTS}


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _saved_parts(emo: EMO) -> tuple[str, ...]:
    return (*PARTS, "vae") if emo.config.latent == "autoencoder_kl" else PARTS


def _part(emo: EMO, name: str) -> nn.Module:
    return emo.latents.get_submodule("vae") if name == "vae" else getattr(emo, name)


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _sync(folder: Path) -> None:
    """On disk before the rename, so that a power cut cannot leave a named but empty checkpoint."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
