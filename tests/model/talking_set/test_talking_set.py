"""The rendered talking set: its truth is true, and the landmarker sees what was drawn."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from emo_model.data import media
from emo_model.talking_set import motion
from emo_model.talking_set.render import SPEEDS


def test_a_path_has_the_speed_it_was_asked_for_and_is_smooth():
    times = np.arange(0, 10, 1 / 30)
    for speed in (0.3, 1.0, 2.0):
        turns = motion.path(times, speed, np.random.default_rng(1))
        assert motion.mean_speed(turns, 30) == pytest.approx(speed, rel=0.2)
        assert np.abs(np.diff(motion.speeds(turns, 30))).max() < 0.35 * speed


def test_speed_is_the_angle_between_rotations_in_30_fps_units_whatever_the_frame_rate():
    for fps in (25, 30, 50):
        steps = np.arange(20) * 30 / fps  # one degree a frame at 30 fps
        turns = Rotation.from_euler("y", steps[:, None], degrees=True)
        assert motion.speeds(turns, fps) == pytest.approx(np.ones(20))


def test_the_mouth_follows_loudness():
    rate, times = 16000, np.arange(90) / 30
    envelope = np.repeat([0.0, 0.02, 0.3], rate)
    tone = (envelope * np.sin(np.arange(3 * rate) * 0.3)).astype(np.float32)
    opening = motion.mouth(tone, rate, times)
    quiet, middle, loud = opening[5:25].mean(), opening[35:55].mean(), opening[65:85].mean()
    assert quiet == pytest.approx(0, abs=1e-3)
    assert quiet < middle < loud <= 1


def test_every_person_has_a_slow_and_a_fast_video():
    """Two in a row go to one person: were they alike, who it is would tell the speed (emo_model/LOG.md)."""
    for slow, fast in (sorted(SPEEDS[first : first + 2]) for first in range(0, len(SPEEDS), 2)):
        assert fast >= 2 * slow


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Two people, 3.2 s each. Needs the samples that set-up brings."""
    from emo_model import samples
    from emo_model.talking_set import render_set

    folder = Path(os.environ.get("EMO_SAMPLES", "data/samples"))
    people = {"astronaut": folder / "portraits/astronaut.png", "ben": folder / "videos/ben/single_face.mp4"}
    if not all(path.exists() for path in people.values()):
        pytest.skip("no sample media; run: make setup")
    assert samples.SAMPLES
    return render_set(
        tmp_path_factory.mktemp("set"),
        people=people,
        voices=[folder / "voices/silero_test.wav"],
        videos=1,
        seconds=3.2,
    )


@pytest.mark.weights
def test_rendered_videos_are_ordinary_mp4_with_sound(rendered):
    for video, fps in zip(rendered, (30, 25), strict=True):
        probe = media.probe(video.path)
        assert (probe.width, probe.height, probe.has_audio) == (256, 256, True)
        assert probe.fps == pytest.approx(fps)
        assert len(pq.read_table(video.truth)) == round(3.2 * fps)


@pytest.mark.weights
def test_the_landmarker_finds_every_rendered_face_and_its_rotation(rendered):
    from emo_model.data.faces import Landmarker

    for video in rendered:
        truth = pq.read_table(video.truth).to_pydict()
        with Landmarker() as landmarker:
            seen = [landmarker.see(t, picture) for t, picture in media.frames(video.path)]
        assert [row["faces"] for row in seen] == [1] * len(truth["frame"])
        matrices = np.array([row["matrix"] for row in seen]).reshape(-1, 4, 4)[:, :3, :3]
        measured = Rotation.from_matrix(matrices)
        true = Rotation.from_quat(np.array(truth["quaternion"]), scalar_first=True)
        error = np.degrees((measured * true.inv()).magnitude())
        assert error.mean() < 8  # metrics.md's tolerance for rendered faces
        yaw = [rotation.as_euler("xyz", degrees=True)[:, 1] for rotation in (measured, true)]
        assert np.corrcoef(*yaw)[0, 1] > 0.97  # same sign, same axis
        speed = [gaussian_filter1d(motion.speeds(r, 30), 2)[2:-2] for r in (measured, true)]
        assert np.corrcoef(*speed)[0, 1] > 0.8


@pytest.mark.weights
def test_the_mouth_that_was_opened_is_seen_open(rendered):
    from emo_model.data.faces import Landmarker

    for video in rendered:
        truth = pq.read_table(video.truth).to_pydict()
        with Landmarker() as landmarker:
            seen = [landmarker.see(t, picture)["mouth_open"] for t, picture in media.frames(video.path)]
        assert np.corrcoef(seen, truth["mouth"])[0, 1] > 0.8


@pytest.mark.weights
def test_rotation_and_translation_of_the_truth_put_the_mesh_where_it_was_drawn(rendered):
    from emo_model import weights
    from emo_model.talking_set import mesh as canonical
    from emo_model.talking_set.head import VERTICAL_FIELD_OF_VIEW

    vertices = canonical.read(weights.path("face_mesh")).vertices  # ada, the first, keeps the canonical shape
    focal = 128 / np.tan(np.radians(VERTICAL_FIELD_OF_VIEW / 2))
    truth = pq.read_table(rendered[0].truth).to_pydict()
    closed = [frame for frame, mouth in enumerate(truth["mouth"]) if mouth < 1e-3]  # the jaw is where the mesh has it
    assert len(closed) > 5
    for frame in closed:
        turn = Rotation.from_quat(truth["quaternion"][frame], scalar_first=True)
        seen = turn.apply(vertices) + truth["translation"][frame]
        pixels = 128 + focal * seen[:, :2] * (1, -1) / -seen[:, 2:]
        extent = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
        assert extent == pytest.approx(np.array(truth["box"][frame]), abs=0.05)


@pytest.mark.weights
def test_equal_arguments_give_equal_files_and_another_seed_another_path(rendered, tmp_path):
    from emo_model.talking_set import render_set

    folder = Path(os.environ.get("EMO_SAMPLES", "data/samples"))
    ours = {
        "people": {"astronaut": folder / "portraits/astronaut.png"},
        "voices": [folder / "voices/silero_test.wav"],
        "videos": 1,
        "seconds": 3.2,
    }
    (again,) = render_set(tmp_path / "again", **ours)
    assert again.path.read_bytes() == rendered[0].path.read_bytes()
    assert again.truth.read_bytes() == rendered[0].truth.read_bytes()
    (other,) = render_set(tmp_path / "other", seed=1, **ours)
    assert pq.read_table(other.truth)["quaternion"] != pq.read_table(rendered[0].truth)["quaternion"]
