"""Whose face in a picture speaks, and where it may move."""

import numpy as np
import pytest

from emo_model import samples
from emo_model.data.faces import Landmarker
from emo_model.errors import UserError
from emo_model.generate.picture import read_picture
from emo_model.generate.portrait import MOST_FACES, find_face, prepare

PICTURE = np.zeros((300, 600, 3), np.uint8)
TALL, SHORT = (50.0, 40.0, 130.0, 160.0), (400.0, 100.0, 440.0, 160.0)


def see(*boxes):
    """A landmarker that finds faces there."""

    class Seen:
        __init__ = lambda self, _faces: None  # noqa: E731
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def boxes(self, _picture):
            return [np.array(box, np.float64) for box in boxes]

    return Seen


@pytest.fixture
def faces(monkeypatch):
    return lambda *boxes: monkeypatch.setattr("emo_model.generate.portrait.Landmarker", see(*boxes))


def test_the_one_that_is_clearly_larger_speaks(faces):
    faces(TALL, SHORT)
    assert find_face(PICTURE, "auto") == TALL


def test_of_faces_alike_the_user_is_asked_which_in_one_line_with_their_boxes(faces):
    almost = (300.0, 50.0, 370.0, 150.0)
    faces(TALL, almost, SHORT)
    with pytest.raises(UserError) as error:
        find_face(PICTURE, 1.3, shrink=2)
    said = str(error.value)
    assert "2 faces" in said and "100,80,260,320 and 600,100,740,300" in said  # in the file's pixels
    assert said.endswith("run: emo generate --face-region 100,80,260,320") and "\n" not in said
    assert find_face(PICTURE, almost) == almost


def test_a_region_that_is_drawn_says_whose_it_is(faces, tmp_path):
    faces(TALL, SHORT)
    assert find_face(PICTURE, (380.0, 80.0, 460.0, 180.0)) == SHORT  # a little wider than the face
    assert find_face(PICTURE, (200.0, 0.0, 300.0, 100.0)) == (200.0, 0.0, 300.0, 100.0)  # where none is seen: it is one


def test_a_region_counts_in_the_files_pixels(faces):
    faces(TALL)
    whole = prepare(PICTURE, 64, tuple(4 * edge for edge in TALL), shrink=4)
    plain = prepare(PICTURE, 64, TALL)
    assert whole.square == plain.square and whole.mask.equal(plain.mask) and whole.mask.sum() < 64 * 64


@pytest.mark.parametrize(
    "box", [(600.0, 0.0, 700.0, 50.0), (0.0, 300.0, 50.0, 350.0), (-50.0, 0.0, 0.0, 20.0), (0.0, -9.0, 5.0, -1.0)]
)
def test_a_region_outside_the_picture_is_refused_with_its_size(faces, box):
    faces(TALL)
    with pytest.raises(UserError, match="lies outside the portrait of 600x300 pixels"):
        prepare(PICTURE, 64, box)


def test_a_region_that_covers_no_pixel_is_refused(faces):
    faces(TALL)
    with pytest.raises(UserError, match="smaller than a pixel"):
        prepare(PICTURE, 64, 0.001)


@pytest.mark.weights
def test_two_real_faces_of_one_size_are_asked_about_and_one_half_as_tall_is_not():
    face = read_picture(samples.default_folder() / "portraits/obama.jpg")[0]
    with pytest.raises(UserError, match="2 faces of like size"):
        prepare(np.concatenate([face, face], axis=1), 64)
    half = np.full_like(face, 255)
    half[: face.shape[0] // 2, : face.shape[1] // 2] = face[: face.shape[0] // 2 * 2 : 2, : face.shape[1] // 2 * 2 : 2]
    for pair in ([face, half], [half, face]):
        picture = np.concatenate(pair, axis=1)
        with Landmarker(MOST_FACES) as landmarker:
            assert len(landmarker.boxes(picture)) == 2
        x, _, side = prepare(picture, 64).square
        assert (x + side / 2 > face.shape[1]) == (pair[1] is face)
