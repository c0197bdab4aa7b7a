"""What stands beside what: an answer has the real clip's length, its own sound or else the driving voice."""

from pathlib import Path

import numpy as np
import pytest

from emo_model.errors import UserError
from emo_model.evaluate import Protocol, VideoPair
from emo_model.evaluate.observe import RealClip
from emo_model.evaluate.video import Unreadable

from .conftest import write_video

HUM = (3000 * np.sin(np.arange(16_000) / 20)).astype(np.int16)


def video(path: Path, count: int = 25, sound: np.ndarray | None = None, level: int = 0) -> Path:
    frames = np.random.default_rng(0).integers(0, 200, (count, 32, 32, 3)).astype(np.uint8) + np.uint8(level)
    return write_video(path, frames, 25, sound)


@pytest.fixture
def clip(tmp_path: Path) -> RealClip:
    """A silent real clip of a second with a driving voice of its own."""
    pair = VideoPair(
        "c0", "ann", video(tmp_path / "real.mkv"), tmp_path / "x.mkv", sound=video(tmp_path / "v.mkv", sound=HUM)
    )
    return RealClip(pair, tmp_path, Protocol("demo", ("c0",), (), fps=25.0, size=32))


def answer(clip: RealClip, path: Path):
    return clip.answer(VideoPair("c0", "ann", clip.pair.real, path, sound=clip.pair.sound))


def test_a_viewer_hears_a_videos_own_sound_and_a_silent_one_with_the_driving_voice(
    clip: RealClip, tmp_path: Path
) -> None:
    own, silent = video(tmp_path / "own.mkv", sound=HUM // 2), video(tmp_path / "silent.mkv")
    assert answer(clip, own).sound_path == own
    assert answer(clip, silent).sound_path == clip.pair.sound
    assert clip.video.sound_path == clip.pair.sound


def test_an_answer_lies_frame_on_frame_with_the_real_clip(clip: RealClip, tmp_path: Path) -> None:
    longer = answer(clip, video(tmp_path / "longer.mkv", count=40))
    assert len(longer.frames) == 25 and longer.truth is clip.video
    np.testing.assert_array_equal(longer.reference, clip.video.frames[0])
    with pytest.raises(Unreadable, match="19 of 25 frames"):
        answer(clip, video(tmp_path / "short.mkv", count=19))


def test_the_last_frame_of_a_video_that_ends_a_little_early_is_held(clip: RealClip, tmp_path: Path) -> None:
    """Also of one that does not: 10 frames at 10 fps last a second, and the last of them begins at 0.9."""
    early = answer(clip, video(tmp_path / "early.mkv", count=23))
    assert len(early.frames) == 25 and (early.frames[22:] == early.frames[22]).all()
    frames = np.random.default_rng(0).integers(0, 200, (10, 32, 32, 3)).astype(np.uint8)
    assert len(answer(clip, write_video(tmp_path / "slow.mkv", frames, 10)).frames) == 25


def test_a_clip_is_known_by_what_is_in_its_files_and_not_by_their_names(clip: RealClip, tmp_path: Path) -> None:
    def key(**changed: object) -> str:
        values = vars(clip.pair) | changed
        return RealClip(VideoPair(**values), tmp_path, clip.protocol).key

    copy = tmp_path / "elsewhere.mkv"
    copy.write_bytes(Path(clip.pair.real).read_bytes())
    assert key(real=copy, clip_id="other") == clip.key
    other = [key(real=video(tmp_path / "b.mkv", level=9)), key(sound=video(tmp_path / "w.mkv", sound=HUM // 2))]
    other += [key(reference=np.zeros((4, 4, 3), np.uint8)), key(reference=copy)]
    assert len({clip.key, *other}) == 5
    with pytest.raises(UserError, match="real clip c0: .*gone.mkv: No such file"):
        key(real=tmp_path / "gone.mkv")
