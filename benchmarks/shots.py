"""Shot detectors on known cuts, fades and dissolves, made from real videos; and on what is none of them.

    python benchmarks/shots.py [FOLDER_OF_VIDEOS ...] [--detector adaptive|transnetv2]     the sample videos without one

A film is 4 s of a take, the transition, and 4 s of the next one: another video's, or a far moment of the same. The
negatives are whole takes, takes whose light changes, dark ones, and takes through which the camera pans or zooms.
Found: a boundary was seen inside it. Kept out: the share of its mixed pictures that belong to no shot.
False: boundaries where none was made, beyond those that the takes themselves have.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np

from emo_model import samples
from emo_model.data.media import frames
from emo_model.data.shots import shot_detector

LONGER = 192  # pixels: of the takes in memory
TAKE_S, MOST_S = 4.0, 25.0
FADES, DISSOLVES = (0.3, 0.5, 1.0, 2.0), (0.3, 0.6, 1.0, 1.5)
SLACK_S = 0.2
MADE = ("cut", "dissolve, two videos", "dissolve, one video", "fade to black", "fade to white")


@dataclass(frozen=True)
class Film:
    """Pictures (N, H, W, 3) and the stretch [begin, end) of mixed ones; of a cut, the first frame after it."""

    kind: str
    fps: float
    pictures: np.ndarray
    begin: int = 0
    end: int = 0


@dataclass(frozen=True)
class Take:
    """The first seconds of a video."""

    name: str
    fps: float
    pictures: np.ndarray


def take(path: Path) -> Take:
    """The first seconds of a video, small."""
    seen, times = [], []
    for t_s, picture in frames(path):
        if t_s > MOST_S:
            break
        scale = LONGER / max(picture.shape[:2])
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        seen.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        times.append(t_s)
    return Take(path.name, 1 / float(np.median(np.diff(times))), np.stack(seen))


def shaped(pictures: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The middle of the pictures in another take's shape, filling it."""
    height, width = like.shape[1:3]
    scale = max(height / pictures.shape[1], width / pictures.shape[2])
    size = (max(width, round(pictures.shape[2] * scale)), max(height, round(pictures.shape[1] * scale)))
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    return np.stack([cv2.resize(picture, size)[y : y + height, x : x + width] for picture in pictures])


def joined(kind: str, fps: float, before: np.ndarray, after: np.ndarray, seconds: float, via: int | None) -> Film:
    """Two takes with a cut (0 s), a dissolve, or a fade down to the grey `via` and up again."""
    mixed = round(seconds * fps)
    a, b = before.astype(np.float32), after.astype(np.float32)
    if not mixed:
        return Film(kind, fps, np.concatenate([before, after]), len(a), len(a))
    share = ((np.arange(mixed) + 1) / (mixed + 1))[:, None, None, None].astype(np.float32)
    if via is None:
        middle = a[-mixed:] * (1 - share) + b[:mixed] * share
    else:
        share = share * (mixed + 1) / mixed  # all the way
        middle = np.concatenate(
            [a[-mixed:] * (1 - share) + via * share, b[:mixed] * (1 - share[::-1]) + via * share[::-1]]
        )
    whole = np.concatenate([before[:-mixed], np.round(middle).astype(np.uint8), after[mixed:]])
    return Film(kind, fps, whole, len(before) - mixed, len(before) - mixed + len(middle))


def positives(takes: list[Take]) -> Iterator[Film]:
    """Every take with every transition, into the take after it in the list and into its own last seconds."""
    for number, one in enumerate(takes):
        count = round((TAKE_S + 1.5) * one.fps)
        if len(one.pictures) < count:
            continue
        other = takes[(number + 1) % len(takes)]
        before = one.pictures[:count]
        between = shaped(other.pictures[:count], one.pictures)
        yield joined("cut", one.fps, before, between, 0, None)
        for seconds in DISSOLVES:
            yield joined("dissolve, two videos", one.fps, before, between, seconds, None)
        for seconds in FADES:
            yield joined("fade to black", one.fps, before, between, seconds, 0)
            yield joined("fade to white", one.fps, before, between, seconds, 255)
        if len(one.pictures) >= 2 * count:
            far = one.pictures[-count:]
            for seconds in DISSOLVES:
                yield joined("dissolve, one video", one.fps, before, far, seconds, None)


def negatives(takes: list[Take]) -> Iterator[Film]:
    """Every take under changing light, dark, and with a camera that moves."""
    for one in takes:
        count = len(one.pictures)
        when = np.arange(count)[:, None, None, None] / one.fps
        for seconds in (0.3, 1.0, 2.0):
            for low in (0.35, 0.7):
                light = low + (1 - low) * np.clip((when - when.max() / 2) / seconds, 0, 1)
                yield Film("light", one.fps, (one.pictures * light).astype(np.uint8))
                yield Film("light", one.fps, (one.pictures[::-1] * light).astype(np.uint8)[::-1])
        yield Film("dark", one.fps, (one.pictures * 0.12).astype(np.uint8))
        yield Film("camera", one.fps, np.stack(list(panned(one.pictures, one.fps))))


def panned(pictures: np.ndarray, fps: float) -> Iterator[np.ndarray]:
    """A window of half the size that swings from side to side and comes closer and goes."""
    height, width = pictures.shape[1:3]
    for number, picture in enumerate(pictures):
        t = number / fps
        zoom = 0.55 + 0.15 * np.sin(1.1 * t)
        h, w = int(height * zoom), int(width * zoom)
        x, y = (0.5 + 0.5 * np.sin(1.7 * t)) * (width - w), (0.5 + 0.5 * np.sin(0.9 * t)) * (height - h)
        yield cv2.resize(picture[int(y) : int(y) + h, int(x) : int(x) + w], (width, height))


def boundaries(film: Film, detector: str) -> tuple[list[int], list[tuple[int, int]]]:
    """(first frames after cuts, [begin, end) of transitions) that a detector sees."""
    eyes = shot_detector(detector)
    for number, picture in enumerate(film.pictures):
        eyes.see(number / film.fps, picture)
    found = eyes.end()
    return found.cuts, found.transitions


def steady(takes: list[Take], detector: str) -> list[Take]:
    """Those in which the detector sees no boundary, and so none that a film is not given."""
    seen = [(one, boundaries(Film("", one.fps, one.pictures), detector)) for one in takes]
    return [one for one, (cuts, transitions) in seen if not cuts and not transitions]


def judged(film: Film, cuts: list[int], transitions: list[tuple[int, int]]) -> tuple[bool, float, int]:
    """Whether the film's boundary was found, how much of its mixed pictures no shot holds, boundaries elsewhere."""
    slack = round(SLACK_S * film.fps) if film.end else 0
    begin, end = film.begin - slack, film.end + slack
    true = [edge for edge in cuts if film.end and begin <= edge <= end]
    near = [(a, b) for a, b in transitions if a < end and b > begin]
    kept_out = np.zeros(len(film.pictures), bool)
    for a, b in transitions:
        kept_out[a:b] = True
    share = float(kept_out[film.begin : film.end].mean()) if film.end > film.begin else 1.0
    return bool(true or near), share, len(cuts) - len(true) + len(transitions) - len(near)


def main() -> None:
    """Print, for every kind of film, how many boundaries were found, kept out and false."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folders", nargs="*", type=Path)
    arguments.add_argument("--detector", default="adaptive")
    arguments.add_argument("--every", type=int, default=1, help="only every Nth film")
    given = arguments.parse_args()
    folders = given.folders or [samples.default_folder() / "videos"]
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in (".mp4", ".mov"))
    takes = [take(path) for path in paths]
    for one in takes:
        print(
            f"{one.name:40}{len(one.pictures):5} frames", *boundaries(Film("", one.fps, one.pictures), given.detector)
        )
    takes = steady(takes, given.detector)
    counts: dict[str, list[tuple[bool, float, int]]] = {}
    frames_seen = 0
    for film in islice(chain(positives(takes), negatives(takes)), 0, None, given.every):
        frames_seen += len(film.pictures)
        counts.setdefault(film.kind, []).append(judged(film, *boundaries(film, given.detector)))
    print(f"{len(takes)} takes without a boundary; detector {given.detector}; {frames_seen} frames")
    print(f"{'':24}{'films':>6}{'found':>8}{'kept out':>10}{'false':>7}")
    for kind, rows in counts.items():
        found, kept, false = (np.array(column) for column in zip(*rows, strict=True))
        here = f"{found.mean():8.0%}{kept.mean():10.0%}" if kind in MADE else " " * 18
        print(f"{kind:24}{len(rows):6}{here}{false.sum():7}")
    found = sum(row[0] for kind in MADE for row in counts.get(kind, []))
    false = sum(row[2] for rows in counts.values() for row in rows)
    made = sum(len(counts.get(kind, [])) for kind in MADE)
    print(f"recall {found / made:.2f} ({found} of {made}), precision {found / (found + false):.2f}")


if __name__ == "__main__":
    main()
