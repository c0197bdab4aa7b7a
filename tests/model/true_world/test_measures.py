"""The proof's measures on films whose answers are known."""

import numpy as np
import pytest

from emo_model.true_world import measures
from emo_model.true_world.answers import Answers
from emo_model.true_world.people import people
from emo_model.true_world.proof import at_its_speed, bars_of, over_all


def test_a_person_is_known_by_the_nearest_portrait():
    gallery = people(6, 0, apart=0.4).traits
    own = np.array([0, 3, 5, 2])
    seen = gallery[own] + 0.01
    assert measures.knows_person(seen, gallery, own).all()
    assert not measures.knows_person(seen, gallery, (own + 1) % 6).any()


def test_the_mouth_is_held_against_its_own_voice():
    rng = np.random.default_rng(0)
    voice = rng.uniform(0, 1, (5, 200))
    np.testing.assert_allclose(measures.mouth_follows(2 * voice - 1, voice), 1)
    assert np.abs(measures.mouth_follows(rng.uniform(0, 1, (5, 200)), voice)).max() < 0.3
    np.testing.assert_allclose(measures.mouth_follows(np.full((1, 200), 0.5), voice[:1]), 0, atol=1e-6)


@pytest.mark.parametrize("degrees", [0.3, 2.0, 7.0])
def test_a_head_that_turns_evenly_has_its_speed_and_no_variance(degrees):
    euler = np.zeros((2, 10, 3))
    euler[:, :, 1] = np.arange(10) * degrees
    found = measures.table_2(measures.head_speed(euler))
    assert found["mean velocity"] == pytest.approx(degrees, rel=1e-3)  # quaternions are smoothed along a line
    assert found["velocity variance"] == pytest.approx(0, abs=1e-5) and found["VMV"] == pytest.approx(0, abs=1e-9)


def test_variance_within_clips_and_between_them_are_told_apart():
    speed = np.array([[1.0, 3.0], [3.0, 5.0]])
    assert measures.table_2(speed) == {"mean velocity": 3.0, "velocity variance": 1.0, "VMV": 1.0}


def test_the_share_of_a_head_inside_its_region():
    head, region = np.array([[[0.2, 0.2, 0.4, 0.4], [0.3, 0.2, 0.5, 0.4]]]), np.array([[0.0, 0.0, 0.4, 1.0]])
    assert measures.inside(head, region) == pytest.approx([(1 + 0.5) / 2])
    assert measures.inside(head, region + 2) == pytest.approx([0])


def test_sway_is_distance_from_the_mean_place():
    still, swaying = np.zeros((1, 8, 2)), np.zeros((1, 8, 2))
    swaying[0, ::2, 0] = 0.2
    assert measures.sway(still) == 0 and measures.sway(swaying) == pytest.approx([0.1])


def test_seams_are_where_clips_meet():
    values = np.arange(48, dtype=np.float32)
    values[12:] += 4.0  # at one of the three seams, a jump of 5 where all others are 1
    film = values.reshape(1, 48, 1, 1)
    assert measures.seam_ratio(film, 12) == pytest.approx([(5 + 1 + 1) / 3])
    assert measures.seam_ratio(np.arange(48, dtype=np.float32).reshape(1, 48, 1), 12) == pytest.approx([1])


def passing() -> Answers:
    steps = {f"{s}": {"mean velocity": s, "velocity variance": 0.1, "VMV": 0.1} for s in (0.5, 2.0, 4.0, 7.0)}
    return Answers(
        person=1.0, mouth=0.9, mouth_others=0.05, speed=steps, inside={"left": 0.95}, follows=0.9,
        wider_sways_more=(0.01, 0.02), seam=1.1, person_first=0.99, person_last=0.97,
        shape={"aspect": 0.9, "hairline": 0.8}, rises=[(0.5, 1.5)] * 3, seam_minute=1.15, drift=0.01,
    )  # fmt: skip


@pytest.fixture
def none() -> Answers:
    return Answers(speed={"none": {"mean velocity": 3.0, "velocity variance": 1.0, "VMV": 1.0}})


def test_all_bars_pass_where_all_is_well(none):
    assert [bar.met for bar in bars_of([passing()], [none])] == [True] * 17


@pytest.mark.parametrize(
    "field, value, letter",
    [
        ("person", 0.94, "a"), ("shape", {"aspect": 0.9, "hairline": 0.1}, "a"),
        ("mouth", 0.79, "b"), ("mouth_others", 0.25, "b"),
        ("inside", {"left": 0.99, "wide": 0.8}, "d"), ("follows", 0.4, "d"), ("wider_sways_more", (-0.001, 0.02), "d"),
        ("seam", 1.3, "e"), ("person_last", 0.9, "e"), ("seam_minute", 1.3, "e"), ("drift", 0.1, "e"),
        ("rises", [(0.5, 1.5), (-0.1, 0.9), (0.5, 1.5)], "c"),
    ],
)  # fmt: skip
def test_one_seed_that_misses_a_bar_misses_it_for_all(none, field, value, letter):
    bad = passing()
    setattr(bad, field, value)
    missed = [bar for bar in bars_of([passing(), bad], [none, none]) if not bar.met]
    assert [bar.letter for bar in missed] == [letter]


def test_speeds_that_do_not_rise_are_missed(none):
    flat = passing()
    flat.speed["4.0"]["mean velocity"] = 1.0
    missed = [bar.wanted for bar in bars_of([flat], [none]) if not bar.met]
    assert missed[0] == "mean speed rises over four asked" and all("at a like mean speed" in m for m in missed[1:])


def test_heads_are_held_against_others_that_turn_as_fast(none):
    """Faster ones vary more: at 3 degrees a frame, half way from 2 to 4, half way from 1 to 3."""
    some = passing()
    for speed, variance in zip((0.5, 2.0, 4.0, 7.0), (0.1, 1.0, 3.0, 9.0), strict=True):
        some.speed[f"{speed}"]["velocity variance"] = variance
    assert at_its_speed(some, none, "velocity variance") == pytest.approx(2.0)
    assert over_all(some, none, "velocity variance") == pytest.approx(3.275)
    some.speed["4.0"]["mean velocity"] = 1.5
    assert np.isnan(at_its_speed(some, none, "velocity variance"))


def test_what_was_not_measured_is_not_a_pass(none):
    assert not any(bar.met for bar in bars_of([Answers()], [none]))
