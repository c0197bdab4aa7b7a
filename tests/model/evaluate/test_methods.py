"""Any method's videos: found by name or map, and every fault of theirs said by clip."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emo_model.errors import UserError
from emo_model.evaluate import Protocol, VideoPair
from emo_model.evaluate.methods import MAP, Finding, folders, look_over, reason, sentences, sound_shift, videos

from .conftest import write_video

RATE = 16_000


def voice(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Bursts of noise, int16 at 16 kHz: as loud and quiet as speech, and never the same twice."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.uniform(0, 1, round(seconds * 20)) ** 3, RATE // 20)
    return (loud * rng.standard_normal(len(loud)) * 4000).clip(-32000, 32000).astype(np.int16)


def picture_video(path: Path, count: int = 50, fps: int = 25, width: int = 64, sound: np.ndarray | None = None) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, (count, 64, width, 3)).astype(np.uint8)
    return write_video(path, frames, fps, sound)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return picture_video(tmp_path / "real.mkv", sound=voice())


@pytest.fixture
def said(real: Path, tmp_path: Path) -> Callable[..., list[tuple[bool, str]]]:
    """(fatal, what) of one video of the clip c0, of which two seconds are measured."""

    def look(path: Path | None, **changed: object) -> list[tuple[bool, str]]:
        values = {"seconds": 2.0, "fps": 25.0, "size": 64} | changed
        frozen = Protocol("demo", ("c0",), (), **values)
        pairs = [] if path is None else [VideoPair("c0", "ann", real, path, sound=real)]
        return [(f.fatal, f.text) for f in look_over("wav2lip", pairs, frozen, tmp_path)]

    return look


def test_nothing_is_said_of_a_video_as_it_should_be(said: Callable, tmp_path: Path) -> None:
    assert said(picture_video(tmp_path / "c0.mkv", sound=voice())) == []


def test_what_makes_numbers_incomparable_is_fatal(said: Callable, tmp_path: Path) -> None:
    broken, silent = tmp_path / "broken.mp4", voice()
    broken.write_bytes(b"no video")
    assert said(None) == said(tmp_path / "gone.mp4") == [(True, "no video of this clip")]
    assert said(picture_video(tmp_path / "one.mkv", 1, sound=silent)) == [(True, "one frame: a picture, no video")]
    assert said(picture_video(tmp_path / "short.mkv", 20)) == [(True, "0.80 s long, 2.00 s are measured")]
    ((fatal, text),) = said(broken)
    assert fatal and text.startswith("broken.mp4 cannot be used: ")


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ({"count": 75}, "1.0 s longer than the clip: its end is not looked at"),
        ({"count": 60, "fps": 30}, "30 fps, read at 25"),
        ({"count": 46}, "0.16 s too short: its last frame is held"),
        ({"width": 80}, "80 x 64 pixels, brought to a square"),
    ],
)
def test_what_differs_is_said_and_measured(made: dict, wanted: str, said: Callable, tmp_path: Path) -> None:
    assert said(picture_video(tmp_path / "c0.mkv", sound=voice(), **made)) == [(False, wanted)]


def test_a_smaller_picture_is_said_to_be_enlarged(said: Callable, tmp_path: Path) -> None:
    found = said(picture_video(tmp_path / "c0.mkv", sound=voice()), size=256)
    assert found == [(False, "64 x 64 pixels, enlarged to 256")]


@pytest.mark.parametrize(
    ("sound", "wanted"),
    [
        (None, "no sound of its own: the driving voice is heard with it"),
        (voice(seed=1), "its sound is not the driving voice's"),
        (np.concatenate([np.zeros(RATE // 5, np.int16), voice()])[: 2 * RATE], "its sound is 200 ms late"),
        (voice()[RATE // 10 :], "its sound is 100 ms early"),
    ],
    ids=["none", "another", "late", "early"],
)
def test_its_sound_is_compared_with_the_driving_voice(
    sound: np.ndarray | None, wanted: str, said: Callable, tmp_path: Path
) -> None:
    assert said(picture_video(tmp_path / "c0.mkv", sound=sound)) == [(False, wanted)]


def test_a_quieter_copy_of_a_sound_is_the_same_sound() -> None:
    correlation, late_s = sound_shift((voice() // 3).astype(np.int16), voice())
    assert correlation > 0.99 and late_s == 0


def test_a_map_names_files_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "methods" / "hallo"
    folder.mkdir(parents=True)
    (folder / MAP).write_text("clip_id,file\nc0,first result.mp4\nc1,sub/second.mp4\n", encoding="utf-8-sig")
    assert videos(folder) == {"c0": folder / "first result.mp4", "c1": folder / "sub" / "second.mp4"}
    (folder / MAP).write_text("id;file\n")
    with pytest.raises(UserError, match="clips.csv: wanted the columns clip_id,file, got id;file"):
        videos(folder)


def test_folders_without_videos_are_no_methods_and_rows_names_are_taken(tmp_path: Path) -> None:
    for name in ("wav2lip/c0.mp4", "notes/readme.txt", "sadtalker/c0.webm"):
        path = tmp_path / "methods" / name
        path.parent.mkdir(parents=True)
        path.touch()
    assert list(folders(tmp_path)) == ["sadtalker", "wav2lip"]
    with pytest.raises(UserError, match="wav2lip: the name is taken by a row of the table; rename the folder"):
        folders(tmp_path, ("wav2lip",))
    (tmp_path / "methods" / "reconstruction").mkdir()
    (tmp_path / "methods" / "reconstruction" / "c0.mp4").touch()
    with pytest.raises(UserError, match="reconstruction: the name is taken"):
        folders(tmp_path)


def test_many_clips_with_one_fault_are_one_line() -> None:
    findings = [Finding("hallo", f"c{i}", False, "24 fps, read at 25") for i in range(7)]
    findings += [Finding("hallo", "c1", True, "no video of this clip")]
    assert sentences(findings) == [
        "hallo: 24 fps, read at 25 (c0, c1, c2, c3, c4 and 2 more)",
        "hallo: no video of this clip (c1): no number",
    ]
    assert reason(findings) == "clip c1: no video of this clip" and reason(findings[:7]) is None
