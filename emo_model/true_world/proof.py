"""The proof of learning in the small true world: every control does its work, and stops when its part is broken.

    OUT/voices.npz                  features and mouth openings of the recordings
    OUT/estimator.safetensors       fitted on rendered frames before any model; its own errors are bars, too
    OUT/base                        what every seed starts from, as EMO starts from Stable Diffusion
    OUT/seed-S/MODEL/STAGE          training runs (section 3.3); ablations branch from the whole model's stages
    OUT/seed-S/answers/MODEL.json   what was measured of a model (answers.py)
    OUT/seed-S/pictures/MODEL/*.png what was looked at: a video a row
    OUT/proof.json, proof.md        the table, pass or fail beside each bar

Whatever is finished is kept: a killed proof goes on where it was.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from emo_model import diffusion
from emo_model.data.store import atomic, write_json, write_text
from emo_model.data.workers import Workers
from emo_model.errors import UserError
from emo_model.evaluate.table import Grid, to_markdown
from emo_model.generate.video import checkpoint_sha256
from emo_model.networks.config import TINY_NETWORK, EMOConfig, SpeedBuckets
from emo_model.networks.emo import seeded
from emo_model.train import checkpoint, stages
from emo_model.train.checkpoint import load_network
from emo_model.train.config import RunSpec, StageTraining, TrainConfig
from emo_model.train.loop import train
from emo_model.true_world import bars, estimator
from emo_model.true_world.answers import EXACT, PLACES, QUICK, SIZES, Answers, Asker, Sizes
from emo_model.true_world.base_weights import pretrained
from emo_model.true_world.clips import FRAMES, WorldClips
from emo_model.true_world.videos import How, Without
from emo_model.true_world.voices import TEMPI, Voice, recordings, voices

Say = Callable[[str], None]
StageName = Literal["image", "video", "speed"]
BEFORE: dict[StageName, StageName] = {"video": "image", "speed": "video"}

NETWORK = TINY_NETWORK.model_copy(
    update={
        "image_size": 40,
        "channels": (64, 64),
        "attention": (False, True),
        "audio_token_width": 32,
        "audio_hidden": 24,
        "speed_width": 16,
    }
)
TRAIN = TrainConfig(
    image=StageTraining(steps=1800, batch_size=16, learning_rate=2e-3),
    video=StageTraining(steps=3200, batch_size=2, learning_rate=5e-3),
    speed=StageTraining(steps=1500, batch_size=2, learning_rate=2e-3),
    optimizer="muon", beta2=0.99, warmup_steps=20, final_rate=0.05, noise="clean", ema_decay=0.995,
    checkpoint_every=100, validation_batches=4, validation_batch_size=8, first_clip=0.15,
)  # fmt: skip
VERSION = 5  # of people, paths, voices and pixels
TRAINING_PEOPLE, HELD_OUT_PEOPLE = 3000, 50
HELD_OUT_SEED = 777
ESTIMATOR_STEPS = 4000
HOW, WHOLE_SIZES = How(), Sizes()
DRIFT = bars.APART / 10  # of the distance between any two people


@dataclass(frozen=True)
class Model:
    """What is trained, or which part of a trained one is left out when asked.

    trained: its own last stage, from the whole model's stage 2; None: the whole model's is asked.
    """

    name: str
    trained: stages.Stage | None = None
    shuffled: bool = False
    without: Without = "nothing"
    steps: int | None = None  # of sampling; None: as the others
    breaks: str = ""  # the letter of what must collapse in it, while the others hold


WHOLE = Model("whole", stages.SPEED)
LISTENING = replace(stages.SPEED, trains=(*stages.SPEED.trains, "audio_layers"))
ABLATIONS = (
    Model("without reference", without="reference", breaks="a"),
    Model("without Audio Layers", without="audio", breaks="b"),
    Model("speeds shuffled in training", stages.SPEED, shuffled=True, breaks="c"),
    Model("without face region", without="mask", breaks="d"),
    Model("without motion frames", without="motion", breaks="e"),
    Model("Audio Layers trained in stage 3", LISTENING),
)
NO_SPEED = Model("no Speed Layers (stage 2)", without="speed")


@dataclass(frozen=True)
class World:
    """What all seeds share, made once in `out`."""

    out: Path
    samples: Path  # emo samples get
    say: Say
    threads: int | None = None
    network: EMOConfig = NETWORK
    train: TrainConfig = TRAIN
    estimator_steps: int = ESTIMATOR_STEPS
    base_steps: int = 2000
    films: int = 40  # on which the estimator's own errors are measured
    exact_steps: int = 40  # of DDIM (section 4.1): what the fewer steps of all else are checked against

    @cached_property
    def voices(self) -> tuple[list[Voice], list[Voice]]:
        """To learn from, and to measure with."""
        path = self.out / "voices.npz"
        if not path.is_file():
            self.say("encoding the recordings")
            known, unseen = recordings(self.samples)
            self.keep_voices(voices(known, TEMPI), voices(unseen))
        with np.load(path) as found:
            read = lambda kind: [  # noqa: E731
                Voice(found[f"{kind}{k}_features"], found[f"{kind}{k}_mouth"])
                for k in range(len(found.files) // 2)
                if f"{kind}{k}_mouth" in found.files
            ]
            return read("known"), read("unseen")

    def keep_voices(self, known: Sequence[Voice], unseen: Sequence[Voice]) -> None:
        """As OUT/voices.npz."""
        named = {"known": known, "unseen": unseen}
        arrays = {f"{kind}{k}_{what}": getattr(v, what) for kind, vs in named.items() for k, v in enumerate(vs)
                  for what in ("features", "mouth")}  # fmt: skip
        with atomic(self.out / "voices.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @cached_property
    def speeds(self) -> np.ndarray:
        """Of 200 training clips, degrees a frame."""
        clips = WorldClips(stages.SPEED, self.network, self.voices[0], 0, 200)
        return np.concatenate([clips.clip(number).path.speed for number in range(200)])

    @cached_property
    def buckets(self) -> SpeedBuckets:
        """Section 3.2's centres and radii: as many frames in each."""
        count = self.network.speed_buckets
        centres = np.quantile(self.speeds, (np.arange(count) + 0.5) / count)
        return SpeedBuckets(
            centres=tuple(centres.tolist()), radii=tuple(np.maximum(np.gradient(centres), 0.1).tolist())
        )

    @cached_property
    def estimator(self) -> estimator.Estimator:
        """Frozen; fitted at the first call."""
        path = self.out / "estimator.safetensors"
        if not path.is_file():
            self.say("fitting the estimator on rendered frames")
            if self.threads:
                torch.set_num_threads(self.threads)
            emo = seeded(self.network, 0)
            made = estimator.fit(emo, self.estimator_steps, report=lambda step, loss: self.say(f"  {step}: {loss:.5f}"))
            with atomic(path) as temporary:
                save_file(made.state_dict(), temporary)
        found = estimator.Estimator()
        found.load_state_dict(load_file(path))
        return found.eval().requires_grad_(False)

    @cached_property
    def base(self) -> Path:
        """Where stage 1 starts, as from Stable Diffusion: both UNets are one that knows the world's stills."""
        folder = self.out / "base"
        if not folder.is_dir():
            self.say("learning the world's stills")
            scheduler = diffusion.schedule(diffusion.RECIPES[self.train.noise])
            if self.threads:
                torch.set_num_threads(self.threads)
            emo = pretrained(
                self.network,
                scheduler,
                self.base_steps,
                report=lambda step, loss: self.say(f"  base {step}: {loss:.3f}"),
            )
            checkpoint.save(folder, emo, scheduler, {"stage": None, "step": 0, "seed": 0})
        return folder

    @cached_property
    def asker(self) -> Asker:
        """The test set."""
        size = self.network.image_size
        pairs = bars.pairs(self.voices[1], size)
        minute = bars.pairs(self.voices[1], size, count=10, frames=60 * bars.FPS)
        gallery = self.estimator.see(pairs.gallery).traits
        speeds = tuple(float(q) for q in np.quantile(self.speeds, bars.QUANTILES))
        return Asker(pairs, minute, self.estimator, speeds, gallery)


@dataclass(frozen=True)
class Seed:
    """One training from nothing, and its ablations."""

    world: World
    number: int
    _trained: dict[tuple[StageName, Model], Path] = field(default_factory=dict, compare=False, repr=False)

    @property
    def folder(self) -> Path:
        return self.world.out / f"seed-{self.number}"

    def checkpoint(self, stage: StageName, model: Model = WHOLE) -> Path:
        """Trained where it is not; a finished one is returned at once."""
        own = stage == "speed"
        if (stage, model) in self._trained:
            return self._trained[stage, model]
        chosen = (model.trained if own else None) or stages.stage(stage)
        run_dir = self.folder / (model.name if own else WHOLE.name).replace(" ", "_") / stage
        start = self.checkpoint(BEFORE[stage]) if stage in BEFORE else self.world.base
        known, unseen = self.world.voices
        spec = RunSpec(
            stage=stage, start=start, manifest=Path(), root=Path(), run_dir=run_dir, seed=self.number,
            threads=self.world.threads, speed_buckets=self.world.buckets if stage == "speed" else None,
        )  # fmt: skip
        long_enough = [voice for voice in unseen if len(voice) >= FRAMES]

        def tell(row: dict) -> None:
            if row["step"] % 50 == 0:
                self.world.say(f"  seed {self.number}, {model.name}, {stage} {row['step']}: loss {row['loss']:.3f}")

        self._trained[stage, model] = train(
            spec, tell, network=self.world.network, config=self.world.train, stage=chosen,
            dataset=WorldClips(chosen, self.world.network, known, self.number, TRAINING_PEOPLE, model.shuffled and own),
            heldout=WorldClips(chosen, self.world.network, long_enough, HELD_OUT_SEED, HELD_OUT_PEOPLE),
        )  # fmt: skip
        return self._trained[stage, model]

    def minutes(self) -> float:
        """Of training the whole model, by each stage's median step: one may have been stopped for hours."""
        files = [self.folder / WHOLE.name / stage / "progress.jsonl" for stage in ("image", "video", "speed")]
        steps = [[json.loads(row)["seconds"] for row in file.read_text().splitlines()] for file in files]
        return sum(len(seconds) * float(np.median(seconds)) for seconds in steps) / 60

    def answers(self, model: Model, sizes: Sizes, how: How) -> Answers:
        """Asked, or read where they were asked before."""
        path = self.folder / "answers" / f"{model.name.replace(' ', '_')}.json"
        stage: StageName = "video" if model == NO_SPEED else "speed"
        folder = self.checkpoint(stage, model if model.trained else WHOLE)
        key = {
            "sizes": asdict(sizes), "how": asdict(how), "checkpoint": checkpoint_sha256(folder),
            "answers": [each.name for each in fields(Answers)],
            "regions": {**PLACES, **SIZES}, "speeds": self.world.asker.speeds,
        }  # fmt: skip
        if path.is_file() and (kept := json.loads(path.read_text()))["key"] == json.loads(json.dumps(key)):
            return Answers(**kept["answers"])
        self.world.say(f"  seed {self.number}, asking: {model.name}")
        started = time.perf_counter()
        emo, scheduler = load_network(folder).eval(), diffusion.load_schedule(folder)
        how = replace(
            how, without=model.without, steps=model.steps or how.steps, seed=self.number,
            shared=diffusion.load_shared(folder),
        )  # fmt: skip
        pictures = self.folder / "pictures" / model.name.replace(" ", "_")
        shutil.rmtree(pictures, ignore_errors=True)  # of other questions
        asker = self.world.asker
        # Every seed's minutes are other people's.
        asker = replace(
            asker, keep=lambda question, pixels: sheet(pictures / f"{question}.png", pixels),
            minute=asker.minute.first(sizes.minutes, self.number * sizes.minutes),
        )  # fmt: skip
        found = asker.ask(emo, scheduler, how, sizes, no_speed=model == NO_SPEED)
        found.seconds = time.perf_counter() - started
        write_json(path, {"key": key, "answers": asdict(found)})
        return found


Question: TypeAlias = tuple[Model, Sizes]


@dataclass(frozen=True)
class Work:
    """All that is asked of one seed's models."""

    seed: Seed
    questions: list[Question]
    how: How

    def done(self) -> dict[str, Answers]:
        """By model."""
        return {model.name: self.seed.answers(model, sizes, self.how) for model, sizes in self.questions}


def sheet(path: Path, pixels: Tensor, videos: int = 8, columns: int = 12) -> None:
    """The first videos of (V, T, 3, S, S), a row each, frames spread over their time."""
    rows = pixels[:videos, torch.linspace(0, pixels.shape[1] - 1, columns).long()]
    picture = rearrange((rows + 1) * 127.5, "v t c h w -> (v h) (t w) c").round().byte().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


# ---- what it says ----


@dataclass(frozen=True)
class Bar:
    """One line of the table: what is wanted, what came by seed, and whether it holds in every one."""

    letter: str
    wanted: str
    values: tuple[str, ...]
    met: bool


def bars_of_estimator(errors: dict[str, float], seeds: int) -> list[Bar]:
    """What the estimator must be to be believed. errors: bars.estimator_errors."""
    gap = errors["a third of the smallest gap of speeds"]
    wanted = [
        ("mouth r >= 0.98", errors["mouth r"], errors["mouth r"] >= 0.98),
        ("identity >= 99 %", errors["identity"], errors["identity"] >= 0.99),
        (f"error of a film's mean speed < {gap:.2f}", errors["speed"], errors["speed"] < gap),
    ]
    return [Bar("", f"estimator: {text}", (f"{value:.3f}",) * seeds, met) for text, value, met in wanted]


HOLDS: dict[str, Callable[[Answers], bool]] = {  # what each control must do, asked much or little
    "a": lambda a: a.person >= 0.95,
    "b": lambda a: a.mouth >= 0.8,
    "c": lambda a: len(a.speed) > 1 and bool((np.diff(column(a, "mean velocity")) > 0).all()),
    "d": lambda a: a.follows >= 0.5,
    "e": lambda a: a.seam <= 1.2,
}


def column(a: Answers, name: str) -> list[float]:
    """(c) A number of Table 2 at the speeds asked, from the slowest."""
    return [row[name] for row in a.speed.values()]


def over_all(a: Answers, _none: Answers, name: str) -> float:
    """(c) Mean over the speeds asked of a number of Table 2."""
    return float(np.mean(column(a, name) or np.nan))


def at_its_speed(a: Answers, none: Answers, name: str) -> float:
    """(c) A number of Table 2 where the heads turn as fast as those of `none`: faster ones vary more, filmed or not.

    Between the speeds asked, in a straight line; NaN where they do not rise.
    """
    means = column(a, "mean velocity")
    rise = len(means) > 1 and bool((np.diff(means) > 0).all())
    return float(np.interp(none.speed["none"]["mean velocity"], means, column(a, name))) if rise else np.nan


def table_2(whole: Sequence[Answers], none: Sequence[Answers]) -> Grid:
    """The paper's Table 2, means over seeds."""
    named = [("no Speed Layers", [b.speed["none"] for b in none])]
    named += [(f"asked {speed}", [a.speed[speed] for a in whole]) for speed in whole[0].speed]
    heads = ("degrees a frame", *named[0][1][0])
    lines = [(label, *(f"{np.mean([r[name] for r in rows]):.2f}" for name in heads[1:])) for label, rows in named]
    return Grid("Head speeds, as the paper's Table 2", heads, tuple(lines))


def bars_of(whole: Sequence[Answers], none: Sequence[Answers]) -> list[Bar]:
    """The issue's five controls. whole: the model's answers by seed; none: the same before it had Speed Layers."""

    def bar(letter: str, wanted: str, shown: Callable[[Answers], str], holds: Callable[[Answers], bool]) -> Bar:
        return Bar(letter, wanted, tuple(shown(a) for a in whole), all(holds(a) for a in whole))

    def steadier(name: str, where: str, of: Callable[[Answers, Answers, str], float]) -> Bar:
        pairs = [(of(a, b, name), b.speed["none"][name]) for a, b in zip(whole, none, strict=True)]
        shown = tuple(f"{ours:.2f} < {without:.2f}" for ours, without in pairs)
        return Bar("c", f"{name} {where}: less than with no Speed Layers", shown, all(x < y for x, y in pairs))

    return [
        bar("a", "own portrait, not another: >= 95 %", lambda a: f"{a.person:.0%}", HOLDS["a"]),
        bar(
            "a", "its shape, too: r >= 0.7", lambda a: ", ".join(f"{name} {r:.2f}" for name, r in a.shape.items()),
            lambda a: min(a.shape.values(), default=0) >= 0.7,
        ),
        bar("b", "mouth follows unseen voices: r >= 0.8", lambda a: f"{a.mouth:.2f}", HOLDS["b"]),
        bar("b", "another clip's voice: r < 0.2", lambda a: f"{a.mouth_others:.2f}", lambda a: a.mouth_others < 0.2),
        bar(
            "c", "mean speed rises over four asked",
            lambda a: " < ".join(f"{v:.2f}" for v in column(a, "mean velocity")),
            HOLDS["c"],
        ),
        bar(
            "c", "each of the three steps (95 % above 0)",
            lambda a: ", ".join(f"{low:.2f} to {high:.2f}" for low, high in a.rises),
            lambda a: min((low for low, _ in a.rises), default=0) > 0,
        ),
        *(
            steadier(name, where, of)
            for name in ("velocity variance", "VMV")
            for where, of in (("over the four", over_all), ("at a like mean speed", at_its_speed))
        ),
        bar(
            "d", "head inside the region: >= 90 %", lambda a: ", ".join(f"{v:.0%}" for v in a.inside.values()),
            lambda a: min(a.inside.values(), default=0) >= 0.9,
        ),
        bar("d", "moves with the region: >= 0.5 of its way", lambda a: f"{a.follows:.2f}", HOLDS["d"]),
        bar(
            "d", "sways more in a wider region (95 % above 0)",
            lambda a: "{:.3f} to {:.3f}".format(*a.wider_sways_more), lambda a: a.wider_sways_more[0] > 0,
        ),
        bar("e", "jump at seams <= 1.2 of those within", lambda a: f"{a.seam:.2f}", HOLDS["e"]),
        bar("e", "the same over a minute", lambda a: f"{a.seam_minute:.2f}", lambda a: a.seam_minute <= 1.2),
        bar(
            "e", "frames of a minute's first ten seconds -> of its last ten that show the portrait: < 5 % lost",
            lambda a: f"{a.person_first:.0%} -> {a.person_last:.0%}", lambda a: a.person_last > a.person_first - 0.05,
        ),
        bar(
            "e", f"how much farther from it the last ten lie than the first: < {DRIFT:.3f}", lambda a: f"{a.drift:.3f}",
            lambda a: a.drift < DRIFT,
        ),
    ]  # fmt: skip


def rise(a: Answers) -> float:
    """(c) The mean speed of the fastest asked less that of the slowest, degrees a frame."""
    speeds = column(a, "mean velocity")
    return speeds[-1] - speeds[0]


COLLAPSES: dict[str, Callable[[Answers, Answers], bool]] = {  # the whole model's answers, the broken one's
    "a": lambda whole, a: a.person < 0.5 * whole.person,
    "b": lambda _whole, a: a.mouth < 0.2,
    "c": lambda whole, a: rise(a) < 0.5 * rise(whole),
    "d": lambda whole, a: a.follows < 0.5 * whole.follows,
    "e": lambda whole, a: a.seam > max(1.2, 1 + 2 * (whole.seam - 1)),
}


def bars_of_ablations(answers: dict[Model, Answers], whole: Answers) -> list[Bar]:
    """Of each broken model: that its own number collapses, and that the others' bars hold."""
    found = []
    for model, a in answers.items():
        if model.breaks:
            lost = [letter for letter, holds in HOLDS.items() if letter != model.breaks and not holds(a)]
            text = f"{model.name}: {model.breaks} collapses, the others hold"
            shown = "all" if not lost else f"not {', '.join(lost)}"
            found.append(Bar(model.breaks, text, (shown,), COLLAPSES[model.breaks](whole, a) and not lost))
    return found


def side_by_side(title: str, answers: dict[Model, Answers], whole: Answers | None = None) -> Grid:
    """One seed's models, each with the same small questions. whole: what an ablation is held against."""
    heads = ["model", "a: own portrait", "b: mouth r", "c: slowest -> fastest", "d: follows region", "e: seams"]
    verdicts = {bar.wanted.split(":")[0]: bar for bar in bars_of_ablations(answers, whole)} if whole else {}
    lines = []
    for model, a in answers.items():
        speeds = column(a, "mean velocity")
        turned = f"{speeds[0]:.2f} -> {speeds[-1]:.2f}"
        line = [model.name, f"{a.person:.0%}", f"{a.mouth:.2f}", turned, f"{a.follows:.2f}", f"{a.seam:.2f}"]
        if whole:
            bar = verdicts.get(model.name)
            line += (
                [f"{bar.letter}: {'yes' if COLLAPSES[bar.letter](whole, a) else 'NO'}", bar.values[0]]
                if bar
                else ["", ""]
            )
        lines.append(tuple(line))
    return Grid(title, (*heads, *(("collapses", "the others hold") if whole else ())), tuple(lines))


def prove(
    world: World,
    seeds: int,
    how: How = HOW,
    sizes: Sizes = WHOLE_SIZES,
    small: Sizes = QUICK,
    exact: Sizes = EXACT,
    ablations: bool = True,
    jobs: int = 0,
) -> list[Bar]:
    """Train, ask, write OUT/proof.md and .json; returns the bars. UserError where OUT is of other numbers.

    jobs: seeds at a time, each in a process of its own; 0: one after another in this one.
    """
    _begin(world)
    # On people, poses and paths it never saw, and before anything is trained.
    errors = bars.estimator_errors(world.estimator, seeded(world.network, 0), world.speeds, world.films)
    world.say("the estimator's own errors: " + ", ".join(f"{name} {value:.3f}" for name, value in errors.items()))
    _ = world.base  # once, before seeds in other processes want it
    questions: list[list[Question]] = [[(WHOLE, sizes), (NO_SPEED, sizes)] for _ in range(seeds)]
    broken = (replace(WHOLE, name="whole, asked as little", trained=None), *ABLATIONS)
    fewer = [Model(f"whole, {steps} steps of DDIM", steps=steps) for steps in (how.steps, world.exact_steps)]
    if ablations:
        questions[0] += [*((model, small) for model in broken), *((model, exact) for model in fewer)]
    # A process makes its own of what is cached here.
    work = [Work(Seed(replace(world) if jobs else world, k), asked, how) for k, asked in enumerate(questions)]
    answers: dict[int, dict[str, Answers]] = {}
    with Workers(jobs) as workers:
        for each, found in workers.run("proof", Work.done, work):
            if found is None:
                raise UserError(f"the process of seed {each.seed.number} died; run the same command again: it goes on")
            answers[each.seed.number] = found
    whole, none = ([answers[k][model.name] for k in range(seeds)] for model in (WHOLE, NO_SPEED))
    bars_found = [*bars_of_estimator(errors, seeds), *bars_of(whole, none)]
    heads = ("", "bar", *(f"seed {k}" for k in range(seeds)), "")
    lines = tuple((b.letter, b.wanted, *b.values, "yes" if b.met else "NO") for b in bars_found)
    grids = [
        Grid("The small true world: each control on people never seen and speech never heard", heads, lines),
        table_2(whole, none),
    ]
    if ablations:
        of = {model: answers[0][model.name] for model in (*broken, *fewer)}
        little = of[broken[0]]
        breaks = f"What breaks when a part is broken (seed 0, {small.pairs} pairs, short videos)"
        steps = f"Do fewer steps measure the same? (seed 0, {exact.pairs} pairs)"
        grids.append(side_by_side(breaks, {model: of[model] for model in broken}, little))
        grids.append(side_by_side(steps, {model: of[model] for model in fewer}))
        bars_found += bars_of_ablations(of, little)
    minutes = (f"{work[k].seed.minutes():.0f} and {answers[k][WHOLE.name].seconds / 60:.0f}" for k in range(seeds))
    made = (
        f"{sum(p.numel() for p in seeded(world.network, 0).parameters()) / 1e6:.1f} M parameters with their VAE, "
        f"{world.network.image_size} x {world.network.image_size} pixels, {world.network.frames} frames a clip. "
        f"Minutes of a core to train a seed and to ask it: {', '.join(minutes)}."
    )
    text = "\n\n".join((*(f"### {grid.title}\n\n{to_markdown(grid)}" for grid in grids), made))
    write_text(world.out / "proof.md", text + "\n")
    write_json(world.out / "proof.json", {"bars": [asdict(b) for b in bars_found], "whole": [asdict(a) for a in whole]})
    world.say(text)
    return bars_found


def _begin(world: World) -> None:
    """UserError where OUT holds a proof of other numbers: nothing of it would belong to this one."""
    network, training = (json.loads(numbers.model_dump_json()) for numbers in (world.network, world.train))
    made_of = {
        "world": VERSION, "estimator_steps": world.estimator_steps, "base_steps": world.base_steps, "network": network,
        "train": training,
    }  # fmt: skip
    path = world.out / "made_of.json"
    before = json.loads(path.read_text()) if path.is_file() else made_of
    if other := ", ".join(name for name in made_of if before.get(name) != made_of[name]):
        raise UserError(f"{world.out} holds a proof of other numbers ({other}); run: emo proof world --out FOLDER")
    write_json(path, made_of)
