"""Pairs of one's own from a CSV: each good row is a video, each bad one a line, and nothing is made twice."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo_model.errors import UserError
from emo_model.generate import generate_pairs
from tests.model.generate.small import QUICK, RATE, SeesFaces, frames_of, write_pair, write_samples, write_voice


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("emo_model.generate.portrait.Landmarker", SeesFaces)
    write_pair(tmp_path)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "black.png")
    write_samples(tmp_path / "silent.wav", np.zeros((RATE // 2, 1)), RATE)
    return tmp_path


def written(folder: Path, *lines: str, head: str = "name,portrait,audio,speed,face_region") -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join([head, *lines]), encoding="utf-8-sig")
    return path


def test_good_rows_are_made_once_and_bad_ones_are_told(model, folder):
    path = written(
        folder, "ann,face.png,voice.wav,,", "bob é,face.png,voice.wav,none,free", "black,black.png,voice.wav,,",
        "gone,nowhere.png,voice.wav,,", "silent,face.png,silent.wav,,", "ann,face.png,voice.wav,,",
        "../up,face.png,voice.wav,,", "fast,face.png,voice.wav,quick,", "x,face.png,voice.wav,,1,2,3,4",
        "half,face.png", f"{'n' * 300},face.png,voice.wav,,",
    )  # fmt: skip
    out, warned = folder / "out", []
    report = generate_pairs(model, path, out, settings=QUICK, warn=warned.append)
    assert [(pair.name, pair.frames) for pair in report.made] == [("ann", 12), ("bob é", 12)] and not report.kept
    assert not np.array_equal(
        frames_of(out / "ann.mp4"), frames_of(out / "bob é.mp4")
    )  # the row's own speed and region
    assert sorted(video.name for video in out.iterdir()) == ["ann.json", "ann.mp4", "bob é.json", "bob é.mp4"]
    said = (
        "no face was found", "nowhere.png cannot be read", "is silent", "line 2 has the same name",
        "cannot be a file's", "head speed 'quick'", "more cells than columns", "no audio",
        "choose a shorter one",
    )  # fmt: skip
    assert len(warned) == len(said) and tuple(warned) == report.wrong
    for number, (line, text) in enumerate(zip(warned, said, strict=True), start=4):
        assert line.startswith(f"line {number} of mine.csv, ") and text in line and "\n" not in line
    again = generate_pairs(model, path, out, settings=QUICK)
    assert again.made == report.made and again.kept == 2
    write_voice(folder / "voice.wav", seconds=0.2)
    other = generate_pairs(model, written(folder, "ann,face.png,voice.wav,,"), out, settings=QUICK)
    assert not other.kept and other.made[0].frames == 6


def test_a_video_that_is_somebodys_is_not_replaced(model, folder):
    (folder / "ann.mp4").write_bytes(b"mine")
    with pytest.raises(
        UserError, match="none of the 1 rows of .* became a video; the first: line 2 .* is there already"
    ):
        generate_pairs(model, written(folder, "ann,face.png,voice.wav,,"), folder, settings=QUICK)
    assert (folder / "ann.mp4").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "head, lines, said",
    [
        ("name,portrait", ["a,b"], "name,portrait,audio are wanted"),
        ("name,portrait,audio,face-region", ["a,b,c,d"], "name,portrait,audio are wanted"),
        ("name,portrait,audio", [], "has no rows"),
    ],
)
def test_a_file_of_other_columns_is_told_before_a_network_is_loaded(folder, head, lines, said):
    with pytest.raises(UserError, match=said):
        generate_pairs(folder / "no checkpoint", written(folder, *lines, head=head), folder / "out")
    with pytest.raises(UserError, match="cannot be read as pairs"):
        generate_pairs(folder / "no checkpoint", folder / "gone.csv", folder / "out")
