"""The proof itself, small: what is trained from what, what is kept, what a killed one goes on with."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from emo_model import diffusion, samples
from emo_model.cli import main
from emo_model.diffusion import RECIPES
from emo_model.errors import UserError
from emo_model.generate.guidance import Guidance
from emo_model.generate.sampler import animate
from emo_model.networks.config import TINY_NETWORK
from emo_model.networks.emo import seeded
from emo_model.train.config import StageTraining
from emo_model.true_world import bars, estimator, proof
from emo_model.true_world.answers import PLACES, Answers, Asker, Sizes
from emo_model.true_world.clips import FRAMES
from emo_model.true_world.people import people
from emo_model.true_world.videos import How, _seed, videos
from emo_model.true_world.voices import Voice

STEPS = StageTraining(steps=2, batch_size=2, learning_rate=1e-3)
SHORT = proof.TRAIN.model_copy(
    update={"image": STEPS, "video": STEPS, "speed": STEPS, "validation_batches": 1, "validation_batch_size": 1}
)
SMALL = proof.NETWORK.model_copy(update={"channels": (16, 16), "norm_groups": 4})
FEW = Sizes(pairs=2, talk=13, turn=12, place=12, speeds=(0, 3), minutes=0)
HOW = How(steps=2)


def voice(seed: int, frames: int = FRAMES + 20) -> Voice:
    rng, net = np.random.default_rng(seed), TINY_NETWORK
    features = rng.normal(size=(frames, net.audio_layers, net.audio_width)).astype(np.float16)
    return Voice(features, rng.uniform(0, 1, frames))


def without_recordings(out: Path) -> proof.World:
    """A proof with an estimator that has learned nothing."""
    found = proof.World(
        out, out, lambda line: None, 1, SMALL, SHORT, estimator_steps=1, base_steps=1, films=1, exact_steps=3
    )
    out.mkdir()
    found.__dict__["voices"] = ([voice(1), voice(2)], [voice(3), voice(4, 100)])
    return found


@pytest.fixture
def world(tmp_path):
    return without_recordings(tmp_path / "out")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Of one seed, with all ablations, and what it found."""
    world = without_recordings(tmp_path_factory.mktemp("proof") / "out")
    return world, proof.prove(world, 1, HOW, FEW, FEW, FEW)


def test_ablations_branch_from_the_whole_models_stages_and_train_what_they_say(finished):
    seed = proof.Seed(finished[0], 0)
    for model in (proof.WHOLE, *(m for m in proof.ABLATIONS if m.trained)):
        run_dir = seed.checkpoint("speed", model).parents[1]
        record = json.loads((run_dir / "summary.json").read_text())
        trains = {"temporal_modules", "speed_layers"} | ({"audio_layers"} if "Audio" in model.name else set())
        assert set(record["moved"]) == trains == set(record["trains"])
    assert {path.name for path in seed.folder.iterdir()} == {
        "Audio_Layers_trained_in_stage_3", "speeds_shuffled_in_training", "whole", "answers", "pictures",
    }  # fmt: skip
    assert [path.name for path in (seed.folder / "speeds_shuffled_in_training").iterdir()] == ["speed"]


def test_a_proof_writes_its_table_and_the_second_time_only_reads(finished, monkeypatch):
    world, found = finished
    text = (world.out / "proof.md").read_text()
    assert len(found) == 20 + 5 and all(f"| {bar.wanted} |" in text for bar in found[:20])
    assert [bar.letter for bar in found[20:]] == ["a", "b", "c", "d", "e"]
    assert all(f"| {model.name} |" in text for model in proof.ABLATIONS)
    assert all(f"| whole, {how} |" in text for how in ("asked as little", "2 steps of DDIM", "3 steps of DDIM"))
    assert text.count("| NO |") + text.count("| yes |") == 20
    pictures = world.out / "seed-0" / "pictures"
    assert (pictures / "whole" / "talk.png").is_file() and (pictures / "without_motion_frames").is_dir()
    monkeypatch.setattr(proof, "load_network", lambda _folder: pytest.fail("asked again"))
    again = proof.prove(world, 1, HOW, FEW, FEW, FEW)
    assert [bar.met for bar in again] == [bar.met for bar in found]


def test_killed_between_two_models_it_goes_on(world, monkeypatch):
    asked = Asker.ask

    def once(self, *given, **named):
        monkeypatch.setattr(Asker, "ask", lambda *_given, **_named: (_ for _ in ()).throw(KeyboardInterrupt))
        return asked(self, *given, **named)

    monkeypatch.setattr(Asker, "ask", once)
    with pytest.raises(KeyboardInterrupt):
        proof.prove(world, 1, HOW, FEW, ablations=False)
    assert [path.name for path in (world.out / "seed-0" / "answers").iterdir()] == ["whole.json"]
    trained = (world.out / "seed-0" / "whole" / "speed" / "summary.json").read_text()
    monkeypatch.setattr(Asker, "ask", asked)
    proof.prove(world, 1, HOW, FEW, ablations=False)
    assert (world.out / "proof.md").is_file()
    assert (world.out / "seed-0" / "whole" / "speed" / "summary.json").read_text() == trained


@pytest.mark.long
def test_seeds_in_processes_of_their_own_answer_as_in_this_one(finished, tmp_path):
    world = without_recordings(tmp_path / "out")
    world.keep_voices(*world.voices)
    proof.prove(replace(world, say=print), 2, HOW, FEW, ablations=False, jobs=2)

    def answers(out: Path, seed: int) -> list[dict]:
        kept = [out / f"seed-{seed}" / "answers" / f"{name}.json" for name in ("whole", "no_Speed_Layers_(stage_2)")]
        return [{**json.loads(path.read_text())["answers"], "seconds": 0} for path in kept]

    assert str(answers(world.out, 0)) == str(answers(finished[0].out, 0))  # as text: they hold NaN
    assert str(answers(world.out, 1)) != str(answers(world.out, 0))


def test_a_proof_of_other_numbers_is_refused_and_kept(world):
    proof._begin(world)
    before = (world.out / "made_of.json").read_text()
    proof._begin(world)
    with pytest.raises(UserError, match=r"other numbers \(estimator_steps\); run: emo proof world --out"):
        proof._begin(replace(world, estimator_steps=7))
    assert (world.out / "made_of.json").read_text() == before


def test_an_ablation_must_lose_its_own_number_and_no_other():
    speeds = {"0.50": {"mean velocity": 1.0}, "6.00": {"mean velocity": 5.0}}
    whole = Answers(person=1.0, mouth=0.9, speed=speeds, follows=0.9, seam=1.1)
    by_name = {model.name: model for model in proof.ABLATIONS}
    flat = {"0.50": {"mean velocity": 3.0}, "6.00": {"mean velocity": 3.5}}
    broken = {
        "without reference": replace(whole, person=0.1),
        "without Audio Layers": replace(whole, mouth=0.05),
        "speeds shuffled in training": replace(whole, speed=flat),
        "without face region": replace(whole, follows=0.1),
        "without motion frames": replace(whole, seam=1.9),
    }
    answers = {by_name[name]: a for name, a in broken.items()}
    assert [bar.met for bar in proof.bars_of_ablations(answers, whole)] == [True] * 5
    assert [bar.met for bar in proof.bars_of_ablations(dict.fromkeys(answers, whole), whole)] == [False] * 5
    mute = {model: replace(a, mouth=0.1) for model, a in answers.items()}  # the voice is lost in all of them
    lost = proof.bars_of_ablations(mute, whole)
    assert [bar.met for bar in lost] == [False, True, False, False, False] and lost[0].values == ("not b",)


def test_other_questions_are_asked_anew(finished):
    seed = proof.Seed(finished[0], 0)
    few = seed.answers(proof.WHOLE, FEW, HOW)
    more = seed.answers(proof.WHOLE, replace(FEW, speeds=(0, 1, 3)), HOW)
    assert (len(few.speed), len(more.speed)) == (2, 3)


def test_a_model_that_was_trained_again_is_asked_again(finished, monkeypatch):
    seed = proof.Seed(finished[0], 0)
    sizes = replace(FEW, talk=15)
    seed.answers(proof.WHOLE, sizes, HOW)
    monkeypatch.setattr(proof, "load_network", lambda _folder: pytest.fail("asked again"))
    seed.answers(proof.WHOLE, sizes, HOW)
    monkeypatch.setattr(proof, "checkpoint_sha256", lambda _folder: "another")
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        seed.answers(proof.WHOLE, sizes, HOW)


def test_a_model_is_asked_with_noise_as_it_learned_from(finished, monkeypatch):
    asked = []

    def ask(_asker, _emo, _scheduler, how, _sizes, no_speed):
        asked.append(how.shared)
        return Answers()

    monkeypatch.setattr(Asker, "ask", ask)
    seed = proof.Seed(finished[0], 0)
    seed.answers(proof.WHOLE, replace(FEW, talk=14), HOW)
    assert asked == [RECIPES[proof.TRAIN.noise].shared] and asked != [0.0]


@pytest.fixture(scope="module")
def pairs():
    return bars.pairs([voice(5), voice(6)], proof.NETWORK.image_size, 3, 30)


def test_people_asked_about_are_none_that_a_model_saw(pairs):
    asked = people(bars.PEOPLE, bars.SEED, bars.APART).traits
    for seed in (0, 1, 2, 100, proof.HELD_OUT_SEED):
        known = people(500, seed).traits
        assert not (np.abs(asked[:, None] - known[None]).max(-1) < 1e-6).any()


def test_the_proof_asks_of_the_sampler_that_makes_videos(pairs):
    """Many videos at once (videos.py) and one (generate/sampler.py): seams, motion frames, guidance, shared noise."""
    emo, scheduler = seeded(SMALL, 0).eval(), diffusion.schedule(RECIPES["clean"])
    asked, guidance = pairs.asked(1.0, frames=30), Guidance(reference=1.0, audio=2.0, speed=2.0, motion=1.5)
    many = videos(emo, scheduler, asked, How(steps=2, guidance=guidance, seed=3, shared=0.5))
    for k in (0, 2):
        clips = animate(
            emo, scheduler, asked.portraits[k], asked.masks[k], asked.audio[k], 1.0, steps=2, guidance=guidance,
            seed=_seed(3, k), shared=0.5,
        )  # fmt: skip
        torch.testing.assert_close(torch.cat(list(clips)), many[k], atol=1e-4, rtol=0)


def test_a_model_that_is_told_no_region_is_told_the_portraits_own(pairs):
    emo, scheduler = seeded(SMALL, 0).eval(), diffusion.schedule(RECIPES["clean"])
    left, right = (pairs.asked(1.0, np.array([box] * 3), 12) for box in PLACES.values())
    told = [videos(emo, scheduler, asked, How(steps=2, without="mask")) for asked in (left, right)]
    torch.testing.assert_close(*told)
    torch.testing.assert_close(told[0], videos(emo, scheduler, pairs.asked(1.0, frames=12), How(steps=2)))
    assert not torch.equal(left.masks, right.masks)


def test_a_video_is_the_same_whatever_it_is_made_with(pairs):
    emo = seeded(proof.NETWORK, 0).eval()
    scheduler = diffusion.schedule(diffusion.RECIPES["clean"])
    asked = pairs.asked(1.0, frames=14)
    one, many = (videos(emo, scheduler, asked, How(steps=2, at_once=size)) for size in (1, 3))
    torch.testing.assert_close(one, many, atol=1e-4, rtol=0)
    assert one.shape == (3, 14, 3, proof.NETWORK.image_size, proof.NETWORK.image_size)
    assert not torch.allclose(one, videos(emo, scheduler, asked, How(steps=2, seed=1)))


def test_an_estimator_learns_from_rendered_frames():
    """In seconds, so coarsely: where the head is, better than a constant would."""
    emo = seeded(proof.NETWORK, 0)
    seen = estimator.fit(emo, steps=150, batch=32)
    rng = np.random.default_rng(8)
    pixels, truth = estimator.frames(200, rng, people(20, 900).traits, proof.NETWORK.image_size)
    found = seen.see(pixels)
    places = (truth[:, estimator.PLACE : estimator.PLACE + 2].numpy() + 1) / 2
    assert np.abs(found.centre - places).mean() < 0.7 * np.abs(places - places.mean(0)).mean()


@pytest.mark.long
@pytest.mark.weights
def test_stage_1_learns_who_it_is_shown(tmp_path):
    """From the command line, ten minutes on two cores: reference and face region after a fifth of stage 1."""
    folder = samples.default_folder()
    if not (folder / "voices/silero_test.wav").exists():
        pytest.skip("no sample media; run: make setup")
    numbers = proof.TRAIN.model_copy(update={"image": proof.TRAIN.image.model_copy(update={"steps": 600})})
    world = proof.World(tmp_path, folder, print, 2, train=numbers, estimator_steps=2500)
    checkpoint = proof.Seed(world, 0).checkpoint("image")
    assert json.loads((checkpoint.parents[1] / "summary.json").read_text())["loss_end"]["heldout"] < 0.25
    errors = bars.estimator_errors(world.estimator, seeded(proof.NETWORK, 0), world.speeds)
    assert errors["mouth r"] > 0.97 and errors["identity"] > 0.95


def test_an_estimator_that_learned_nothing_is_not_believed(finished):
    _, found = finished
    assert not any(bar.met for bar in found if bar.wanted.startswith("estimator: mouth"))
    good = {"mouth r": 0.99, "identity": 1.0, "speed": 0.2, "a third of the smallest gap of speeds": 0.5}
    assert [bar.met for bar in proof.bars_of_estimator(good, 1)] == [True] * 3
    bad = {"mouth r": 0.97, "identity": 0.98, "speed": 0.6, "a third of the smallest gap of speeds": 0.5}
    assert [bar.met for bar in proof.bars_of_estimator(bad, 1)] == [False] * 3


def test_both_proofs_are_found():
    result = CliRunner().invoke(main, ["proof", "--help"])
    assert result.exit_code == 0 and "world" in result.output and "stages" in result.output
