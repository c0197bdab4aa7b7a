"""The small network, its portrait and a voice."""

from pathlib import Path

import pytest

from emo_model.generate.portrait import Portrait
from emo_model.generate.video import Model
from tests.model.generate.small import small_model, small_portrait, write_voice


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return small_model(tmp_path_factory.mktemp("run") / "step-1")


@pytest.fixture
def portrait() -> Portrait:
    return small_portrait()


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return write_voice(tmp_path / "voice.wav", seconds=0.85)
