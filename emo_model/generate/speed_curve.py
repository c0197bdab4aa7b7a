"""How fast the head shall turn, in degrees a frame at 30 fps: a constant (section 4.1), or a curve over time."""

import csv
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from emo_model.errors import UserError
from emo_model.generate.sampler import Speed
from emo_model.networks.config import SpeedBuckets

MEDIAN: Literal["median"] = "median"  # of the checkpoint's buckets


@dataclass(frozen=True)
class SpeedCurve:
    """Straight lines between its points; before the first and after the last their speeds hold."""

    seconds: tuple[float, ...]
    speeds: tuple[float, ...]

    def __call__(self, t_s: float) -> float:
        """Degrees a frame at a second of the video."""
        return float(np.interp(t_s, self.seconds, self.speeds))


Asked = float | Literal["median"] | SpeedCurve | None  # None: unknown


def parse_speed(text: str) -> Asked:
    """0.7, median, none, or the path of a curve as CSV. UserError for anything else."""
    if text in (MEDIAN, "none"):
        return MEDIAN if text == MEDIAN else None
    try:
        return float(text)
    except ValueError:
        pass
    if Path(text).is_file():
        return read_curve(Path(text))
    raise UserError(
        f"head speed {text!r}: degrees a frame, a CSV file with a curve, median or none is wanted; "
        "run: emo generate --speed 0.7"
    )


def read_curve(path: Path) -> SpeedCurve:
    """A CSV file of lines `seconds,degrees a frame`, a heading allowed; seconds rise. UserError naming the line."""
    points: list[tuple[float, float]] = []
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a speed curve: {error}; run: emo generate --speed 0.7") from error
    for number, line in enumerate(lines, start=1):
        if not any(cell.strip() for cell in line):
            continue
        try:
            second, speed = map(float, line)
        except ValueError:
            if not points and number == 1:  # a heading
                continue
            raise _bad_line(path, number, line) from None
        if not (np.isfinite(second) and np.isfinite(speed)):
            raise _bad_line(path, number, line)
        points.append((second, speed))
    if not points or any(b[0] <= a[0] for a, b in pairwise(points)):
        what = "seconds that rise from line to line" if points else "at least one line `seconds,degrees a frame`"
        raise UserError(f"the speed curve {path}: {what} are wanted; mend it, or run: emo generate --speed 0.7")
    seconds, speeds = zip(*points, strict=True)
    return SpeedCurve(seconds, speeds)


def speed_within(asked: Asked, buckets: SpeedBuckets) -> Speed:
    """What sampling is told. UserError where a speed lies beyond the centres of the buckets that were learned."""
    if asked is None:
        return None
    if isinstance(asked, str):
        return float(np.median(buckets.centres))
    speeds = asked.speeds if isinstance(asked, SpeedCurve) else (asked,)
    lowest, highest = min(buckets.centres), max(buckets.centres)
    if wrong := [speed for speed in speeds if not lowest <= speed <= highest]:
        raise UserError(
            f"head speed {wrong[0]:g}: this checkpoint learned {lowest:g} to {highest:g} degrees a frame; "
            f"run: emo generate --speed {np.clip(wrong[0], lowest, highest):g}"
        )
    return asked


def _bad_line(path: Path, number: int, line: list[str]) -> UserError:
    return UserError(
        f"line {number} of the speed curve {path} is {','.join(line)!r}: `seconds,degrees a frame` is wanted; mend it, "
        "then run the same command"
    )
