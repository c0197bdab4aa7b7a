"""What measuring costs beyond the networks: all metrics in one pass, against their networks alone (bar: 1.15), and
against each metric by itself, as the reference pipelines run.

    python benchmarks/evaluate.py [--seconds 4] [--size 256] [--fps 25]

Videos are those of EMO_DEVELOPMENT_VIDEOS that show HDTF's people, else the samples'; the method is the real clip,
encoded again. The networks are timed inside the same pass: a busy machine slows both sides of the first ratio alike.
Metrics without weights on this machine are left out, and named.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emo_model import samples
from emo_model.data import media
from emo_model.evaluate import ALL, GROUND_TRUTH, HALVES, Protocol, VideoPair, evaluate_methods
from emo_model.evaluate.extractors import FAMILIES


class Clock:
    """Seconds inside networks, of the outermost call only."""

    def __init__(self) -> None:
        self.seconds, self.depth = 0.0, 0

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def run(*arguments: Any, **named: Any) -> Any:
            self.depth += 1
            start = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - start

        return run


@contextmanager
def networks_timed() -> Iterator[Clock]:
    """torch's modules and MediaPipe's landmarker on a clock; dlib's network has a type of its own in C++."""
    import mediapipe as mp
    import torch

    from emo_model.evaluate.identity import FaceNetwork

    clock = Clock()
    landmarker = mp.tasks.vision.FaceLandmarker
    patched = [(torch.nn.Module, "__call__"), (landmarker, "detect_for_video"), (FaceNetwork, "describe")]
    kept = [(kind, name, getattr(kind, name)) for kind, name in patched]
    for kind, name, work in kept:
        setattr(kind, name, clock.timed(work))
    try:
        yield clock
    finally:
        for kind, name, work in kept:
            setattr(kind, name, work)


def clips(seconds: float) -> list[Path]:
    """Two videos of somebody talking that last long enough."""
    development = os.environ.get("EMO_DEVELOPMENT_VIDEOS")
    folder, pattern = (Path(development), "WDA_*.mp4") if development else (samples.default_folder(), "videos/*/*.m*")
    found = [path for path in sorted(folder.glob(pattern)) if media.probe(path).duration_s >= seconds + 0.1]
    return found[:2]


def encoded_again(path: Path, folder: Path) -> Path:
    """What a method hands in: the real clip once more, square, with its sound."""
    known, out = media.probe(path), folder / f"{path.stem}.mp4"
    pictures = (picture for _, picture in media.frames(path))
    size = (known.width // 2 * 2, known.height // 2 * 2)
    cut = (picture[: size[1], : size[0]] for picture in pictures)
    media.write_video(out, cut, round(known.fps), size, media.audio(path, 0.0, known.duration_s))
    return out


def main() -> None:
    """Print both ratios and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--fps", type=float, default=25.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        real = clips(chosen.seconds)
        pairs = [VideoPair(path.stem, path.stem, path, encoded_again(path, Path(temporary))) for path in real]
        values = {"seconds": chosen.seconds, "size": chosen.size, "fps": chosen.fps, "bootstrap": 0}
        frozen = Protocol.freeze("benchmark", [pair.clip_id for pair in pairs], **values)
        runs = {pin.family: pin.extractor for pin in frozen.extractors}
        print(f"{len(pairs)} clips of {chosen.seconds:g} s at {chosen.fps:g} fps, {chosen.size} pixels: {runs}")
        if missing := [name for name in ALL if name not in runs]:
            print(f"left out, no weights: {', '.join(missing)}")

        def measure(*metrics: str) -> float:
            start = time.perf_counter()
            evaluate_methods({"copy": pairs}, frozen, root="/", metrics=metrics, controls=(GROUND_TRUTH, HALVES))
            return time.perf_counter() - start

        measure(*runs)  # libraries are imported once, whoever asks first
        with networks_timed() as clock:
            together = measure(*runs)
        ratio = together / clock.seconds
        print(f"together {together:.1f} s, in the networks {clock.seconds:.1f} s: {ratio:.3f} (bar 1.15)")
        alone = {name: measure(name) for name in runs}
        print(f"each by itself {sum(alone.values()):.1f} s: {sum(alone.values()) / together:.2f} times as long")
        for name, seconds in alone.items():
            print(f"  {name:12} {seconds:6.1f} s  {FAMILIES[name].meaning}")
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
