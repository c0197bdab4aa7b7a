"""Tracks: one person is followed, stretches become clips of 3 to 12 s, everything else has its reason."""

from dataclasses import replace

import numpy as np
import pytest

from emo_model.data.config import DataConfig
from emo_model.data.shots import Shot
from emo_model.data.tracks import Faces, clip_id, clips_of_shot, crop_square

CONFIG = DataConfig()
VIDEO = "0123456789abcdef" * 4


def _faces(count: int, fps: float = 25.0, box=(200, 150, 300, 270), size=(640, 480)) -> Faces:
    boxes = np.tile(np.array(box, float), (count, 1))
    return Faces(
        np.arange(count) / fps, count / fps, boxes, np.zeros(count), size, np.zeros(count, bool), np.zeros(count)
    )


def _clips(faces: Faces, config: DataConfig = CONFIG):
    shot = Shot(0, 0, len(faces.times), float(faces.times[0]), faces.end_s)
    clips, rejects = clips_of_shot(VIDEO, shot, faces, config)
    return clips, {(reject.kind, reject.reason): reject for reject in rejects}


def test_a_steady_face_gives_one_clip_at_30_fps():
    clips, rejects = _clips(_faces(200))
    assert [(clip.start_s, clip.num_frames) for clip in clips] == [(0.0, 240)]
    assert clips[0].min_face_px == 120
    assert not rejects


@pytest.mark.parametrize(("seconds", "count"), [(2.96, 0), (3.0, 1), (12.0, 1), (12.04, 2), (24.0, 2), (24.04, 3)])
def test_clips_last_3_to_12_seconds_and_long_stretches_are_split_evenly(seconds, count):
    clips, rejects = _clips(_faces(round(seconds * 25)))
    assert len(clips) == count
    lengths = [clip.num_frames for clip in clips]
    assert all(90 <= length <= 360 for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 2
    if count:
        assert sum(lengths) >= seconds * 30 - 2 * count
        assert all(np.isclose(clip.start_s * 25, round(clip.start_s * 25)) for clip in clips)  # on a source frame
    else:
        assert rejects["shot", "too_short"].score == pytest.approx(seconds)


@pytest.mark.parametrize("fps", [12.0, 23.976, 25.0, 30.0, 60.0])
def test_the_last_frame_of_a_clip_is_still_inside_its_stretch(fps):
    faces = _faces(round(7.3 * fps), fps)
    (clip,), _ = _clips(faces)
    assert clip.start_s + (clip.num_frames - 1) / 30 < faces.end_s <= clip.start_s + (clip.num_frames + 1) / 30


@pytest.mark.parametrize(("lost", "clips"), [(5, 1), (6, 2)])
def test_a_face_lost_for_more_than_5_frames_splits_the_stretch(lost, clips):
    faces = _faces(200)
    faces.boxes[100 : 100 + lost] = np.nan
    found, rejects = _clips(faces)
    assert len(found) == clips
    assert (("shot", "face_lost") in rejects) == (lost > 5)
    if lost > 5:
        assert rejects["shot", "face_lost"].score == lost
        assert found[0].start_s + found[0].num_frames / 30 <= 4.0 + 1e-6
        assert found[1].start_s == pytest.approx(106 / 25)


def test_a_face_that_leaves_keeps_the_time_it_was_there():
    faces = _faces(200)
    faces.boxes[90:] = np.nan
    (clip,), rejects = _clips(faces)
    assert (clip.start_s, clip.num_frames) == (0.0, 108)
    assert rejects["shot", "face_lost"].score == 110


def test_a_face_there_for_two_seconds_only_is_too_short():
    faces = _faces(200)
    faces.boxes[50:] = np.nan
    clips, rejects = _clips(faces)
    assert not clips
    assert rejects["clip", "too_short"].score == pytest.approx(2.0)
    assert rejects["clip", "too_short"].id == clip_id(VIDEO, 0.0) == "0123456789ab_00000000"


def test_nobody_is_no_face():
    faces = _faces(100)
    faces.boxes[:] = np.nan
    assert _clips(faces)[1].keys() == {("shot", "no_face")}


@pytest.mark.parametrize(("ratio", "frames", "rejected"), [(0.9, 200, True), (0.9, 5, False), (0.2, 200, False)])
def test_a_second_person_all_along_rejects_the_shot_unless_negligible_or_a_slip(ratio, frames, rejected):
    faces = _faces(200)
    faces.seconds[:frames] = ratio
    clips, rejects = _clips(faces)
    assert (not clips) == rejected
    if rejected:
        assert (rejects["shot", "two_faces"].score, rejects["shot", "two_faces"].threshold) == (0.9, 0.35)


def test_a_second_person_who_passes_ends_the_clip_and_the_rest_is_kept():
    faces = _faces(400)
    faces.seconds[150:170] = 0.8
    faces.seconds[180:190] = 0.8  # the detector lost sight of them in between
    clips, rejects = _clips(faces)
    assert [(clip.start_s, clip.num_frames) for clip in clips] == [(0.0, 180), (7.6, 252)]
    assert rejects["shot", "two_faces"].score == 0.8
    assert "30" not in rejects["shot", "two_faces"].detail and "40 of 400" in rejects["shot", "two_faces"].detail


def test_a_second_person_seen_now_and_then_rejects_the_clip():
    faces = _faces(200)
    faces.seconds[::30] = 0.8  # never two within a second: no visit, but too often for a slip
    clips, rejects = _clips(faces)
    assert not clips and rejects["clip", "two_faces"].score == 0.8


def test_whoever_is_largest_after_a_second_person_left_is_followed_anew():
    faces = _faces(400)
    faces.seconds[180:200] = 0.9
    faces.boxes[190:] += [250, 0, 250, 0]  # the other one stays
    clips, _ = _clips(faces)
    assert [clip.crop_x > 300 for clip in clips] == [False, True]


def test_a_transition_offers_nothing_and_says_so():
    faces = _faces(200)
    shot = Shot(3, 0, 200, 0.0, faces.end_s, is_transition=True)
    clips, (reject,) = clips_of_shot(VIDEO, shot, faces, CONFIG)
    assert not clips and (reject.id, reject.reason, reject.score) == (f"{VIDEO}:3", "transition", 8.0)


@pytest.mark.parametrize("seed", range(8))
def test_one_square_holds_the_head_in_every_frame_of_a_clip(seed):
    """Faces that wander, come nearer and are lost for up to 5 frames: one square a clip, with room for the head."""
    rng = np.random.default_rng(seed)
    faces = _faces(1000, size=(1280, 720))
    at = np.cumsum(rng.normal(0, 2.5, (1000, 2)), axis=0)
    at -= at.min(axis=0)
    centre = np.array([300.0, 200.0]) + at / np.maximum(at.max(axis=0), [600, 250]) * [600, 250]
    half = (60 + 20 * np.sin(np.arange(1000) / 60))[:, None] * [0.8, 1.0]
    faces.boxes[:] = np.concatenate([centre - half, centre + half], axis=1)
    for lost in rng.integers(10, 990, 12):
        faces.boxes[lost : lost + rng.integers(1, 6)] = np.nan
    clips, _ = _clips(faces)
    assert sum(clip.num_frames for clip in clips) > 900
    for clip in clips:
        during = (faces.times >= clip.start_s) & (faces.times < clip.start_s + clip.num_frames / 30) & faces.found
        x0, y0, x1, y1 = faces.boxes[during].T
        left, top = clip.crop_x, clip.crop_y
        assert (left <= x0).all() and (x1 <= left + clip.crop_size).all()
        assert (top <= y0).all() and (y1 <= top + clip.crop_size).all()
        room = clip.crop_size / max(x1.max() - x0.min(), y1.max() - y0.min())
        assert room == pytest.approx(CONFIG.crop_expansion, abs=0.02) or clip.crop_size == 720


def test_a_jump_in_position_splits_where_no_cut_was_seen():
    faces = _faces(200)
    faces.boxes[100:] += [200, 0, 200, 0]
    assert [clip.start_s for clip in _clips(faces)[0]] == [0.0, 4.0]


def test_a_walk_across_the_picture_is_no_jump():
    faces = _faces(200)
    faces.boxes[:] += (np.arange(200) * 1.5)[:, None] * [1, 0, 1, 0]
    assert len(_clips(faces)[0]) == 1


def test_small_and_cut_off_faces_have_their_own_reasons():
    clips, rejects = _clips(_faces(200, box=(200, 150, 230, 189)))
    assert not clips and (rejects["shot", "face_too_small"].score, 40) == (39, 40)
    clips, rejects = _clips(_faces(200, box=(-30, 150, 70, 270)))
    assert not clips and rejects["shot", "face_cut_off"].score == pytest.approx(0.7)


def test_a_frozen_picture_is_not_footage():
    faces = _faces(200)
    faces.times[100:] += 2.0  # one picture stays on for two seconds
    faces = replace(faces, end_s=faces.end_s + 2.0)
    clips, _ = _clips(faces)
    assert [round(clip.start_s, 2) for clip in clips] == [0.0, 6.0]
    assert clips[0].num_frames / 30 <= 99 / 25 + CONFIG.max_still_s + 1e-6


def test_the_crop_is_the_expanded_union_and_gives_way_to_the_picture():
    assert crop_square(np.array([200.0, 200, 300, 300]), (640, 480), 1.8) == (160, 160, 180)
    assert crop_square(np.array([0.0, 0, 100, 100]), (640, 480), 1.8) == (0, 0, 180)  # moved inside
    assert crop_square(np.array([100.0, 50, 400, 450]), (640, 480), 1.8) == (10, 0, 480)  # shrunk to fit
    x, y, side = crop_square(np.array([100.0, 10, 400, 470]), (640, 480), 1.8)
    assert (side, y) == (506, -13)  # beyond the edge only where the face itself would not fit
    assert 0 <= x <= 640 - side


def test_a_crop_holds_every_face_of_its_clip():
    faces = _faces(200)
    faces.boxes[:] += (40 * np.sin(np.arange(200) / 9))[:, None] * [1, 0, 1, 0]
    (clip,), _ = _clips(faces)
    assert clip.crop_x <= faces.boxes[:, 0].min() and clip.crop_x + clip.crop_size >= faces.boxes[:, 2].max()


def test_a_jump_cut_inside_a_shot_ends_a_clip():
    jumped = np.zeros(300, bool)
    jumped[120] = True
    clips, rejects = _clips(replace(_faces(300), jumped=jumped))
    assert [(clip.start_s, clip.num_frames) for clip in clips] == [(0.0, 144), (4.8, 216)]
    assert not rejects
