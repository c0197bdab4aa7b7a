"""Any method's videos: found by clip id, and looked over before anything is measured.

    methods/NAME/CLIP_ID.mp4          one video a test clip; .mkv, .mov, .webm and .avi do as well
    methods/NAME/clips.csv            or a map, clip_id,file: the files then may be called anything

What is wrong with a video is said by name. A fatal finding gives the method a dash where it would have had a number: a
missing or shortened clip makes its numbers incomparable. The rest is said and measured.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo_model.data import media
from emo_model.errors import UserError

from .clips import VideoPair
from .controls import is_control
from .protocol import Protocol
from .video import SOUND_RATE, Unreadable, has_sound, read_sound

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi")
MAP = "clips.csv"
LATE_S = 0.04  # a frame at 25 fps
HELD_S = 0.2  # a video that ends so little too early is held on its last frame, as players do
SAME_SOUND = 0.5  # correlation of two loudness curves, 1 for one sound in two codecs
SHOWN = 5  # names in a sentence


@dataclass(frozen=True)
class Finding:
    """What is to be said of a method's video of one clip; `clip_id` None: of its folder. Fatal: it has no numbers."""

    method: str
    clip_id: str | None
    fatal: bool
    text: str


def folders(root: Path, reserved: Iterable[str] = ()) -> dict[str, Path]:
    """NAME -> methods/NAME of a data root, those with videos or a map in them. UserError for a name that is taken."""
    found = [folder for folder in sorted((root / "methods").glob("*/")) if files(folder)]
    for folder in found:
        if folder.name in reserved or is_control(folder.name):
            raise UserError(f"{folder}: the name is taken by a row of the table; rename the folder")
    return {folder.name: folder for folder in found}


def files(folder: Path) -> list[Path]:
    """The videos and the map of a method's folder."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES or path.name == MAP)


def videos(folder: Path) -> dict[str, Path]:
    """clip id -> video: by the map where there is one, else by the files' names. UserError on a map that is none."""
    table = folder / MAP
    if not table.is_file():
        return {path.stem: path for path in files(folder)}
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"clip_id", "file"} <= set(reader.fieldnames or ()):
            raise UserError(f"{table}: wanted the columns clip_id,file, got {','.join(reader.fieldnames or ())}")
        return {row["clip_id"].strip(): folder / row["file"].strip() for row in reader}


def answer(folder: Path, clip_id: str, found: Mapping[str, Path]) -> Path:
    """The video of a clip, or where it would lie."""
    return found.get(clip_id, folder / f"{clip_id}.mp4")


def look_over(method: str, pairs: Sequence[VideoPair], protocol: Protocol, root: Path) -> list[Finding]:
    """Whether a method has a usable video of every clip of the protocol: count, length, rate, size, sound."""
    by_clip = {pair.clip_id: pair for pair in pairs}
    findings = [Finding(method, clip, True, "no video of this clip") for clip in protocol.clips if clip not in by_clip]
    for clip in protocol.clips:
        if clip in by_clip:
            findings += [Finding(method, clip, *said) for said in _look(by_clip[clip], protocol, root)]
    return findings


def _look(pair: VideoPair, protocol: Protocol, root: Path) -> list[tuple[bool, str]]:
    """(fatal, what) of one video."""
    path = root / pair.generated
    if not path.is_file():
        return [(True, "no video of this clip")]
    try:
        known, real = media.probe(path), media.probe(root / pair.real)
    except (media.MediaError, OSError) as error:
        return [(True, f"{path.name} cannot be used: {error}")]
    has, wanted = known.duration_s, min(real.duration_s, protocol.seconds)
    if not known.fps or has <= 1.5 / known.fps:
        return [(True, "one frame: a picture, no video")]
    if has < wanted - HELD_S:
        return [(True, f"{has:.2f} s long, {wanted:.2f} s are measured")]
    said = []
    if has < wanted - 0.5 / min(known.fps, protocol.fps):
        said.append(f"{wanted - has:.2f} s too short: its last frame is held")
    if protocol.truth == "clip" and has > real.duration_s + 0.5:  # from a raw file no more is cut than is measured
        said.append(f"{has - real.duration_s:.1f} s longer than the clip: its end is not looked at")
    if abs(known.fps - protocol.fps) > 0.01:
        said.append(f"{known.fps:.4g} fps, read at {protocol.fps:g}")
    if known.is_vfr:
        said.append("frames at uneven times")
    if known.width != known.height:
        said.append(f"{known.width} x {known.height} pixels, brought to a square")
    elif known.width < protocol.size:
        said.append(f"{known.width} x {known.height} pixels, enlarged to {protocol.size}")
    return [(False, text) for text in (*said, *_listen(pair, protocol, root))]


def _listen(pair: VideoPair, protocol: Protocol, root: Path) -> list[str]:
    """What is wrong with the sound of a video that can be read."""
    try:
        if not has_sound(root / pair.generated):
            driven = "the driving voice is heard with it" if pair.sound else "and there is no driving voice"
            return [f"no sound of its own: {driven}"]
        voice = root / (pair.sound or pair.real)
        own, driving = (read_sound(path, protocol.seconds) for path in (root / pair.generated, voice))
    except Unreadable as error:
        return [str(error)]
    if driving is None or own is None:
        return []
    correlation, late_s = sound_shift(own, driving)
    if correlation < SAME_SOUND:
        return ["its sound is not the driving voice's"]
    if abs(late_s) >= LATE_S:
        return [f"its sound is {abs(late_s) * 1000:.0f} ms {'late' if late_s > 0 else 'early'}"]
    return []


def sound_shift(own: np.ndarray, driving: np.ndarray) -> tuple[float, float]:
    """Best correlation of two sounds' loudness within half a second, and by how many seconds `own` is late there."""
    rate, most = 100, 50  # curves at 100 Hz
    a, b = (_loudness(sound, SOUND_RATE // rate) for sound in (own, driving))
    if len(b) < rate or b.std() < 1e-6:
        return 1.0, 0.0  # nothing to compare with
    best = (0.0, 0.0)
    for lag in range(-most, most + 1):
        x, y = a[max(lag, 0) :], b[max(-lag, 0) :]
        count = min(len(x), len(y))
        x, y = x[:count], y[:count]
        if count >= rate and x.std() > 1e-6 and y.std() > 1e-6:
            correlation = float(np.corrcoef(x, y)[0, 1])
            best = max(best, (correlation, lag / rate))
    return best


def _loudness(sound: np.ndarray, hop: int) -> np.ndarray:
    whole = len(sound) // hop * hop
    return np.sqrt(((sound[:whole] / 32768.0) ** 2).reshape(-1, hop).mean(1))


def sentences(findings: Iterable[Finding]) -> list[str]:
    """One line a thing to say, with the clips it is true of: some by name, all by number."""
    said: dict[tuple[str, str, bool], list[str]] = {}
    for finding in findings:
        clips = said.setdefault((finding.method, finding.text, finding.fatal), [])
        if finding.clip_id and finding.clip_id not in clips:
            clips.append(finding.clip_id)
    lines = []
    for (method, text, fatal), clips in said.items():
        more = f" and {len(clips) - SHOWN} more" if len(clips) > SHOWN else ""
        where = f" ({', '.join(clips[:SHOWN])}{more})" if clips else ""
        lines.append(f"{method}: {text}{where}{': no number' if fatal else ''}")
    return lines


def reason(findings: Iterable[Finding]) -> str | None:
    """Why a method has no numbers; None where it can have them."""
    fatal: dict[str, list[str]] = {}
    for finding in findings:
        if finding.fatal:
            fatal.setdefault(finding.text, []).append(finding.clip_id or "")
    if not fatal:
        return None
    parts = []
    for text, clips in fatal.items():
        more = f" and {len(clips) - SHOWN} more" if len(clips) > SHOWN else ""
        parts.append(f"{'clips' if len(clips) > 1 else 'clip'} {', '.join(clips[:SHOWN])}{more}: {text}")
    return "; ".join(parts)
