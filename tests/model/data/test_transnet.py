"""TransNet V2: the package's own numbers, whatever the length; a cut and a dissolve on their frames."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emo_model import weights
from emo_model.data.config import DataConfig
from emo_model.data.shots import shot_detector
from emo_model.data.transnet import HEIGHT, WIDTH, TransNetShots, TransNetV2
from emo_model.errors import UserError

GOLDEN = Path(__file__).with_name("golden_transnet.npz")  # made by golden_transnet.py from the package's own code
CUT, MIXED, END = 30, (55, 63), 70


def small_film() -> np.ndarray:
    """(70, 27, 48, 3): three scenes of moving textures, a cut after the first, a dissolve after the second."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)

    def scene(k: int, t: int) -> np.ndarray:
        waves = [np.sin(0.2 * (k + 1) * x + 0.11 * c * y + 0.05 * t + k) * np.cos(0.3 * y - k * c) for c in range(3)]
        return 120 + 30 * k + (90 - 20 * k) * np.stack(waves, axis=-1)

    share = np.clip((np.arange(END) - MIXED[0] + 1) / (MIXED[1] - MIXED[0] + 1), 0, 1)
    whole = [scene(0, t) if t < CUT else (1 - share[t]) * scene(1, t) + share[t] * scene(2, t) for t in range(END)]
    return np.clip(np.round(np.stack(whole)), 0, 255).astype(np.uint8)


def test_the_size_is_that_of_the_published_weights() -> None:
    network = TransNetV2()
    assert (sum(p.numel() for p in network.parameters()), len(network.state_dict())) == (7_616_258, 90)


@pytest.fixture
def seen() -> TransNetShots:
    if not weights.have("transnetv2"):
        pytest.skip("run: emo weights get transnetv2")
    detector = TransNetShots()
    for number, picture in enumerate(small_film()):
        detector.see(number / 25, picture)
    return detector


@pytest.mark.weights
def test_it_gives_the_packages_own_numbers(seen: TransNetShots) -> None:
    golden = np.load(GOLDEN)
    boundary, mixed = seen.likelihoods()
    assert len(boundary) == END
    np.testing.assert_allclose(boundary, golden["boundary"], atol=1e-5)
    np.testing.assert_allclose(mixed, golden["mixed"], atol=1e-5)
    assert golden["boundary"][CUT - 1] > 0.5 > golden["boundary"][: CUT - 2].max()  # the golden film says something
    found = seen.end()
    assert found.cuts == [CUT]
    ((begin, end),) = found.transitions
    assert abs(begin - MIXED[0]) <= 2 and abs(end - MIXED[1]) <= 2


def test_missing_weights_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="emo weights get transnetv2"):
        shot_detector("transnetv2")


def test_the_detector_is_an_input_of_the_step() -> None:
    one, other = DataConfig(), DataConfig(shot_detector="transnetv2")
    assert one.digest("shot_detector") != other.digest("shot_detector")


def test_a_film_shorter_than_a_window_and_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame gets its numbers, however the windows fall; a network that echoes a picture's brightness."""

    class Echo:
        def __call__(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return (pictures[:, :, 0, 0, 0] / 255,) * 2

    monkeypatch.setattr("emo_model.data.transnet.load_transnet", lambda path: Echo())
    monkeypatch.setattr("emo_model.data.transnet.weights.path", lambda name: Path())
    for count in (0, 1, 49, 50, 51, 75, 76, 100, 101, 175):
        detector, levels = TransNetShots(), np.arange(count) % 100
        for level in levels:
            detector.see(0, np.full((HEIGHT, WIDTH, 3), level, np.uint8))
            assert len(detector._waiting) <= 100
        np.testing.assert_allclose(detector.likelihoods()[0], levels / 255, atol=1e-6)
