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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import DDIMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emo_model import diffusion
from emo_model.errors import UserError
from emo_model.networks.config import EMOConfig, SpeedBuckets
from emo_model.networks.emo import EMO, PARTS
from emo_model.train.optimizer import Optimizer, refuse_another, restored, saved
from emo_model.train.sharding import whole

TENSORS = "diffusion_pytorch_model.safetensors"
NEWEST = "newest.safetensors"
# What reading a checkpoint raises that a power cut or a bad disk has cut short or that lacks a file.
DAMAGED = (OSError, SafetensorError, ValueError, KeyError)


class Damaged(UserError):
    """A checkpoint that is there but cannot be read whole."""

    def __init__(self, folder: Path, error: Exception) -> None:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        super().__init__(f"checkpoint {folder} is damaged: {reason}; start from another one, run: emo train --help")


class NotSaved(UserError):
    """A checkpoint could not be written; nothing of it stays, and the ones before are as they were."""

    def __init__(self, folder: Path, error: Exception) -> None:
        whole = latest(folder.parent)
        stays = f"the last whole one is {whole}" if whole else "there is none before it"
        super().__init__(f"{folder} could not be saved: {error}; {stays}; make room, then run the same command")


def save(
    folder: Path,
    emo: EMO,
    scheduler: DDIMScheduler,
    provenance: Mapping[str, Any],
    newest: Mapping[str, Tensor] | None = None,
    average: Mapping[str, Tensor] | None = None,
    optimizer: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
    unchanged: Mapping[str, Path] | None = None,
) -> Path:
    """Write a checkpoint folder under another name, then rename it: a kill leaves the old ones and no half one.

    unchanged: checkpoint folders that hold a part as it is, frozen: its file is linked, not written again.
    newest: the trained parameters by name; None: the network's own. average: theirs, where one is kept; it is what the
    parts then hold, and the newest lie beside it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write_parts(temporary, emo, average or newest or {}, unchanged or {})
        _write_json(
            temporary / "model_index.json", {"_class_name": "EMO", "config": emo.config.model_dump(mode="json")}
        )
        _write_json(temporary / "speed_buckets.json", emo.buckets.model_dump(mode="json"))
        _write_json(temporary / "provenance.json", dict(provenance))
        scheduler.save_pretrained(temporary / "scheduler")
        if optimizer is not None:
            (temporary / "training").mkdir()
            save_file(_contiguous(optimizer), temporary / "training" / "optimizer.safetensors")
            _write_json(temporary / "training" / "state.json", dict(state or {}))
            if average and newest:
                save_file(_contiguous(newest), temporary / "training" / NEWEST)
        _sync(temporary)
        os.replace(temporary, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk has room again for who goes on
        raise NotSaved(folder, error) from error
    _sync_entry(folder.parent)
    return folder


def _write_parts(folder: Path, emo: EMO, trained: Mapping[str, Tensor], unchanged: Mapping[str, Path]) -> None:
    for name in saved_parts(emo):
        (folder / name).mkdir(parents=True)
        _write_json(folder / name / "config.json", {"_class_name": type(_part(emo, name)).__name__})
        if name in unchanged:
            _link(unchanged[name] / name / TENSORS, folder / name / TENSORS)
            continue
        prefix = f"{name}."
        part = _part(emo, name).state_dict()
        part |= {n.removeprefix(prefix): t for n, t in trained.items() if n.startswith(prefix)}
        save_file(_contiguous(part), folder / name / TENSORS)


def _link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system cannot (another disk, no links)."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def load_network(folder: Path, buckets: SpeedBuckets | None = None) -> EMO:
    """EMO from a checkpoint folder; other speed buckets than its own where given. UserError where it is none."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"no checkpoint at {folder}: a folder with model_index.json is wanted; run: emo train --help")
    try:
        config = EMOConfig.model_validate(json.loads(index.read_text())["config"])
        buckets = buckets or SpeedBuckets.model_validate_json((folder / "speed_buckets.json").read_text())
        with init_empty_weights():  # the files' tensors become the parameters: one copy of them in memory, not two
            emo = EMO(config, buckets)
        for name in saved_parts(emo):
            _put(_part(emo, name), load_file(folder / name / TENSORS))
    except DAMAGED as error:
        raise Damaged(folder, error) from error
    return emo.eval()


def _put(part: nn.Module, tensors: dict[str, Tensor]) -> None:
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in part.state_dict().items()}:
        raise ValueError(f"{type(part).__name__}'s tensors are not those of its configuration")
    part.load_state_dict(tensors, assign=True)


@dataclass(frozen=True)
class Saved:
    """A checkpoint to go on from."""

    folder: Path
    emo: EMO  # what it offers
    scheduler: DDIMScheduler
    newest: dict[str, Tensor]  # the trained parameters as the optimizer left them, where the parts hold their average
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def network(self) -> tuple[EMO, DDIMScheduler, Path]:
        """The network, its scheduler, and where both lie."""
        return self.emo, self.scheduler, self.folder


def load(folder: Path) -> Saved:
    """All of a checkpoint of a run. Damaged where anything of it cannot be read."""
    emo = load_network(folder)
    try:
        state, provenance = (json.loads((folder / n).read_text()) for n in ("training/state.json", "provenance.json"))
        newest = folder / "training" / NEWEST
        return Saved(
            folder,
            emo,
            diffusion.load_schedule(folder),
            load_file(newest) if newest.is_file() else {},
            load_file(folder / "training" / "optimizer.safetensors"),
            state,
            provenance,
        )
    except (*DAMAGED, UserError) as error:
        raise Damaged(folder, error) from error


def optimizer_tensors(optimizer: Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """Moments and step counts, by parameter name: `NAME:exp_avg`."""
    states = ((names[p], slot, value) for p, slots in optimizer.state.items() for slot, value in slots.items())
    return {f"{name}:{slot}": saved(slot, value) for name, slot, value in states}


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], names: Mapping[nn.Parameter, str]) -> None:
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
    """sha256 of every part's tensors: what a stage freezes must come out the same. Every rank must ask."""
    return {name: tensors_sha256(_part(emo, name).state_dict()) for name in PARTS}


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Of names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(whole(tensors[name].detach()).cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def saved_parts(emo: EMO) -> tuple[str, ...]:
    """The folders of weights in a checkpoint."""
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


def _sync_entry(folder: Path) -> None:
    """A rename is on disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
