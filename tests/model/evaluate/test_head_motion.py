"""Table 2 and figure 7 on faces: the true world's measures, where some frames show no face."""

import numpy as np
import pytest

from emo_model.evaluate import head_motion
from emo_model.evaluate.head_motion import NO_FACE, NO_TURN, Seen
from emo_model.true_world import measures

T = 40
RNG = np.random.default_rng(0)


def film(speed=1.0, x=0.5, swing=0.0, lost: slice | None = None, half=0.1) -> Seen:
    """A face about (x, 0.5) that swings to either side by turns, at a speed; none found in `lost` frames."""
    at = x + swing * (-1.0) ** np.arange(T)
    boxes = np.stack([at - half, np.full(T, 0.4), at + half, np.full(T, 0.6)], axis=1)
    speeds = np.broadcast_to(speed, T).astype(float).copy()
    if lost is not None:
        boxes[lost], speeds[lost] = np.nan, np.nan
    return Seen(speeds, boxes)


def test_where_every_frame_shows_a_face_the_numbers_are_the_true_worlds_own():
    speeds = RNG.uniform(0, 3, (3, T))
    films = [film(speed, swing=0.02 * k) for k, speed in enumerate(speeds)]
    people = ["ann", "ben", "cid"]
    found = head_motion.table_2(films, people)
    expected = measures.table_2(speeds[:, 3:])  # the first frame has no turn, two more are left out
    assert {name: number.value for name, number in found.items()} == pytest.approx(expected)
    assert all(number.interval[0] <= number.value <= number.interval[1] for number in found.values())
    boxes = np.stack([seen.boxes for seen in films])
    regions = np.tile([0.35, 0.3, 0.58, 0.7], (3, 1))
    assert head_motion.inside(films, regions, people).value == pytest.approx(measures.inside(boxes, regions).mean())
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    assert head_motion.sway(films, people).value == pytest.approx(measures.sway(centre).mean())


def test_frames_without_a_face_are_left_out_and_counted():
    """The numbers are those of the frames that are known, whatever the others would be."""
    films = [film(1.0, lost=slice(10, 20)), film(3.0)]
    found = head_motion.table_2(films, ["ann", "ben"])
    assert found["VMV"].value == pytest.approx(1.0)  # means 1 and 3
    assert found["velocity variance"].value == pytest.approx(0.0)
    assert (found["VMV"].frames, found["VMV"].of_frames) == (2 * 37 - 10, 2 * 37)
    inside = head_motion.inside(films, np.tile([0.0, 0.0, 0.5, 1.0], (2, 1)), ["ann", "ben"])
    assert (inside.value, inside.frames, inside.of_frames) == (pytest.approx(0.5), 70, 80)


def test_a_video_with_few_faces_does_not_speak_for_all_its_frames():
    """One face in 40 frames has no sway; 0 would be a number, and wrong."""
    lone = film(lost=slice(1, None))
    assert head_motion.sway([lone], ["ann"]).value is None
    both = head_motion.sway([lone, film(swing=0.1)], ["ann", "ben"])
    assert (both.value, both.frames, both.of_frames) == (pytest.approx(0.1), 40, 80)


def test_a_dash_says_why_and_how_much_was_found():
    blind = [film(lost=slice(None)), film(lost=slice(5, None))]
    for number in head_motion.table_2(blind, ["ann", "ben"]).values():
        assert (number.value, number.reason, number.frames, str(number)) == (None, NO_TURN, 2, "–")
    sway = head_motion.sway(blind, ["ann", "ben"])
    assert (sway.value, sway.reason, sway.frames, sway.of_frames) == (None, NO_FACE, 5, 80)
    alone = head_motion.table_2([film()], ["ann"])
    assert alone["mean velocity"].value == 1.0 and alone["VMV"].value is None and "needs two" in alone["VMV"].reason


def test_a_face_that_goes_where_its_region_goes_follows_it():
    people = ["ann", "ben"]
    left, right = [film(x=0.3), film(x=0.35, lost=slice(4))], [film(x=0.6), film(x=0.5)]
    found = head_motion.follows(left, right, 0.3, people)
    assert found.value == pytest.approx((1.0 + 0.5) / 2) and (found.frames, found.of_frames) == (156, 160)
    assert head_motion.follows(left, left, 0.3, people).value == pytest.approx(0)
    more = head_motion.wider_sways_more([film(swing=0.01)] * 2, [film(swing=0.03), film(swing=0.05)], people)
    assert more.value == pytest.approx(0.03) and more.interval == pytest.approx((0.02, 0.04))


@pytest.mark.weights
def test_a_real_face_is_seen_where_it_is(need_weights, need_sample):
    """Every frame of a talking head: inside the whole picture, not inside a corner, and turning."""
    need_weights("face_landmarker")
    seen = head_motion.see(need_sample("videos/ben/single_face.mp4"), 0.5)
    whole, corner = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 0.05, 0.05]])
    assert len(seen.boxes) == 15 and seen.found.all()
    assert (
        head_motion.inside([seen], whole, ["ben"]).value == 1 and head_motion.inside([seen], corner, ["ben"]).value == 0
    )
    assert 0.05 < head_motion.table_2([seen], ["ben"])["mean velocity"].value < 5
