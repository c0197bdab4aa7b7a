"""Contact sheets: the right frame in each cell, whatever the files' sizes, rates and lengths."""

import numpy as np
import pytest
from PIL import Image

from emo_model.errors import UserError
from emo_model.figures.contact_sheet import EMPTY, PAPER, Row, contact_sheet, write_contact_sheet
from emo_model.figures.lettering import font, wrapped
from emo_model.generate import synthetic

HEIGHT = 48


def cells(sheet: Image.Image, rows: int, columns: int, width: int) -> np.ndarray:
    """(rows, columns, 3) colours in the middles of the cells, found from the right and the bottom."""
    pixels, gap = np.asarray(sheet), 2
    y = [sheet.height - gap - (rows - row) * (HEIGHT + gap) + HEIGHT // 2 for row in range(rows)]
    x = [sheet.width - (columns - column) * (width + gap) + width // 2 for column in range(columns)]
    return pixels[np.ix_(y, x)]


def test_every_row_shows_the_frame_on_screen_at_the_same_instants(counting):
    """Rates of 30 and 10: at 0.5 s frame 15 is on screen in one, frame 5 in the other."""
    rows = [Row("thirty", counting("a.mp4", 30)), Row("ten", counting("b.mkv", 10, size=(32, 24)))]
    sheet = contact_sheet(rows, columns=4, height=HEIGHT, seconds=1.5)  # 0, 0.5, 1, 1.5 s
    found = cells(sheet, 2, 4, 64)[..., 0].astype(int)
    np.testing.assert_allclose(found, 4 * np.array([[0, 15, 30, 45], [0, 5, 10, 15]]), atol=1)


def test_cells_behind_a_shorter_videos_end_are_empty_and_say_so_once(counting):
    rows = [Row("long", counting("a.mp4", seconds=2.0)), Row("short", counting("b.mp4", seconds=0.5))]
    sheet = contact_sheet(rows, columns=5, height=HEIGHT)
    found = cells(sheet, 2, 5, 64)
    assert (found[0, 1:, 0] > 0).all() and tuple(found[1, 3]) == tuple(found[1, 4]) == EMPTY
    written = [
        np.asarray(sheet)[-HEIGHT:-6, sheet.width - (5 - column) * 66 :][:, :60].std() > 5 for column in range(5)
    ]
    assert written == [False, False, True, False, False]


def test_frames_in_memory_and_a_portrait_beside_them():
    frames = np.stack([np.full((20, 20, 3), 4 * k, np.uint8) for k in range(31)])
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 200
    sheet = contact_sheet([Row("ours", frames, red), Row("other", frames)], columns=2, height=HEIGHT)
    assert cells(sheet, 2, 2, HEIGHT)[..., 0].tolist() == [[0, 120], [0, 120]]
    portraits = np.asarray(sheet)[..., :2].astype(int) @ [1, -1] > 100  # red
    rows = np.flatnonzero(portraits.any(1))
    assert len(rows) == HEIGHT and rows.max() < sheet.height / 2 + HEIGHT / 2  # of the first row only


def test_a_picture_stands_in_the_first_column_only(counting, tmp_path):
    Image.new("RGB", (30, 30), (200, 0, 0)).save(tmp_path / "given.png")
    rows = [Row("given", tmp_path / "given.png"), Row("made", counting("a.mp4", size=(48, 48)))]
    found = cells(contact_sheet(rows, columns=3, height=HEIGHT), 2, 3, HEIGHT)
    assert tuple(found[0, 0]) == (200, 0, 0) and tuple(found[0, 1]) == tuple(found[0, 2]) == PAPER


def test_a_long_take_goes_on_in_the_next_line(counting):
    sheet = contact_sheet([Row("take", counting("a.mp4"))], columns=3, lines=2, height=HEIGHT)
    pixels = np.asarray(sheet)[..., 0].astype(int)
    x = [sheet.width - (3 - column) * 66 + 32 for column in range(3)]
    upper, lower = sheet.height // 2 - 2 - HEIGHT // 2, sheet.height - 4 - HEIGHT // 2
    shown = [*pixels[upper, x], *pixels[lower, x]]
    np.testing.assert_allclose(shown, 4 * np.floor(np.linspace(0, 59, 6) + 1e-3), atol=1)


def test_what_is_shown_stays_synthetic(counting, tmp_path):
    """A sheet of a generated video says so, in its text and in XMP; one of real videos says nothing."""
    from emo_model.generate import mp4

    film = tmp_path / "film.mp4"
    mp4.write_film(film, [np.zeros((32, 32, 3), np.uint8)] * 3)
    mp4.join(tmp_path / "made.mp4", [film], None, {"seed": 7})
    write_contact_sheet(tmp_path / "sheet.png", [Row("ours", tmp_path / "made.mp4"), Row("real", counting("a.mp4"))])
    write_contact_sheet(tmp_path / "real.png", [Row("real", counting("b.mp4"))])
    said = Image.open(tmp_path / "sheet.png").text
    assert said["description"] == synthetic.STATEMENT and '"ours"' in said["comment"] and "seed" in said["comment"]
    assert synthetic.SOURCE_TYPE in said["XML:com.adobe.xmp"] and "real" not in said["comment"]
    assert not Image.open(tmp_path / "real.png").text


def test_what_cannot_be_shown_is_told(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for path, said in ((tmp_path / "none.mp4", "no file"), (tmp_path / "text.mp4", "cannot be shown")):
        with pytest.raises(UserError, match=said):
            contact_sheet([Row("x", path)])
    with pytest.raises(UserError, match="at least are wanted"):
        contact_sheet([Row("x", np.zeros((3, 8, 8, 3), np.uint8))], columns=0)


def test_long_names_are_broken_at_spaces_and_cut_with_an_ellipsis():
    text = "ground truth, first halves against second halves of the same clips"
    lines = wrapped(text, 120, 14, lines=2)
    assert len(lines) == 2 and lines[1].endswith("…") and text.startswith(lines[0])
    assert all(font(14).getlength(line) <= 120 for line in [*lines, *wrapped("x" * 80, 120, 14)])
    assert " ".join(wrapped(text, 120, 14, lines=9)) == text and wrapped("", 50, 12) == []
