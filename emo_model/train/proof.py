"""The proof of learning: what each stage's start and end answer to the same questions, and what chance allows.

A question is a window of a clip, its noise and its timestep. Both models get the same ones, so losses are compared
question by question, and what is hard about a question falls out. Stage 3 is asked again with the head speeds of
other clips, and with none: a model that learned from speeds must do worse.

Neighbouring windows share pictures, and windows of a clip a person: intervals are given twice, over seconds of clips
(do other moments say the same?) and over clips (do other clips?). Few clips make the latter coarse: of two, it spans
the two.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor

from emo_model import diffusion
from emo_model.data.dataset import ClipDataset
from emo_model.data.manifests import has_rows, manifest_path
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from emo_model.evaluate.bootstrap import intervals
from emo_model.evaluate.table import DASH, Grid
from emo_model.networks.emo import EMO
from emo_model.train import checkpoint, stages
from emo_model.train.config import RunSpec, TrainConfig
from emo_model.train.finished import finished_runs
from emo_model.train.learned import chain, learned_from
from emo_model.train.loop import Clips
from emo_model.train.objective import Draw, Objective, fixed_draw
from emo_model.train.stages import Stage

Losses = NDArray[np.float64]  # (Q,) one a question
Interval = tuple[float, float]
PEOPLE = {"held out": "held_out_clips", "training": "clips"}  # the run folder's copy of each manifest
START, END = "start", "end"
OTHERS, UNKNOWN = "other clips' speeds", "no speed"
SECOND = 30  # frames
OTHER_DRAWS = 4  # of another clip's speed for each question: which one it is shall not decide
DRAWS, SEED = 2000, 0  # of the bootstrap
FALL = 0.3  # stages 1 and 2 must lose this share of their loss


@dataclass(frozen=True)
class Question:
    """A batch of windows with their noise and timesteps."""

    batch: Mapping[str, Any]
    draw: Draw


@dataclass(frozen=True)
class Comparison:
    """Two answers to the same questions. change: (loss_to / loss_from) - 1, negative is better."""

    stage: str
    people: str
    answers: tuple[str, str]
    loss_from: float
    loss_to: float
    change: float
    over_seconds: Interval | None  # 95 % of change; None: there is one alone
    over_clips: Interval | None
    questions: int
    seconds: int
    clips: int

    @property
    def falls(self) -> bool:
        """Both intervals lie below 0."""
        return all(interval is not None and interval[1] < 0 for interval in (self.over_seconds, self.over_clips))


def prove(
    root: DataRoot,
    run: Path,
    batches: int = 16,
    size: int = 8,
    report: Callable[[Comparison], None] = lambda _: None,
    more: Sequence[DataRoot] = (),
) -> list[Comparison]:
    """All comparisons of a finished run and the runs it went on from, first stage first; written to RUN/proof.json.

    more: data roots all of whose clips are asked about as well, as people held out: few clips make wide intervals.
    UserError where a run is not finished, does not start where the one before it ended, or learned from one of them.
    """
    found = []
    _require_strangers(more, run)
    for run_dir in reversed(chain(run)):
        for comparison in _stage(root, run_dir, batches, size, more):
            found.append(comparison)
            report(comparison)
    value = {"comparisons": [asdict(c) for c in found], "bars": [{"bar": bar, "met": met} for bar, met in bars(found)]}
    (run / "proof.json").write_text(json.dumps(value, indent=2) + "\n")
    return found


def newest_run(root: DataRoot) -> Path:
    """The last finished run of the last stage there is. UserError where none has finished."""
    for name in reversed(stages.STAGES):
        if runs := finished_runs(root, name):
            return runs[-1]
    raise UserError(f"no finished training run in {root.folder('6_checkpoints')}; run: make demo (or emo train image)")


# ---- a stage ----


def _stage(root: DataRoot, run_dir: Path, batches: int, size: int, more: Sequence[DataRoot]) -> Iterator[Comparison]:
    models, scheduler, config = _models(run_dir)
    stage = stages.stage(RunSpec.read(run_dir / "run.json").stage)
    for people, name in PEOPLE.items():
        manifests = [(run_dir / f"{name}.parquet", root)]
        if people == "held out":
            manifests += [(path, other) for other in more for path in _manifests(other, stage)]
        datasets = [ClipDataset(path, of, stage, models[END].config) for path, of in manifests if has_rows(path)]
        if not datasets:
            continue
        clips, *others = datasets
        clips.clips += [clip for other in others for clip in other.clips]
        asked = questions(clips, Objective(models[END], scheduler, stage, config), batches, size)

        def answers(model: EMO, asked: Sequence[Question] = asked) -> Losses:
            return losses(Objective(model, scheduler, stage, config), asked)

        end = answers(models[END])
        compared = {START: answers(models[START])}
        if "speed" in stage.reads:
            if len(set(clips.clip_ids)) > 1:
                drawn = [answers(models[END], with_speeds_of_other_clips(asked, seed)) for seed in range(OTHER_DRAWS)]
                compared[OTHERS] = np.mean(drawn, axis=0)
            unknown = [_with_speed(q, torch.full_like(q.batch["speed"], torch.nan)) for q in asked]
            compared[UNKNOWN] = answers(models[END], unknown)
        for answer, loss in compared.items():
            yield compare(asked, loss, end, stage=stage.name, people=people, answers=(answer, END))


def _manifests(root: DataRoot, stage: Stage) -> list[Path]:
    """Between them all clips of a data root that satisfy the stage's needs."""
    purpose = "stage2" if stage.video else "stage1"
    return [manifest_path(root, f"{side}_{purpose}") for side in ("train", "held_out")]


def _require_strangers(more: Sequence[DataRoot], run: Path) -> None:
    known = learned_from(run, "identity_id")
    for root in more:
        paths = [path for path in _manifests(root, stages.SPEED) if has_rows(path)]
        if not paths:
            raise UserError(f"{root.path} holds no clip for stage 2; run: EMO_DATA={root.path} emo prepare FOLDER")
        people = {name for path in paths for name in pq.read_table(path)["identity_id"].to_pylist()}
        if both := sorted(people & known):
            raise UserError(f"{run.name} learned from {', '.join(both)}, whom {root.path} shows; they are not held out")


def _models(run_dir: Path) -> tuple[dict[str, EMO], DDIMScheduler, TrainConfig]:
    """The run's network before its first step and after its last, its schedule and its numbers."""
    spec, summary = RunSpec.read(run_dir / "run.json"), _finished(run_dir)
    last = run_dir / summary["checkpoint"]
    end = checkpoint.load_network(last)
    first = run_dir / "start" if spec.start is None else chain(run_dir)[1] / "checkpoints" / spec.start.name
    start = checkpoint.load_network(first, end.buckets)
    # Only what the stage trains: the loop may hold the rest in half precision, and then hashes that.
    hashes, trains = checkpoint.part_hashes(start), stages.stage(spec.stage).trains
    if any(hashes[part] != summary["parts_before"][part] for part in trains):
        raise UserError(f"{run_dir} did not start from {first} as it is now; train it again, run: emo train --help")
    numbers = TrainConfig.model_validate(json.loads((last / "provenance.json").read_text())["train"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {START: start.to(device), END: end.to(device)}, diffusion.load_schedule(last), numbers


def _finished(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "summary.json"
    summary = json.loads(path.read_text()) if path.is_file() else {}
    if not summary.get("loss_end"):
        raise UserError(f"{run_dir} is not a finished training run; run: emo train --help")
    return summary


# ---- questions and answers ----


def questions(clips: Clips, objective: Objective, batches: int, size: int) -> list[Question]:
    """The same for whoever is asked: fixed windows, noise, and timesteps spread over the schedule."""
    return [
        Question(batch, fixed_draw(objective.latent_shape(batch), objective.config, seed=number))
        for number, batch in enumerate(clips.fixed_batches(batches, size))
    ]


@torch.no_grad()
def losses(objective: Objective, asked: Sequence[Question]) -> Losses:
    """Equation 1, a number a question."""
    device = next(objective.parameters()).device
    found = []
    for question in asked:
        batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in question.batch.items()}
        found.append(objective(batch, question.draw).double().cpu().numpy())
    return np.concatenate(found)


def with_speeds_of_other_clips(asked: Sequence[Question], seed: int = SEED) -> list[Question]:
    """The same questions, each with the head speed of a window of another clip."""
    clips = np.array([clip for question in asked for clip in question.batch["clip_id"]])
    speeds = torch.cat([question.batch["speed"] for question in asked])
    rng = np.random.default_rng(seed)
    taken = [int(rng.choice(np.flatnonzero(clips != clip))) for clip in clips]
    parts = speeds[taken].split([len(question.batch["clip_id"]) for question in asked])
    return [_with_speed(question, part) for question, part in zip(asked, parts, strict=True)]


def _with_speed(question: Question, speed: Tensor) -> Question:
    return replace(question, batch={**question.batch, "speed": speed})


def compare(
    asked: Sequence[Question], before: Losses, after: Losses, *, stage: str, people: str, answers: tuple[str, str]
) -> Comparison:
    """How much lower the second losses are than the first, on average over the questions."""
    clips = [clip for question in asked for clip in question.batch["clip_id"]]
    frames = [int(frame) for question in asked for frame in question.batch["frame"]]
    seconds = [f"{clip} {frame // SECOND}" for clip, frame in zip(clips, frames, strict=True)]

    def change(drawn: list[int]) -> dict[str, float]:
        return {"change": float(after[drawn].sum() / before[drawn].sum() - 1)}

    return Comparison(
        stage,
        people,
        answers,
        loss_from=float(before.mean()),
        loss_to=float(after.mean()),
        change=change(list(range(len(clips))))["change"],
        over_seconds=intervals(change, seconds, DRAWS, SEED).get("change"),
        over_clips=intervals(change, clips, DRAWS, SEED).get("change"),
        questions=len(clips),
        seconds=len(set(seconds)),
        clips=len(set(clips)),
    )


# ---- what it says ----


def bars(found: Sequence[Comparison]) -> list[tuple[str, bool]]:
    """What must hold on people who were held out, and whether it does."""
    held = {(c.stage, c.answers[0]): c for c in found if c.people == "held out"}

    def holds(stage: str, answer: str, fall: float = 0.0) -> bool:
        comparison = held.get((stage, answer))
        return comparison is not None and comparison.falls and comparison.change <= -fall

    asked = {stage for stage, _ in held}
    wanted = [
        (f"stage {stage} loses {FALL:.0%} or more", holds(stage, START, FALL))
        for stage in ("image", "video")
        if stage in asked
    ]
    if "speed" in asked:
        wanted.append(("stage speed ends below its start", holds("speed", START)))
        wanted.append((f"stage speed does better with a clip's own speeds than with {OTHERS}", holds("speed", OTHERS)))
    return wanted


def grid(found: Sequence[Comparison]) -> Grid:
    """A line a comparison."""
    heads = ("stage", "people", "from", "to", "loss", "change", "95 % over seconds", "95 % over clips")
    lines = [
        (
            c.stage, c.people, *c.answers, f"{c.loss_from:.4f} -> {c.loss_to:.4f}", f"{c.change:+.2%}",
            f"{_interval(c.over_seconds)} ({c.seconds})", f"{_interval(c.over_clips)} ({c.clips})",
        )
        for c in found
    ]  # fmt: skip
    return Grid("The proof of learning", heads, tuple(lines))


def _interval(interval: Interval | None) -> str:
    return DASH if interval is None else f"{interval[0]:+.2%} to {interval[1]:+.2%}"
