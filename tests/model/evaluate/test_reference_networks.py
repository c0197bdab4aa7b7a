"""Every metric with its reference's files in place: it runs from file to number, under the reference's own name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from emo_model import weights
from emo_model.evaluate import FAMILIES
from emo_model.evaluate.extractors import choose, metric_name
from emo_model.evaluate.observe import load
from emo_model.evaluate.video import Video, open_video
from tests.model.evaluate import official_files

WIDTHS = {
    "fid": 2048,
    "clean_fid": 2048,
    "fvd_videogpt": 400,
    "fvd_styleganv": 400,
    "e_fid": 64,
    "p_fid": 6,
    "syncnet": 31,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files as the authors publish them, by their names in the registry."""
    folder = tmp_path_factory.mktemp("weights")
    files = {name: folder / weights.REGISTRY[name].filename for name in (
        "inception", "syncnet", "sfd", "scrfd", "arcface", "deep3d", "deep3d_landmarks", "i3d_torchscript",
        "i3d_pretrained_400")}  # fmt: skip
    pooled = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 400))
    official_files.i3d_torchscript(files["i3d_torchscript"], pooled)
    official_files.s3fd(files["sfd"])
    official_files.scrfd(files["scrfd"], confidence=-0.5)  # a face in many places
    for name in sorted(files.keys() - {"i3d_torchscript", "sfd", "scrfd"}):
        getattr(official_files, name)(files[name])
    return files


@pytest.fixture
def in_place(written: dict[str, Path], need_weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    files = written | {"face_landmarker": need_weights("face_landmarker")}
    monkeypatch.setattr(weights, "have", lambda name: name in files)
    monkeypatch.setattr(weights, "path", lambda name: files[name])


@pytest.fixture
def talker(need_sample: Callable[[str], Path]) -> Video:
    """Two thirds of a second of a face, with sound."""

    class View:
        fps, size, seconds = 25.0, 256, 0.68

    video = open_video(need_sample("videos/ben/single_face.mp4"), None, None, View)
    video.sound = (3000 * np.sin(np.arange(len(video.frames) * 640) / 9)).astype(np.int16)
    return video


@pytest.mark.usefixtures("in_place")
@pytest.mark.parametrize(
    "name", ["fid", "clean_fid", "fvd_videogpt", "fvd_styleganv", "e_fid", "p_fid", "syncnet", "f_sim"]
)
def test_a_reference_runs_from_its_file_to_its_number(name: str, talker: Video) -> None:
    family = FAMILIES[name]
    extractor = choose(family)
    assert extractor is not None and extractor.is_reference
    assert [metric_name(output, extractor) for output in family.outputs] == list(family.outputs)
    metric = load(name, extractor)
    seen = metric.observe(talker)
    assert seen.found.sum() >= 1 and np.isfinite(seen.samples).all()
    if name in WIDTHS:
        assert seen.values.shape[1:] == (WIDTHS[name],)
    scores = metric.scores([seen, seen], [seen, seen])  # two clips: two windows
    assert set(scores) == set(family.outputs)
    if family.is_distance:
        assert scores[family.outputs[0]].value == pytest.approx(0, abs=1e-6 * float(np.abs(seen.samples).max()) ** 2)


@pytest.mark.parametrize("name", ["fid", "syncnet", "f_sim", "fvd", "e_fid", "p_fid", "fvd_styleganv", "lpips"])
def test_a_missing_file_names_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "have", lambda name: False)
    for extractor in FAMILIES[name].extractors:
        assert extractor.unavailable == f"no weights: emo weights get {' '.join(extractor.weights)}"
        assert all(weight in weights.REGISTRY for weight in extractor.weights)


def test_every_network_of_a_metric_has_its_own_name() -> None:
    names = [metric_name(output, e) for f in FAMILIES.values() for output in f.outputs for e in f.extractors]
    assert len(names) == len(set(names))
