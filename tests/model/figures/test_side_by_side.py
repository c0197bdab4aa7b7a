"""Side-by-side films: every video's own frame at every instant, with sound where the pictures have it."""

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from emo_model.cli import main
from emo_model.data import media
from emo_model.errors import UserError
from emo_model.figures.rows import Row, open_footage
from emo_model.figures.side_by_side import side_by_side


def panels(path, across: int) -> np.ndarray:
    """(T, across) grey in the middle of each panel's lower part."""
    shown = [picture for _, picture in media.frames(path)]
    width = shown[0].shape[1] // across
    return np.array([[frame[-20, width * k + width // 2].mean() for k in range(across)] for frame in shown])


def test_each_panel_shows_its_own_frame_on_screen(counting, tmp_path):
    """30, 25 and 10 frames a second, of 2, 1 and 2 s: the second stays on its last frame, dimmed to a third."""
    files = [counting("a.mp4"), counting("b.mp4", 25, 1.0), counting("c.mkv", 10, size=(128, 128))]
    side_by_side(tmp_path / "out.mp4", [Row(path.stem, path) for path in files])
    grey = panels(tmp_path / "out.mp4", 3)
    at = np.arange(60) / 30
    assert grey.shape == (60, 3)
    np.testing.assert_allclose(grey[:, 0], 4 * np.arange(60), atol=4)
    np.testing.assert_allclose(grey[:33, 1], 4 * np.minimum(np.floor(at * 25 + 1e-3), 24)[:33], atol=4)
    np.testing.assert_allclose(grey[33:, 1], 4 * 24 // 3, atol=4)
    np.testing.assert_allclose(grey[:, 2], 4 * np.floor(at * 10 + 1e-3), atol=4)


@pytest.mark.parametrize("begins", [0.0, 0.5])
def test_sound_stays_with_its_picture(counting, tmp_path, begins):
    """A click at the white frame, also of a stream that begins later than the pictures do."""
    rows = [Row("silent", counting("a.mp4")), Row("clicks", counting("b.mkv", sound_at=begins))]
    side_by_side(tmp_path / "out.mp4", rows)
    grey = panels(tmp_path / "out.mp4", 2)[:, 1]
    heard = media.audio(tmp_path / "out.mp4", 0, 2)
    assert grey.argmax() == 30 and np.flatnonzero(np.abs(heard) > 0.2)[0] / media.AUDIO_RATE == pytest.approx(
        1, abs=3e-3
    )


def test_another_sound_may_be_asked_for_and_none_need_be(counting, tmp_path):
    silent, clicks = counting("a.mp4"), counting("b.mkv", sound_at=0.0)
    side_by_side(tmp_path / "other.mp4", [Row("a", silent)], sound=clicks, seconds=1.5)
    side_by_side(tmp_path / "none.mp4", [Row("a", silent)])
    with av.open(str(tmp_path / "other.mp4")) as other, av.open(str(tmp_path / "none.mp4")) as none:
        assert other.streams.video[0].frames == 45 and len(other.streams.audio) == 1 and not none.streams.audio
        assert "comment" not in none.metadata  # nothing in it is synthetic


def test_a_video_is_decoded_as_it_is_shown(counting, monkeypatch):
    """Memory does not grow with the length: no frame is read before its time."""
    read, decode = [], media.decode
    monkeypatch.setattr(media, "decode", lambda path: (read.append(frame.t_s) or frame for frame in decode(path)))
    coming = open_footage(counting("a.mp4", seconds=3.0)).at(k / 30 for k in range(90))
    read.clear()
    for _ in range(10):
        next(coming)
    assert len(read) <= 12


def test_a_film_wants_a_video_and_a_size_that_plays(counting, tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "still.png")
    with pytest.raises(UserError, match="a film of no videos"):
        side_by_side(tmp_path / "out.mp4", [Row("still", tmp_path / "still.png")])
    with pytest.raises(UserError, match="more than 3840x2160"):
        side_by_side(tmp_path / "out.mp4", [Row("a", counting("a.mp4"))] * 3, height=1500)
    assert not list(tmp_path.glob(".film*")) and not (tmp_path / "out.mp4").exists()


# ---- the command ----


def compare(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    return done.exit_code, done.output


def test_the_command_makes_both_kinds_whatever_the_names_hold(counting, tmp_path):
    odd = counting("Größe = 'zwei' \"x\".mp4", seconds=0.5)
    for out in ("sheet.png", "film.mp4"):
        code, said = compare(f"ohne Ton={odd}", odd, "--out", tmp_path / "new ü" / out, "--height", 64)
        assert code == 0 and (tmp_path / "new ü" / out).is_file(), said


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--out", "x.gif"], "neither .png nor .mp4"), (["--out", "there.png"], "is there already"),
        (["--out", "x.mp4", "--lines", "2"], "are for a sheet"), (["--out", "x.png", "--sound", "s.wav"], "for a film"),
        (["--out", "x.png", "--portrait", "a", "--portrait", "b"], "one for all, or one each"),
        (["--out", "x.png", "--portrait", "a"], "no file a"), (["--out", "x.png", "gone.mp4"], "no file gone.mp4"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_no_file(counting, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_text("")
    code, line = compare(counting("a.mp4", seconds=0.2), *arguments)
    assert code == 2 and said in line and line.count("\n") == 1 and not (tmp_path / "x.png").exists()
