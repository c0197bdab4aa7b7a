"""The small true world: that what it says is so, in the pixels and in the numbers."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from emo_model.data.audio_encoders import FPS, RATE
from emo_model.networks.config import TINY_NETWORK
from emo_model.train.stages import IMAGE, SPEED
from emo_model.true_world.clips import FRAMES, WorldClips
from emo_model.true_world.paths import CONE, path
from emo_model.true_world.people import ASPECT, HAIR, HAIRLINE, SKIN, WALL, distances, people
from emo_model.true_world.render import MOUTH, box, render
from emo_model.true_world.voices import Voice, mouth_of

STILL = Rotation.identity(1)
MIDDLE = np.array([[0.5, 0.5]])


def plain(**changed) -> np.ndarray:
    traits = np.zeros(11)
    traits[SKIN], traits[HAIR], traits[WALL] = (1.0, 0.6, 0.4), (0.1, 0.1, 0.6), (0.2, 0.6, 0.2)
    traits[ASPECT], traits[HAIRLINE] = 0.8, 0.5
    for name, value in changed.items():
        traits[{"aspect": ASPECT, "hairline": HAIRLINE}[name]] = value
    return traits


def picture(turn: Rotation = STILL, mouth: float = 0.0, centre=MIDDLE, radius: float = 0.25, **traits) -> torch.Tensor:
    return render(plain(**traits), turn, np.array([mouth]), np.asarray(centre), radius, 64)[0]


def test_people_are_apart_and_the_same_for_the_same_seed():
    some = people(20, 3, apart=0.4).traits
    far = distances(some, some) + 10 * np.eye(20)
    assert far.min() >= 0.4
    np.testing.assert_array_equal(some, people(20, 3, apart=0.4).traits)
    assert not np.array_equal(some[0], people(1, 4).traits[0])
    assert (some[:, :9] >= 0).all() and (some[:, :9] <= 1).all()


def test_the_wall_is_no_part_of_a_person():
    one, other = plain()[None], plain()[None].copy()
    other[:, WALL] = 0.9
    assert distances(one, other) == 0
    other[:, HAIRLINE] += 0.1
    assert distances(one, other) == pytest.approx(0.2)


@pytest.mark.parametrize("centre, radius, aspect", [((0.5, 0.5), 0.25, 0.8), ((0.3, 0.6), 0.2, 1.0)])
def test_the_box_is_where_the_head_is(centre, radius, aspect):
    seen = picture(centre=[centre], radius=radius, aspect=aspect)
    wall = torch.tensor(plain()[WALL]).float()[:, None, None] * 2 - 1
    rows, columns = torch.nonzero((seen - wall).abs().amax(0) > 0.3, as_tuple=True)
    found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 64
    np.testing.assert_allclose(found, box(np.array(centre), radius, aspect), atol=1.5 / 64)


def dark_lips(seen: torch.Tensor) -> float:
    """Pixels of the lips' colour in the lower half of the face."""
    lips = torch.tensor([0.35, 0.0, 0.08])[:, None, None] * 2 - 1
    return float(((seen[:, 34:] - lips).abs().amax(0) < 0.4).sum())


def test_a_louder_mouth_is_wider_open():
    areas = [dark_lips(picture(mouth=m)) for m in (0.0, 0.3, 0.6, 1.0)]
    assert (np.diff(areas) > 0).all(), areas


@pytest.mark.parametrize("axis, moved", [("y", 1), ("x", 0)])
def test_turning_moves_the_face_across_the_head(axis, moved):
    """A turn about y by some degrees moves the mouth as a ball's surface moves: by its depth times the sine."""

    def middle(turn: Rotation) -> np.ndarray:
        seen = picture(turn, mouth=1.0)
        lips = torch.tensor([0.35, 0.0, 0.08])[:, None, None] * 2 - 1
        at = torch.nonzero((seen - lips).abs().amax(0) < 0.4).float().mean(0)
        return at.numpy()

    turned = middle(Rotation.from_euler(axis, [[20]], degrees=True))
    still = middle(STILL)
    mouth = np.array([0.0, MOUTH, np.sqrt(1 - MOUTH**2)])
    expected = Rotation.from_euler(axis, 20, degrees=True).apply(mouth) - mouth
    shift = (turned - still) / (0.25 * 64)  # rows, columns in radii
    assert shift[moved] == pytest.approx(expected[1 - moved] * (0.8 if moved else 1.0), abs=0.12)


def test_a_path_is_as_fast_as_it_says_and_stays_in_its_cone():
    for seed in range(20):
        way = path(300, np.random.default_rng(seed))
        turned = Rotation.from_matrix(way.rotations.as_matrix())
        between = np.degrees((turned[1:] * turned[:-1].inv()).magnitude())
        np.testing.assert_allclose(way.speed[1:], between, atol=1e-6)
        _, yaw, pitch = np.abs(way.rotations.as_euler("zyx", degrees=True)).max(0)
        assert (np.array([yaw, pitch]) <= CONE + 1e-6).all()
        assert (way.centre - way.radius >= 0).all() and (way.centre + way.radius <= 1).all()


def test_a_head_moves_to_where_it_turns():
    way = [path(240, np.random.default_rng(k)) for k in range(60)]
    turned = np.concatenate([np.diff(w.rotations.as_euler("zyx", degrees=True)[:, 1:], axis=0) for w in way])
    moved = np.concatenate([np.diff(w.centre, axis=0) for w in way])
    for axis in range(2):
        assert np.corrcoef(turned[:, axis], moved[:, axis])[0, 1] > 0.7


def test_slow_clips_and_fast_ones():
    means = [path(240, np.random.default_rng(k)).speed.mean() for k in range(60)]
    assert min(means) < 0.5 and max(means) > 2.5


def tone(seconds: float, loud) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return (loud(t) * np.sin(2 * np.pi * 220 * t)).astype(np.float32)


def test_the_mouth_follows_the_loudness_and_not_the_gain():
    loud = lambda t: np.where(t % 1 < 0.5, 0.5, 0.001)  # noqa: E731
    samples = tone(4, loud)
    mouth = mouth_of(samples, 4 * FPS)
    middles = (np.arange(4 * FPS) + 0.5) / FPS
    assert mouth[(middles % 1 > 0.1) & (middles % 1 < 0.4)].min() > 0.95
    assert mouth[(middles % 1 > 0.6) & (middles % 1 < 0.9)].max() < 0.05
    np.testing.assert_allclose(mouth_of(samples * 0.1, 4 * FPS), mouth, atol=1e-3)


@pytest.fixture
def voice():
    rng = np.random.default_rng(0)
    shape = (2 * FRAMES, TINY_NETWORK.audio_layers, TINY_NETWORK.audio_width)
    return Voice(rng.normal(size=shape).astype(np.float16), rng.uniform(0, 1, 2 * FRAMES))


def test_a_batch_depends_on_seed_and_step_alone(voice):
    one, other = (WorldClips(SPEED, TINY_NETWORK, [voice], 1, 30) for _ in range(2))
    other.batch(5, 2)
    a, b = one.batch(7, 3), other.batch(7, 3)
    assert a["clip_id"] == b["clip_id"]
    for name in set(a) - {"clip_id"}:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)
    assert not torch.equal(a["pixels"], one.batch(8, 3)["pixels"])


def test_a_window_is_one_clip_in_order_with_its_own_sound_and_speed(voice):
    clips = WorldClips(SPEED, TINY_NETWORK, [voice], 1, 5)
    batch, net = clips.batch(0, 4), TINY_NETWORK
    for row, name in enumerate(batch["clip_id"]):
        clip, first = clips.clip(clips.clip_ids.index(name)), int(batch["frame"][row])
        frames, near = np.arange(first, first + net.frames), np.arange(first - 2, first + net.frames + 2)
        torch.testing.assert_close(batch["pixels"][row], clip.pixels(frames, 64))
        torch.testing.assert_close(batch["motion"][row], clip.pixels(np.arange(first - 4, first), 64))
        np.testing.assert_allclose(batch["speed"][row], clip.path.speed[near], rtol=1e-6)
        np.testing.assert_array_equal(batch["audio"][row].half(), voice.features[clip.start + near])
        outside = batch["pixels"][row] - batch["pixels"][row][:, :, :1, :1]
        off = (outside.abs().amax((0, 1)) > 0.5) & (batch["mask"][row, 0] == 0)
        assert off.sum() <= 0.02 * 64 * 64  # nothing but soft edges lies outside the region
        assert not first - net.motion_frames <= int(batch["reference_frame"][row]) < first + net.frames


def test_shuffled_speeds_are_another_clips(voice):
    honest = WorldClips(SPEED, TINY_NETWORK, [voice], 1, 30).batch(0, 8)
    clips = WorldClips(SPEED, TINY_NETWORK, [voice], 1, 30, shuffled=True)
    shuffled = clips.batch(0, 8)
    own = [clips.clip(clips.clip_ids.index(name)).path.speed for name in shuffled["clip_id"]]
    same = [
        np.allclose(row, speed[int(frame) - 2 : int(frame) + TINY_NETWORK.frames + 2])
        for row, speed, frame in zip(shuffled["speed"].numpy(), own, shuffled["frame"], strict=True)
    ]
    assert sum(same) <= 2 and honest["speed"].shape == shuffled["speed"].shape


def test_stage_1_gets_one_frame(voice):
    batch = WorldClips(IMAGE, TINY_NETWORK, [voice], 0, 5).batch(0, 3)
    assert batch["pixels"].shape == (3, 1, 3, 64, 64) and "audio" not in batch
