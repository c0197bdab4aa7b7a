"""What a metric sees: the right frames at the right time, at one size, and sound on the same clock."""

from pathlib import Path

import numpy as np
import pytest

from emo_model.evaluate.video import Unreadable, Video, read_frames, read_sound, resample_indices

from .conftest import write_video


def numbered(path: Path, count: int, fps: int, sound: np.ndarray | None = None) -> Path:
    """Frame k is a flat grey of 2 k."""
    return write_video(
        path,
        np.arange(count, dtype=np.uint8)[:, None, None, None] * np.full((64, 64, 3), 2, np.uint8),
        fps,
        sound,
    )


def shown(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 2) for frame in frames]


def test_frames_are_the_ones_on_screen_at_the_asked_rate(tmp_path: Path) -> None:
    video = numbered(tmp_path / "a.mkv", 20, fps=30)
    assert shown(read_frames(video, fps=30, size=32, seconds=10)) == list(range(20))
    assert shown(read_frames(video, fps=25, size=32, seconds=10)) == [int(j * 30 / 25 + 1e-6) for j in range(16)]
    assert shown(read_frames(video, fps=30, size=32, seconds=0.2)) == list(range(6))


def test_a_slower_video_repeats_frames(tmp_path: Path) -> None:
    video = numbered(tmp_path / "a.mkv", 8, fps=15)
    assert shown(read_frames(video, fps=30, size=32, seconds=10)) == [k // 2 for k in range(15)]


def test_resampling_an_array_equals_reading_at_that_rate(tmp_path: Path) -> None:
    video = numbered(tmp_path / "a.mkv", 60, fps=30)
    at_30 = read_frames(video, fps=30, size=32, seconds=10)
    assert shown(at_30[resample_indices(60, 30, 25)]) == shown(read_frames(video, fps=25, size=32, seconds=10))


def test_sound_keeps_its_samples_and_its_place(tmp_path: Path) -> None:
    tone = (10_000 * np.sin(np.arange(16_000) / 5)).astype(np.int16)
    tone[:4000] = 0
    sound = read_sound(numbered(tmp_path / "a.mkv", 30, 30, tone))
    assert sound is not None and len(sound) == 16_000
    np.testing.assert_allclose(sound, tone, atol=2)


def test_a_video_without_sound_has_none(tmp_path: Path) -> None:
    assert read_sound(numbered(tmp_path / "a.mkv", 5, 30)) is None


@pytest.mark.parametrize("content", [b"", b"this is not a video"], ids=["empty", "text"])
def test_a_file_that_is_no_video_says_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.mp4"
    file.write_bytes(content)
    with pytest.raises(Unreadable, match=r"broken\.mp4"):
        read_frames(file, fps=30, size=32, seconds=1)


def test_work_on_a_still_is_done_once(tmp_path: Path) -> None:
    frames = read_frames(numbered(tmp_path / "a.mkv", 12, 30), fps=30, size=32, seconds=1)
    seen: list[int] = []
    still = Video(frames, 30, reference=frames[3]).as_still()
    out = still.per_frame(lambda x: (seen.append(len(x)), x.mean((1, 2, 3)))[1])
    assert seen == [1] and out.tolist() == [6.0] * 12
