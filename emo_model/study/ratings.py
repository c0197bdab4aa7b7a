"""The files that raters send back: read, checked against the key, and refused by name where they do not fit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emo_model.errors import UserError
from emo_model.study.design import HIGHEST, LOWEST, SCALES, Key

LARGEST = 10_000_000  # bytes of a file of ratings


@dataclass(frozen=True)
class Ratings:
    """values: (raters, clips, methods, scales), whole numbers from 1 to 5, in the order of the names."""

    raters: tuple[str, ...]
    clips: tuple[str, ...]
    methods: tuple[str, ...]
    values: np.ndarray
    refused: tuple[str, ...]  # a line a file that was not counted: its name and why


class _Refused(Exception):
    """Why a file is not counted."""


def collect(folder: Path, key: Key) -> Ratings:
    """All files *.json of a folder, a rater each.

    A file that is no complete rating of this study is refused; of two by one rater the one finished first counts.
    UserError where no file can be counted.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}; run: emo study --collect FOLDER, with the raters' files in it")
    files = sorted(folder.glob("*.json"))
    clips, methods = tuple(key.clips.values()), tuple(key.methods)
    accepted: list[tuple[str, str, Path, np.ndarray]] = []  # finished, rater, file, values
    refused = []
    for file in files:
        try:
            accepted.append(_read(file, key, clips, methods))
        except _Refused as why:
            refused.append(f"{file.name}: {why}")
    counted: dict[str, tuple[Path, np.ndarray]] = {}
    for _, rater, file, values in sorted(accepted, key=lambda found: (found[0], found[2].name)):
        if rater in counted:
            first, before = counted[rater]
            same = "the same ratings" if np.array_equal(before, values) else "the ratings finished first count"
            refused.append(f"{file.name}: rater {rater} is in {first.name} already; {same}")
        else:
            counted[rater] = file, values
    if not counted:
        reasons = "; ".join(refused) or "it holds no *.json"
        raise UserError(
            f"no ratings to count in {folder}: {reasons}; ask the raters for the file that the page downloads"
        )
    raters = tuple(sorted(counted))
    return Ratings(raters, clips, methods, np.stack([counted[rater][1] for rater in raters]), tuple(sorted(refused)))


def _read(file: Path, key: Key, clips: tuple[str, ...], methods: tuple[str, ...]) -> tuple[str, str, Path, np.ndarray]:
    """When it was finished, the rater, the file, and (clips, methods, scales)."""
    record = _record(file)
    if record.get("study") != key.study:
        raise _Refused(f"of another study ({_short(record.get('study'))}, wanted {key.study})")
    rater, finished, given = record.get("rater"), record.get("finished"), record.get("ratings")
    if not isinstance(rater, str) or not rater.strip() or len(rater) > 64:
        raise _Refused(f"wanted the rater's name, got {_short(rater)}")
    if not isinstance(finished, str) or not isinstance(given, list):
        raise _Refused("it lacks when it was finished, or the list of ratings")
    values = np.zeros((len(clips), len(methods), len(SCALES)), np.int64)
    for number, rating in enumerate(given, start=1):
        at, scores = _rating(rating, number, key)
        place = clips.index(key.videos[at][0]), methods.index(key.videos[at][1])
        if values[place].any():
            raise _Refused(f"video {at} is rated twice")
        values[place] = scores
    if missing := int((values == 0).any(-1).sum()):
        raise _Refused(f"{missing} of {len(key.videos)} videos are not rated")
    return finished, rater.strip(), file, values


def _record(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST:
            raise _Refused("too large for a file of ratings")
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _Refused(f"not readable as JSON ({_short(str(error))})") from error
    if not isinstance(record, dict):
        raise _Refused("no file of ratings")
    return record


def _rating(rating: Any, number: int, key: Key) -> tuple[str, list[int]]:
    """A video's name, and its scores."""
    video = rating.get("video") if isinstance(rating, dict) else rating
    if not isinstance(video, str) or video not in key.videos:
        raise _Refused(f"rating {number} is of a video that the study does not have ({_short(video)})")
    scores = []
    for scale in SCALES:
        score = rating.get(scale)
        if type(score) is not int or not LOWEST <= score <= HIGHEST:
            raise _Refused(
                f"rating {number}: wanted {scale} from {LOWEST} to {HIGHEST} as a whole number, got {_short(score)}"
            )
        scores.append(score)
    return video, scores


def _short(value: Any) -> str:
    text = " ".join(repr(value).split()) if not isinstance(value, str) else " ".join(value.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
