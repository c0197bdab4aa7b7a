"""One loop for all three stages (sections 3.3 and 4.1): batch, loss, step; saves, resumes, stops when told.

A step depends on nothing but the weights, the optimizer and (seed, step), so a resumed run repeats an uninterrupted one
bit for bit on the CPU. `run_dir` holds progress.jsonl (a line a step), summary.json, clips.parquet (the manifest it
learns from), start/ (the weights before the first step, where no checkpoint gave them), checkpoints/step-NNNNNNN and
samples/step-NNNNNNN.
"""

import json
import math
import os
import signal
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import gather_object
from diffusers import DDIMScheduler
from torch import Tensor, nn

from emo_model import diffusion
from emo_model.data.store import write_text
from emo_model.errors import UserError, disk_errors_told
from emo_model.networks.config import EMOConfig
from emo_model.networks.emo import EMO, PARTS, seeded
from emo_model.networks.half import frozen_in_half
from emo_model.networks.weights import zero_started
from emo_model.train import checkpoint, stages
from emo_model.train import optimizer as optimizers
from emo_model.train.augment import recoloured
from emo_model.train.compiling import compile_repeated, uncompiled
from emo_model.train.config import RunSpec, StageTraining, TrainConfig
from emo_model.train.noise import with_recipe_of_start
from emo_model.train.objective import Objective, draw, fixed_draw
from emo_model.train.optimizer import Optimizer
from emo_model.train.run_folder import STOPS, Interruption, Progress, locked, peak_bytes
from emo_model.train.samples import sample
from emo_model.train.sharding import forget_whole, gathered, local, part_of, share_out, usable_alone, whole

Report = Callable[[dict[str, Any]], None]
RANKS_WAIT = timedelta(minutes=30)  # for each other: one saves while the others stand in the next step; NCCL's is 10


class Clips(Protocol):
    """What the loop wants of a dataset (emo_model/data/dataset.py); Objective documents the batch."""

    def batch(self, step: int, batch_size: int) -> dict[str, Any]:
        """A batch that depends on (seed, step) alone."""

    def fixed_batches(self, count: int, batch_size: int) -> list[dict[str, Any]]:
        """The same batches every time, for validation."""


class LossStopped(UserError):
    """The loss is not finite or has exploded; the last checkpoint is as it was."""


class Interrupted(Exception):
    """SIGTERM, SIGINT or SIGHUP came: the step was finished and saved."""

    def __init__(self, signal_number: int, saved: Path) -> None:
        super().__init__(f"stopped by signal {signal_number}; saved {saved}; run the same command to go on")
        self.made_of = signal_number, saved
        self.exit_code = 128 + signal_number  # 143, 130 or 129, as shells report them

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int, Path]]:
        return Interrupted, self.made_of


@dataclass
class Run:
    """What a stage's run works with."""

    spec: RunSpec
    stage: stages.Stage
    config: TrainConfig
    numbers: StageTraining
    accelerator: Accelerator
    emo: EMO
    scheduler: DDIMScheduler
    objective: nn.Module
    optimizer: Optimizer
    names: dict[nn.Parameter, str]
    average: dict[str, Tensor]  # of the trained parameters; empty: none is kept
    done: int  # steps of the run so far
    frozen: Path  # checkpoint folder that holds the frozen parts as they are

    @property
    def checkpoints(self) -> Path:
        return self.spec.run_dir / "checkpoints"


def train(
    spec: RunSpec,
    report: Report = lambda row: None,
    *,
    network: EMOConfig | None = None,
    config: TrainConfig | None = None,
    stage: stages.Stage | None = None,
    dataset: Clips | None = None,
    heldout: Clips | None = None,
) -> Path:
    """Train one stage; returns its last checkpoint folder. The same call again resumes, or returns at once if done.

    report gets each line of progress.jsonl. stage: another one under the same name, as an ablation. UserError where the
    run folder is in use, the start checkpoint is of the wrong stage or the loss explodes (LossStopped); Interrupted
    after a signal.
    """
    if network is None or config is None:
        from emo_model.config import preset

        chosen = preset(spec.preset)
        network, config = network or chosen.network, config or chosen.train
    config = with_recipe_of_start(spec, spec.config(config))
    if spec.threads:
        torch.set_num_threads(spec.threads)
    with _owned(spec.run_dir), Interruption() as interruption:
        run = _prepare(spec, stage or stages.stage(spec.stage), network, config)
        data = {"train": dataset or _clips(spec, spec.manifest, "clips", run.emo.config)}
        if heldout is not None:
            data["heldout"] = heldout
        elif spec.heldout is not None:
            data["heldout"] = _clips(spec, spec.heldout, "held_out_clips", run.emo.config)
        if run.config.cache_latents:
            _encode_clips(run, data["train"], interruption)
        return _run(run, data, report, interruption)


def _encode_clips(run: Run, clips: Clips, interruption: Interruption) -> None:
    from emo_model.data.dataset import ClipDataset
    from emo_model.train.latents import encode_clips

    if not isinstance(clips, ClipDataset):
        raise UserError("cache_latents wants clips on disk; run: emo train --set cache_latents=false")
    if run.numbers.recolour:
        raise UserError(
            "recolour changes the pixels of every step, and cache_latents makes latents of them once; "
            "run: emo train --set cache_latents=false, or --set recolour=false"
        )
    encode_clips(run.emo, clips, run.accelerator, lambda: bool(interruption.signal))
    if stopped := _told_to_stop(run, interruption):
        raise Interrupted(stopped, run.spec.run_dir)


def _owned(run_dir: Path) -> AbstractContextManager[None]:
    """The run folder is the first rank's; the others belong to it."""
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=RANKS_WAIT)
    return locked(run_dir) if state.is_main_process else nullcontext()


def _run(run: Run, data: Mapping[str, Clips], report: Report, interruption: Interruption) -> Path:
    folder, main, done = run.checkpoints, run.accelerator.is_main_process, run.done
    progress = Progress(run.spec.run_dir, keep=done) if main else None
    summary = _resumed(run) or _begin(run, data)
    run.accelerator.wait_for_everyone()
    started = time.perf_counter()
    with closing(_batches(run, data["train"], done)) as batches:
        for step in range(done + 1, run.numbers.steps + 1):
            row = _step(run, batches, step)
            if run.config.validate_every and step % run.config.validate_every == 0:
                row |= {f"loss_{name}": validate(run, clips) for name, clips in data.items()}
            if progress is not None:
                progress.append(row)
                report(row)
            last, stopped = step == run.numbers.steps, _told_to_stop(run, interruption)
            if last or stopped or step % run.config.checkpoint_every == 0:
                _save(run, step)
            if run.config.sample_every and step % run.config.sample_every == 0 and not stopped:
                _sample(run, data, step, lambda: interruption.signal)
            if stopped and not last:
                run.accelerator.wait_for_everyone()  # who starts ranks takes the first to end for a failure of all
                raise Interrupted(stopped, folder / _name(step))
    final = folder / _name(run.numbers.steps)
    if summary.get("loss_end") is None or done < run.numbers.steps:
        _finish(run, data, summary, final, time.perf_counter() - started)
    return final


def _told_to_stop(run: Run, interruption: Interruption) -> int:
    """The signal that any rank got, known to all: they stop after the same step."""
    if run.accelerator.num_processes == 1:
        return interruption.signal
    told = torch.tensor([interruption.signal], device=run.accelerator.device)
    return int(run.accelerator.gather(told).max())


def _prepare(spec: RunSpec, stage: stages.Stage, network: EMOConfig, config: TrainConfig) -> Run:
    numbers = config.of(stage.name)
    # The tail of ReferenceNet gives no map and gets no gradient. As a view: else a second copy of all gradients.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True, gradient_as_bucket_view=True)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # else accelerate takes several ranks on CPUs for one each
        mixed_precision=config.mixed_precision,
        kwargs_handlers=[parallel],
    )
    saved = _newest(spec, accelerator)
    emo, scheduler, start = _started(spec, stage, network, config, accelerator) if saved is None else saved.network
    _refuse_other_sizes(emo.config, network, start)
    _refuse_other_run(spec, numbers, saved)
    freeze(emo, stage)
    if config.mixed_precision == "bf16":
        frozen_in_half(emo)
    if config.compile != "no" and config.gradient_checkpointing == "selective":
        raise UserError(
            "selective checkpointing chooses among operations, which a compiled block no longer shows; "
            f"run: emo train --set compile={config.compile} --set gradient_checkpointing=full"
        )
    compile_repeated(emo, config.compile)
    if config.gradient_checkpointing != "no":
        # Behind it: what is recomputed is then the compiled block.
        emo.enable_gradient_checkpointing(config.gradient_checkpointing)
    objective = Objective(emo, scheduler, stage, config)
    if config.shard == "no" or accelerator.num_processes == 1:
        objective = accelerator.prepare_model(objective)
    else:
        share_out(objective, accelerator, keep_weights=config.shard == "zero2")
    trained = _learning(emo)
    optimizer = optimizers.build(_groups(emo, stage, trained, numbers), numbers.learning_rate, config)
    names = {parameter: name for name, parameter in trained.items()}
    # A checkpoint offers the average; the newest weights, which learn, lie beside it.
    average = {name: p.detach().clone() for name, p in trained.items()} if config.ema_decay else {}
    if saved is not None:
        with torch.no_grad():
            for name, tensor in saved.newest.items():
                trained[name].copy_(part_of(tensor, trained[name]))
        checkpoint.restore_optimizer(optimizer, saved.optimizer, names)
    done = 0 if saved is None else saved.state["step"]
    return Run(
        spec, stage, config, numbers, accelerator, emo, scheduler, objective, optimizer, names, average, done, start
    )


def freeze(emo: EMO, stage: stages.Stage) -> dict[str, nn.Parameter]:
    """Let exactly the stage's parts learn; returns their parameters by name."""
    emo.requires_grad_(False)
    for part in stage.trains:
        getattr(emo, part).requires_grad_(True)
    return _learning(emo)


def _learning(emo: EMO) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in emo.named_parameters() if parameter.requires_grad}


def _groups(
    emo: EMO, stage: stages.Stage, trained: Mapping[str, nn.Parameter], numbers: StageTraining
) -> list[dict[str, Any]]:
    new = {parameter for name, parameter in trained.items() if name.startswith(stage.begins)}
    fresh = {parameter for module in zero_started(emo) for parameter in module.parameters() if parameter in new}
    return [
        {"params": [p for p in trained.values() if p not in fresh], "times": 1.0},
        {"params": [p for p in trained.values() if p in fresh], "times": numbers.zero_started_rate},
    ]


def _newest(spec: RunSpec, accelerator: Accelerator) -> checkpoint.Saved | None:
    """The run's newest whole checkpoint. Damaged ones (a power cut, a bad disk) are set aside with a warning."""
    folder = spec.run_dir / "checkpoints"
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            for half in folder.glob(".step-*"):
                checkpoint.remove(half)
        for step in sorted(folder.glob("step-*"), reverse=True):
            try:
                return checkpoint.load(step)
            except checkpoint.Damaged as damaged:
                if accelerator.is_main_process:
                    aside = step.rename(step.with_name(f"damaged-{step.name}-{time.time_ns()}"))
                    warnings.warn(f"{damaged}; moved to {aside}, going on from the one before", stacklevel=2)
    return None


Network = tuple[EMO, DDIMScheduler, Path]  # and the checkpoint folder it came from


def _started(
    spec: RunSpec, stage: stages.Stage, network: EMOConfig, config: TrainConfig, accelerator: Accelerator
) -> Network:
    """What the first step of a run starts from."""
    if spec.start is not None:
        came = json.loads((spec.start / "provenance.json").read_text()).get("stage") if spec.start.is_dir() else None
        first = stage.follows is None  # the first stage may also go on from a finished model, for another round
        if came is not None and not first and came not in (stage.name, stage.follows):
            raise UserError(f"stage {stage.name} starts from {stage.follows}, but {spec.start} is of stage {came}")
        return checkpoint.load_network(spec.start, spec.speed_buckets), diffusion.load_schedule(spec.start), spec.start
    if stage.follows is not None:
        raise UserError(
            f"stage {stage.name} starts from a checkpoint of stage {stage.follows}, and none is given; "
            f"run: emo train {stage.follows}"
        )
    emo = seeded(network, spec.seed, spec.speed_buckets)
    if network.latent == "autoencoder_kl":
        from emo_model.networks.weights import from_base_weights

        report = "".join(f"{loaded.line()}\n" for loaded in from_base_weights(emo))
        write_text(spec.run_dir / "base_weights.txt", report)
    scheduler = diffusion.schedule(diffusion.RECIPES[config.noise])
    start = spec.run_dir / "start"
    if accelerator.is_main_process and not start.exists():
        made = {"stage": None, "step": 0, "seed": spec.seed, "train": config.model_dump(mode="json")}
        checkpoint.save(start, emo, scheduler, spec.provenance | made)
    return emo, scheduler, start


def _refuse_other_sizes(came: EMOConfig, wanted: EMOConfig, folder: Path) -> None:
    if came == wanted:
        return
    other = [f"{n} {getattr(came, n)} instead of {getattr(wanted, n)}" for n in EMOConfig.model_fields
             if getattr(came, n) != getattr(wanted, n)]  # fmt: skip
    raise UserError(
        f"{folder} holds a network of other sizes ({'; '.join(other[:3])}); "
        "train it with the preset it was made with, run: emo train --preset NAME"
    )


def _refuse_other_run(spec: RunSpec, numbers: StageTraining, saved: checkpoint.Saved | None) -> None:
    """Steps, rates and batches may change on the way; what a run is may not."""
    if saved is None:
        return
    for name, wanted in (("stage", spec.stage), ("seed", spec.seed)):
        if (came := saved.provenance.get(name)) != wanted:
            raise UserError(
                f"{spec.run_dir} holds a run of {name} {came}, not {wanted}; run again with another run folder"
            )
    if (done := saved.state["step"]) > numbers.steps:
        raise UserError(f"{spec.run_dir} has {done} steps, more than the {numbers.steps} asked for; raise --steps")


def _clips(spec: RunSpec, manifest: Path, name: str, network: EMOConfig) -> Clips:
    """The manifest's clips, from the run's own copy of it: a manifest built anew does not change a run that resumes,
    and from whom a model learned stays on record."""
    from emo_model.data.dataset import ClipDataset
    from emo_model.data.store import DataRoot, atomic

    copy = spec.run_dir / f"{name}.parquet"
    if manifest.is_file() and not copy.exists():
        with atomic(copy) as temporary:
            temporary.write_bytes(manifest.read_bytes())
    read = copy if copy.exists() else manifest
    return ClipDataset(read, DataRoot(spec.root), stages.stage(spec.stage), network, spec.seed)


def _batches(run: Run, clips: Clips, done: int) -> Generator[dict[str, Any]]:
    """The micro-batches of all steps after `done` on this rank, in order; read ahead by processes of their own, which
    end when this is closed."""
    ranks, rank = run.accelerator.num_processes, run.accelerator.process_index
    numbers = range(done * run.numbers.accumulate, run.numbers.steps * run.numbers.accumulate)
    loader = torch.utils.data.DataLoader(
        _Numbered(clips, run.numbers.batch_size),
        sampler=[number * ranks + rank for number in numbers],
        batch_size=None,
        num_workers=run.config.loader_workers,
        prefetch_factor=2 if run.config.loader_workers else None,
        multiprocessing_context="spawn" if run.config.loader_workers else None,
        worker_init_fn=_outlive_signals,
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def _outlive_signals(_worker: int) -> None:
    """In a loader's process: who stops a run signals its whole group, and the step under way still wants its batch."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


class _Numbered(torch.utils.data.Dataset):
    """Batches by number, as a DataLoader wants them."""

    def __init__(self, clips: Clips, batch_size: int) -> None:
        self.clips, self.batch_size = clips, batch_size

    def __getitem__(self, number: int) -> dict[str, Any] | UserError:
        """An error of the user's making is handed over: raised, a loader's process would add its traceback to it."""
        try:
            with disk_errors_told():
                return self.clips.batch(number, self.batch_size)
        except UserError as error:
            return error


def _step(run: Run, batches: Iterator[dict[str, Any]], step: int) -> dict[str, Any]:
    accelerator, seconds = run.accelerator, dict.fromkeys(("data_s", "forward_s", "backward_s", "optimizer_s"), 0.0)
    losses: list[float] = []
    seen: list[str] = []
    for part in range(run.numbers.accumulate):
        with _timed(seconds, "data_s"):
            batch = next(batches)
        with _timed(seconds, "forward_s"):
            # The number of this micro-batch among all ranks': two ranks draw what one with two micro-batches does.
            number = ((step - 1) * run.numbers.accumulate + part) * accelerator.num_processes
            number += accelerator.process_index
            generator = torch.Generator().manual_seed(_mix(run.spec.seed, number + 1, 0))
            if run.numbers.recolour:
                batch = recoloured(batch, generator)
            chance = draw(_latent_shape(run, batch), run.config, generator)
            with accelerator.autocast():
                loss = run.objective(_to(batch, accelerator.device), chance).mean()
            losses.append(loss.item())
            seen += batch["clip_id"]
        last = part == run.numbers.accumulate - 1
        with _timed(seconds, "backward_s"), nullcontext() if last else accelerator.no_sync(run.objective):
            accelerator.backward(loss / run.numbers.accumulate)
    with _timed(seconds, "optimizer_s"):
        norm = float(whole(accelerator.clip_grad_norm_(list(run.names), run.config.gradient_norm)))
        _stop_if_lost(run, step, _worst(run, losses), norm, seen)
        rate = learning_rate(run.config, run.numbers, step)
        for group in run.optimizer.param_groups:
            group["lr"] = rate * group["times"]
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        _follow(run, step)
    split = {name: round(value, 4) for name, value in seconds.items()}
    clips = run.numbers.batch_size * run.numbers.accumulate * accelerator.num_processes
    return {
        "step": step, "loss": _over_ranks(run, losses), "lr": rate, "gradient_norm": norm,
        "seconds": round(sum(seconds.values()), 4), **split,
        "clips_per_s": round(clips / sum(seconds.values()), 3), "peak_bytes": peak_bytes(),
    }  # fmt: skip


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - started


def _worst(run: Run, losses: list[float]) -> float:
    """The highest loss of any rank's micro-batches; NaN where there is one."""
    worst = torch.tensor(losses, dtype=torch.float64, device=run.accelerator.device).max()
    return float(run.accelerator.gather(worst).max()) if run.accelerator.num_processes > 1 else float(worst)


def _over_ranks(run: Run, losses: list[float]) -> float:
    mean = torch.tensor(float(np.mean(losses)), dtype=torch.float64, device=run.accelerator.device)
    return float(run.accelerator.reduce(mean, "mean"))


@torch.no_grad()
def _follow(run: Run, step: int) -> None:
    """The running average of the trained weights; early steps weigh more, so that it does not drag the start along."""
    decay = min(run.config.ema_decay, (1 + step) / (10 + step))
    for parameter, name in run.names.items():
        if name in run.average:
            run.average[name].lerp_(parameter, 1 - decay)


def learning_rate(config: TrainConfig, numbers: StageTraining, step: int) -> float:
    """Of step 1, 2, ...: a linear rise, then a cosine to `final_rate`; constant with the paper's settings."""
    rise = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    along = max(0, step - config.warmup_steps) / max(1, numbers.steps - config.warmup_steps)
    fall = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))
    return numbers.learning_rate * rise * fall


@torch.no_grad()
def validate(run: Run, clips: Clips) -> float:
    """Mean loss on fixed clips, fixed timesteps and fixed noise: the same question at a stage's start and end."""
    objective, losses = run.accelerator.unwrap_model(run.objective), []
    with _offered(run), run.accelerator.autocast():
        for i, batch in enumerate(clips.fixed_batches(run.config.validation_batches, run.config.validation_batch_size)):
            fixed = fixed_draw(_latent_shape(run, batch), run.config, seed=i)
            losses += objective(_to(batch, run.accelerator.device), fixed).tolist()
    return float(np.mean(losses))


def _sample(run: Run, data: Mapping[str, Clips], step: int, told: Callable[[], object]) -> None:
    with _offered(run), run.accelerator.autocast():
        emo = usable_alone(run.emo, run.accelerator)
        if emo is not None and run.accelerator.is_main_process:
            batch = data.get("heldout", data["train"]).fixed_batches(1, run.config.sample_clips)[0]
            sample(run.spec, run.config, emo, run.scheduler, batch, step, told)


@contextmanager
def _offered(run: Run) -> Iterator[None]:
    """While this is open, the weights are those that a checkpoint offers: their average, where one is kept."""
    _swap(run)
    try:
        with uncompiled(run.config.compile):
            yield
    finally:
        _swap(run)


@torch.no_grad()
def _swap(run: Run) -> None:
    for parameter, name in run.names.items():
        if name in run.average:
            ours, offered = local(parameter), local(run.average[name])
            newest = ours.clone()  # one at a time: no second copy of all
            ours.copy_(offered)
            offered.copy_(newest)
    forget_whole(run.objective)


def _stop_if_lost(run: Run, step: int, loss: float, norm: float, clip_ids: list[str]) -> None:
    if math.isfinite(loss) and math.isfinite(norm) and loss <= run.config.highest_loss:
        return
    seen = gather_object(clip_ids) if run.accelerator.num_processes > 1 else clip_ids
    found = {"step": step, "loss": str(loss), "gradient_norm": str(norm), "clip_id": seen}
    path = run.spec.run_dir / "stopped.json"
    if run.accelerator.is_main_process:
        write_text(path, json.dumps(found, indent=2) + "\n")
    raise LossStopped(
        f"stage {run.stage.name}, step {step}: loss {loss:.4g}, gradient norm {norm:.4g} "
        f"(wanted: finite, at most {run.config.highest_loss:g}); the batch's clips are in {path}; "
        f"the last checkpoint is untouched; look at the clips or lower learning_rate, then run again"
    )


def _save(run: Run, step: int) -> None:
    run.accelerator.wait_for_everyone()
    newest = gathered({name: parameter for parameter, name in run.names.items()}, run.accelerator)
    average = gathered(run.average, run.accelerator)
    moments = gathered(checkpoint.optimizer_tensors(run.optimizer, run.names), run.accelerator)
    if not run.accelerator.is_main_process:
        return
    provenance = run.spec.provenance | {
        "stage": run.stage.name,
        "step": step,
        "seed": run.spec.seed,
        "start": None if run.spec.start is None else str(run.spec.start.name),
        "train": run.config.model_dump(mode="json") | {run.stage.name: run.numbers.model_dump()},
    }
    # (seed, step) is the position in the data and the state of every random draw alike.
    state = {"step": step, "seed": run.spec.seed, "batch_size": run.numbers.batch_size}
    folder = run.checkpoints / _name(step)
    frozen = {part: run.frozen for part in checkpoint.saved_parts(run.emo) if part not in run.stage.trains}
    checkpoint.save(folder, run.emo, run.scheduler, provenance, newest, average, moments, state, frozen)
    run.frozen = folder
    checkpoint.keep_last(run.checkpoints, run.config.keep_checkpoints, run.config.milestone_every)


def _summary(run: Run) -> dict[str, Any] | None:
    path = run.spec.run_dir / "summary.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _resumed(run: Run) -> dict[str, Any] | None:
    """The summary that the run has so far. In another precision frozen parts have other hashes than at its start:
    taken anew, as no step writes the files they were just read from."""
    summary = _summary(run)
    if summary is not None and summary.get("mixed_precision") != run.config.mixed_precision:
        now = checkpoint.part_hashes(run.emo)
        summary["parts_before"] |= {part: now[part] for part in PARTS if part not in run.stage.trains}
        summary["mixed_precision"] = run.config.mixed_precision
    return summary


def _write_summary(run: Run, summary: Mapping[str, Any]) -> None:
    if not run.accelerator.is_main_process:
        return
    temporary = run.spec.run_dir / ".summary.json"
    temporary.write_text(json.dumps(summary, indent=2) + "\n")
    os.replace(temporary, run.spec.run_dir / "summary.json")


def _begin(run: Run, data: Mapping[str, Clips]) -> dict[str, Any]:
    """What the run starts from: measured once, before step 1, and kept over resumes."""
    summary = {
        "stage": run.stage.name,
        "trains": run.stage.trains,
        "mixed_precision": run.config.mixed_precision,
        "loss_start": {name: validate(run, clips) for name, clips in data.items()},
        "loss_end": None,
        "parts_before": checkpoint.part_hashes(run.emo),
    }
    _write_summary(run, summary)
    return summary


def _finish(run: Run, data: Mapping[str, Clips], summary: dict[str, Any], final: Path, seconds: float) -> None:
    after = checkpoint.part_hashes(run.emo)
    moved = [part for part in PARTS if after[part] != summary["parts_before"][part]]
    summary |= {
        "steps": run.numbers.steps,
        "loss_end": {name: validate(run, clips) for name, clips in data.items()},
        "parts_after": after,
        "moved": moved,
        "frozen_unchanged": set(moved) <= set(run.stage.trains),
        "checkpoint": str(final.relative_to(run.spec.run_dir)),
        "seconds": round(seconds, 1),
    }
    _write_summary(run, summary)
    if not summary["frozen_unchanged"]:
        raise RuntimeError(f"stage {run.stage.name} trains {run.stage.trains}, but {moved} moved")


def _latent_shape(run: Run, batch: Mapping[str, Any]) -> tuple[int, ...]:
    return run.accelerator.unwrap_model(run.objective).latent_shape(batch)


def _to(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def _mix(*numbers: int) -> int:
    """One seed of several numbers, such that neighbours share nothing."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _name(step: int) -> str:
    return f"step-{step:07d}"
