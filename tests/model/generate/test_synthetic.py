"""A generated file says that it is synthetic: in its tags, in XMP's words, and in the picture where asked."""

import json
import struct
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np

from emo_model.generate import Settings, generate
from emo_model.generate.guidance import Guidance
from emo_model.generate.speed_curve import SpeedCurve
from emo_model.generate.synthetic import SOURCE_TYPE, XMP_UUID, marked
from tests.model.generate.small import frames_of


def boxes(path: Path) -> list[tuple[bytes, bytes]]:
    """Names and contents of an mp4's outermost boxes."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        found.append((name, data[at + 8 : at + size]))
        at += size
    assert at == len(data)
    return found


def test_a_file_says_what_made_it_in_tags_and_in_xmp(model, portrait, voice, tmp_path):
    settings = Settings(
        steps=1, seed=7, sampler="unipc", guidance=Guidance(2, 3, 1), speed=SpeedCurve((0.0, 1.0), (0.5, 1.0))
    )
    generate(model, portrait, voice, tmp_path / "out.mp4", settings=settings)
    with av.open(tmp_path / "out.mp4") as container:
        assert container.metadata["description"].startswith("Synthetic")
        said, made = container.metadata["comment"].split(" {", 1)
    made = json.loads("{" + made)
    assert said.startswith("Synthetic") and (made["seed"], made["sampler"], made["steps"]) == (7, "unipc", 1)
    assert made["guidance"] == {"reference": 2, "audio": 3, "speed": 1, "motion": 1}
    assert made["speed"]["speeds"] == [0.5, 1.0]
    assert (made["checkpoint"], made["checkpoint_sha256"]) == (model.folder.name, model.sha256)
    name, content = boxes(tmp_path / "out.mp4")[-1]
    assert name == b"uuid" and content[:16] == XMP_UUID
    xmp = ElementTree.fromstring(content[16:].decode())
    assert SOURCE_TYPE in ElementTree.tostring(xmp, encoding="unicode")
    assert model.sha256 in "".join(xmp.itertext())


def test_a_mark_is_letters_in_the_corner_that_every_background_shows():
    for grey in (0, 128, 255):
        frame = np.full((240, 320, 3), grey, np.uint8)
        drawn = np.abs(marked(frame).astype(int) - frame).max(axis=2) > 40
        rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        assert drawn.sum() > 100 and rows.min() > 200 and columns.max() < 160


def test_marked_videos_differ_only_there(model, portrait, voice, tmp_path):
    for mark in (False, True):
        settings = Settings(steps=1, guidance=1.0)
        generate(model, portrait, voice, tmp_path / f"{mark}.mp4", settings=settings, size=128, mark=mark)
    plain, letters = (frames_of(tmp_path / f"{mark}.mp4").astype(int) for mark in (False, True))
    assert np.abs(letters - plain)[:, 110:, :70].max() > 100 and np.abs(letters - plain)[:, :96].max() < 30
