"""The proof of learning: fair questions, honest intervals; the long test holds the three stages against the bars."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from emo_model import diffusion
from emo_model.cli import main
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from emo_model.train import proof, stages
from emo_model.train.begin import begin, provenance
from emo_model.train.config import TINY_TRAIN, RunSpec
from emo_model.train.loop import train
from emo_model.train.objective import Draw, Objective
from emo_model.train.proof import Comparison, Question, bars, compare, questions, with_speeds_of_other_clips
from tests.model.clips_on_disk import make_root
from tests.model.networks.small import SMALL, small
from tests.model.train.moving_faces import MovingFaces


def asked(clips: int, windows: int) -> list[Question]:
    """Questions of which only clip, frame and speed are looked at: clip k's windows have speed k."""
    ids = np.repeat(np.arange(clips), windows)
    order = np.random.default_rng(0).permutation(len(ids))
    frames = np.tile(np.arange(windows) * 10, clips)
    nothing = Draw(*(torch.zeros(1) for _ in range(6)))
    return [
        Question(
            {
                "clip_id": [f"clip{ids[i]}" for i in part],
                "frame": torch.tensor(frames[part]),
                "speed": torch.tensor(ids[part], dtype=torch.float32)[:, None].expand(-1, 7),
            },
            nothing,
        )
        for part in np.array_split(order, 5)
    ]


def made_up(change: float, seed: int = 0) -> Comparison:
    """Losses of 12 clips x 20 windows: questions differ by far more than the models do, clips gain unevenly."""
    rng, world = np.random.default_rng(seed), asked(12, 20)
    clips = [clip for question in world for clip in question.batch["clip_id"]]
    own = dict(zip(sorted(set(clips)), rng.normal(0, 0.01, 12), strict=True))
    before = rng.uniform(0.1, 1.0, len(clips))
    factor = 1 + change + np.array([own[clip] for clip in clips]) + rng.normal(0, 0.01, len(clips))
    return compare(world, before, before * factor, stage="speed", people="held out", answers=("start", "end"))


def test_a_real_effect_smaller_than_what_questions_differ_by_is_seen():
    found = made_up(-0.02)
    assert found.change == pytest.approx(-0.02, abs=0.008)
    assert found.falls
    for low, high in (found.over_seconds, found.over_clips):
        assert low < found.change < high < 0


def test_no_effect_is_seen_as_none():
    """Each clip gains or loses by chance: seconds alone would often take that for an effect, clips do not."""
    found = [made_up(0.0, seed) for seed in range(20)]
    assert sum(low < 0 < high for low, high in (c.over_clips for c in found)) >= 17
    assert sum(c.falls for c in found) <= 2


def test_answers_are_compared_question_by_question():
    """The same losses in another order are no pairs: the interval is as wide as questions differ."""
    world = asked(12, 20)
    before = np.random.default_rng(1).uniform(0.1, 1.0, 240)
    paired = compare(world, before, before * 0.98, stage="speed", people="held out", answers=("a", "b"))
    assert paired.over_clips == pytest.approx((-0.02, -0.02))
    mixed = compare(world, before, before[::-1] * 0.98, stage="speed", people="held out", answers=("a", "b"))
    assert mixed.change == pytest.approx(-0.02)
    assert mixed.over_clips[1] - mixed.over_clips[0] > 0.05


def test_one_clip_gives_no_interval_over_clips_and_proves_nothing():
    found = compare(asked(1, 50), np.ones(50), np.full(50, 0.5), stage="image", people="held out", answers=("a", "b"))
    assert (found.clips, found.over_clips, found.falls) == (1, None, False)


def test_no_window_gets_a_speed_of_its_own_clip():
    world = asked(3, 30)
    others = with_speeds_of_other_clips(world)
    for before, after in zip(world, others, strict=True):
        assert before.batch["clip_id"] == after.batch["clip_id"] and before.draw is after.draw
        own = torch.tensor([float(clip.removeprefix("clip")) for clip in before.batch["clip_id"]])
        assert (after.batch["speed"] != own[:, None]).all()
        assert set(after.batch["speed"].flatten().tolist()) <= {0.0, 1.0, 2.0}


def test_every_model_is_asked_the_same(monkeypatch):
    """Also a model of other weights, and a data set opened anew with another seed."""
    asked_twice, seen = [], []
    monkeypatch.setattr(Objective, "forward", lambda self, batch, draw: seen.append((batch, draw)) or draw.t.double())
    for seed in (0, 1):
        stage = stages.SPEED
        objective = Objective(
            small(seed, awake=True), diffusion.schedule(diffusion.RECIPES["velocity"]), stage, TINY_TRAIN
        )
        asked_twice.append(questions(MovingFaces(stage, SMALL), objective, 3, 4))
        assert len(proof.losses(objective, asked_twice[-1])) == 12
    first, second = seen[:3], seen[3:]
    for (batch, draw), (again, redraw) in zip(first, second, strict=True):
        assert all(torch.equal(batch[name], again[name]) for name in batch if name != "clip_id")
        assert torch.equal(draw.noise, redraw.noise) and torch.equal(draw.t, redraw.t)
        assert draw.reference.all() and draw.speed.all()  # nothing is dropped
    levels = torch.cat([draw.t for _, draw in first])
    assert [int(((levels >= low) & (levels < low + 250)).sum()) for low in (0, 250, 500, 750)] == [3, 3, 3, 3]


def test_bars_are_held_against_the_people_held_out():
    def fell(stage: str, answer: str, change: float, people: str = "held out") -> Comparison:
        interval = (change - 0.001, change + 0.001)
        return Comparison(stage, people, (answer, "end"), 1.0, 1 + change, change, interval, interval, 9, 9, 9)

    good = [fell("image", "start", -0.4), fell("video", "start", -0.31), fell("speed", "start", -0.01)]
    good.append(fell("speed", proof.OTHERS, -0.002))
    assert [met for _, met in bars(good)] == [True] * 4
    assert [met for _, met in bars([*good[1:], fell("image", "start", -0.29)])] == [False, True, True, True]
    assert [met for _, met in bars([*good[:3], fell("speed", proof.OTHERS, -0.0005)])] == [True, True, True, False]
    assert [met for _, met in bars([replace(c, people="training") for c in good])] == []
    assert [met for _, met in bars(good[:3])] == [True, True, True, False]  # not compared is not shown


def test_without_a_finished_run_the_next_command_is_named(tmp_path, monkeypatch):
    (tmp_path / "0_raw").mkdir()
    monkeypatch.setenv("EMO_DATA", str(tmp_path))
    result = CliRunner().invoke(main, ["proof", "stages"])
    assert result.exit_code == 2 and "run: make demo" in result.stderr


@pytest.mark.long
@pytest.mark.weights
def test_three_stages_on_the_sample_videos_against_the_bars(tmp_path, monkeypatch):
    """What `make demo` and `make proof-stages` do, without Dagster: TINY's own steps, half an hour on two cores."""
    from emo_model import samples
    from emo_model.talking_set import render_set

    media = Path(os.environ.get("EMO_SAMPLES", "data/samples"))
    if not (media / "voices/silero_test.wav").exists():
        pytest.skip("no sample media; run: make setup")
    raw, root = tmp_path / "raw", tmp_path / "data"
    shutil.copytree(media / "videos", raw)
    voices = samples.voices(media)
    render_set(raw, people=samples.people(media), voices=voices)
    monkeypatch.setenv("EMO_DATA", str(root))

    def emo(*arguments: str) -> str:
        result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()[-1]

    emo("prepare", str(raw), "--identity", "folder")
    start: list[str] = []
    for stage in stages.STAGES:
        run = root / "6_checkpoints" / stage / "proof"
        start = ["--start", emo("train", stage, str(run), "--threads", "2", *start)]
    more, strangers = tmp_path / "more", tmp_path / "strangers"
    portraits = [str(media / "portraits" / name) for name in ("astronaut.png", "obama.jpg")]
    spoken = ("--voice", str(voices[0]), "--videos", "16", "--seconds", "3.1", "--seed", "50")
    emo("samples", "render", str(more), *portraits, *spoken)
    monkeypatch.setenv("EMO_DATA", str(strangers))
    emo("prepare", str(more), "--identity", "folder")
    monkeypatch.setenv("EMO_DATA", str(root))
    asked = ["--threads", "2", "--batches", "32", "--held-out", str(strangers)]
    result = CliRunner().invoke(main, ["proof", "stages", *asked], catch_exceptions=False)
    found = json.loads((run / "proof.json").read_text())
    assert {c["stage"] for c in found["comparisons"]} == set(stages.STAGES)
    assert [bar["met"] for bar in found["bars"]] == [True] * 4, found["comparisons"]
    assert result.exit_code == 0


def test_a_run_that_did_not_start_where_its_record_says_is_refused(tmp_path):
    from tests.model.train.test_loop import run as trained

    trained(tmp_path / "one", 1)
    folder = tmp_path / "one"
    record = {"stage": "image", "manifest": "none", "root": "none", "run_dir": str(folder)}
    (folder / "run.json").write_text(json.dumps(record))
    models, _, config = proof._models(folder)
    assert config.noise == TINY_TRAIN.noise
    assert not torch.equal(models["start"].backbone.unet.conv_out.weight, models["end"].backbone.unet.conv_out.weight)
    shutil.rmtree(folder / "start")
    shutil.copytree(folder / "checkpoints" / "step-0000001", folder / "start")
    with pytest.raises(UserError, match="did not start from .*start as it is now"):
        proof._models(folder)


def finished_chain(root: DataRoot) -> Path:
    """Two trained steps of a stage-1 run on `root`'s clips, with two of its own held out."""
    manifest = root.folder("5_manifest") / "train.parquet"
    held = root.folder("5_manifest") / "held_out_stage1.parquet"
    shutil.copy(manifest, held)
    spec = RunSpec(
        stage="image", manifest=manifest, heldout=held, root=root.path, run_dir=root.path / "6_checkpoints/image/run",
        steps=2, batch_size=1, threads=1, provenance=provenance(manifest),
    )  # fmt: skip
    begin(spec)
    train(spec)
    return spec.run_dir


def test_clips_of_another_data_root_are_asked_about_as_held_out(tmp_path):
    root = make_root(tmp_path / "one", {"ann": 20, "bob": 20})
    run = finished_chain(root)
    strangers = make_root(tmp_path / "two", {"cleo": 20, "dora": 20, "eve": 20})
    folder = strangers.folder("5_manifest")
    for name in ("train_stage1", "train_stage2"):
        shutil.copy(folder / "train.parquet", folder / f"{name}.parquet")
    alone = proof.prove(root, run, 4, 4)
    both = proof.prove(root, run, 4, 4, more=[strangers])
    clips = {(c.people, c.clips) for c in alone}, {(c.people, c.clips) for c in both}
    assert clips == ({("held out", 2), ("training", 2)}, {("held out", 5), ("training", 2)})
    known = make_root(tmp_path / "three", {"bob": 20, "fay": 20})
    shutil.copy(known.folder("5_manifest") / "train.parquet", known.folder("5_manifest") / "train_stage2.parquet")
    with pytest.raises(UserError, match="learned from bob, whom .*three shows"):
        proof.prove(root, run, 4, 4, more=[known])
    empty = DataRoot(tmp_path / "four").create()
    with pytest.raises(UserError, match="holds no clip for stage 2; run: EMO_DATA=.*four emo prepare"):
        proof.prove(root, run, 4, 4, more=[empty])
