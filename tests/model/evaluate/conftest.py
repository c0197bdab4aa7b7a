"""Small known videos, and the real weights where they are present."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from emo_model import samples, weights
from emo_model.evaluate import EvaluationRow, Protocol, VideoPair, evaluate_methods, observe
from emo_model.evaluate.extractors import FAMILIES, Extractor, Family
from emo_model.evaluate.protocol import PinnedExtractor
from emo_model.evaluate.scores import Observation, Score, counted, frechet_score
from emo_model.evaluate.video import Video


@pytest.fixture
def need_weights() -> Callable[..., Path]:
    """The path of weights; skips, with the command, where they are missing. `make test` fetches these."""

    def path(name: str) -> Path:
        if not weights.have(name):
            pytest.skip(f"run: emo weights get {name}")
        return weights.path(name)

    return path


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def write_video(path: Path, frames: np.ndarray, fps: int = 30, sound: np.ndarray | None = None) -> Path:
    """(T, H, W, 3) uint8, lossless RGB; `sound` is int16 at 16 kHz."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264rgb", rate=fps, options={"crf": "0", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "rgb24"
        voice = out.add_stream("pcm_s16le", rate=16_000, layout="mono") if sound is not None else None
        for frame in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(video.encode())
        if voice is not None:
            chunk = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            chunk.sample_rate = 16_000
            out.mux(voice.encode(chunk))
            out.mux(voice.encode())
    return path


@pytest.fixture
def moving(tmp_path: Path) -> Callable[..., Path]:
    """A drifting random texture, no face: `level` shifts its brightness, `speed` is pixels a frame."""

    def make(name: str, seed: int = 0, seconds: float = 1.6, level: int = 0, speed: int = 1) -> Path:
        rng = np.random.default_rng(seed)
        texture = np.kron(rng.integers(0, 180, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        frames = np.stack([np.roll(texture, t * speed, axis=1) for t in range(round(seconds * 30))])
        return write_video(tmp_path / f"{name}.mkv", np.clip(frames.astype(int) + level, 0, 255).astype(np.uint8))

    return make


@pytest.fixture
def need_sample() -> Callable[[str], Path]:
    """A sample file; skips, with the command, where it is missing. `make test` fetches all of them."""

    def path(name: str) -> Path:
        file = samples.default_folder() / name
        if not file.exists():
            pytest.skip("run: emo samples get")
        return file

    return path


COLOUR = Extractor("mean-colour", (), is_reference=True)


class MeanColour:
    """A distance between mean colours of frames: stands where networks stand, and needs none."""

    broken = False
    decoded = 0

    def __init__(self, extractor: Extractor) -> None:
        del extractor

    def observe(self, video: Video) -> Observation:
        values = video.frames.mean((1, 2)) + np.arange(len(video.frames))[:, None] % 7
        return Observation.full(values * np.nan if self.broken and not video.still else values)

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]:
        return {"colour": Score(frechet_score(real, generated, "frame"), *counted(generated))}


@pytest.fixture
def colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "colour", Family("colour", ("colour",), (COLOUR,), "a test", is_distance=True))
    monkeypatch.setattr(observe, "load", lambda family, extractor: MeanColour(extractor))
    monkeypatch.setattr(MeanColour, "broken", False)


def protocol(*clips: str, seconds: float = 1.0) -> Protocol:
    return Protocol("demo", clips, (PinnedExtractor("colour", "mean-colour", ""),), seconds=seconds, size=64)


@pytest.fixture
def pairs(moving: Callable[..., Path]) -> list[VideoPair]:
    """Three clips of two people; what is generated is 10 brighter."""
    return [
        VideoPair(f"c{i}", person, moving(f"real{i}", seed=i), moving(f"ours{i}", seed=i, level=10))
        for i, person in enumerate(("ann", "ann", "bob"))
    ]


def measure(methods: dict[str, list[VideoPair]], frozen: Protocol, **values: object) -> dict[str, EvaluationRow]:
    found = evaluate_methods(methods, frozen, root="", metrics=("colour",), **values)
    return {row.method: row for row in found.rows}
