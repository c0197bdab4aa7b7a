"""The rating page, and the key that tells what was rated.

    STUDY/page/       to hand out: index.html and media/, whose names, bytes' tags and order tell no method
    STUDY/key.json    stays here: name of each file -> clip and method
    STUDY/ratings/    for the raters' files

The page brings clips and, in each clip, methods into an order drawn anew for every rater.
"""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from emo_model.data.store import atomic, text_sha256, write_json
from emo_model.errors import UserError
from emo_model.evaluate import GROUND_TRUTH, Evaluation, VideoPair
from emo_model.figures.rows import Row
from emo_model.report.films import UNREADABLE, encode, has_sound
from emo_model.report.page import render

SCALES = {"lip_sync": "Lip sync", "vividness": "Vividness"}
QUESTIONS = {
    "lip_sync": "Do the lips fit the voice?",
    "vividness": "Are expression and head movement lively and natural?",
}
LOWEST, HIGHEST = 1, 5
SIDE = 512  # pixels of every picture: no method shows by its size


@dataclass(frozen=True)
class Key:
    """What the page does not tell. videos: a file's name without suffix -> (clip id, method)."""

    study: str
    salt: str
    clips: Mapping[str, str]  # a clip's name on the page -> clip id
    videos: Mapping[str, tuple[str, str]]

    @property
    def methods(self) -> list[str]:
        """The methods, in the order in which they were given."""
        return list(dict.fromkeys(method for _, method in self.videos.values()))

    @classmethod
    def read(cls, path: Path) -> "Key":
        """What `write_study` left. UserError where there is none."""
        if not path.is_file():
            raise UserError(f"no key of a study at {path}; run: emo study")
        values = json.loads(path.read_text(encoding="utf-8"))
        videos = {name: (clip, method) for name, (clip, method) in values["videos"].items()}
        return cls(values["study"], values["salt"], values["clips"], videos)


def write_study(
    evaluation: Evaluation,
    folder: Path,
    *,
    root: Path,
    methods: Sequence[str] = (),
    clips: int | None = None,
    seconds: float | None = None,
    salt: str | None = None,
) -> Key:
    """Write a study of an evaluation's videos into a new folder: `methods` (all of them, with the ground truth,
    otherwise) on the first `clips` clips that all of them have.

    salt: what the names are hashed with; drawn by chance otherwise. UserError where the folder is there, for an
    unknown method, a video that cannot be read, and where there are fewer than two methods or no clip.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is there already, and somebody may be rating it; run: emo study --out ANOTHER")
    answers = _answers(evaluation, methods)
    shared = [clip for clip in evaluation.protocol.clips if all(clip in pairs for pairs in answers.values())][:clips]
    if len(answers) < 2 or not shared:
        raise UserError(
            "a study compares two methods at least on a clip that all of them have, got "
            f"{', '.join(answers) or 'none'} with {len(shared)} clips in common; run: emo evaluate FOLDER FOLDER"
        )
    salt = salt or secrets.token_hex(16)
    key = Key(
        text_sha256(salt, "study")[:16],
        salt,
        {_name(salt, clip): clip for clip in shared},
        {_name(salt, clip, method): (clip, method) for method in answers for clip in shared},
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".study-", dir=folder.parent) as temporary:
        new = Path(temporary) / "study"
        _write_page(key, answers, new / "page", root, evaluation.protocol.seconds if seconds is None else seconds)
        write_json(new / "key.json", asdict(key))
        (new / "ratings").mkdir()
        os.replace(new, folder)
    return key


def _answers(evaluation: Evaluation, methods: Sequence[str]) -> dict[str, dict[str, VideoPair]]:
    """method -> clip -> pair, the ground truth as a method whose answer is the real clip."""
    given = {method: {pair.clip_id: pair for pair in pairs} for method, pairs in evaluation.methods.items()}
    known = {GROUND_TRUTH: {clip: pair for pairs in given.values() for clip, pair in pairs.items()}} | given
    if unknown := [method for method in methods if method not in known]:
        raise UserError(f"no videos of {', '.join(unknown)} in this evaluation; known: {', '.join(known)}")
    return {method: known[method] for method in methods or known}


def _name(salt: str, *what: str) -> str:
    return text_sha256(salt, *what)[:16]


def _write_page(
    key: Key, answers: Mapping[str, Mapping[str, VideoPair]], page: Path, root: Path, seconds: float
) -> None:
    (page / "media").mkdir(parents=True)
    clips = []
    for shown, clip in sorted(key.clips.items()):
        names = sorted(name for name, (of, _) in key.videos.items() if of == clip)  # by hash: no method's order
        for name in names:
            method = key.videos[name][1]
            _write_film(page / "media" / f"{name}.mp4", method, answers[method][clip], root, seconds)
        _write_portrait(page / "media" / f"{shown}.jpg", next(iter(answers.values()))[clip], root)
        clips.append({"clip": shown, "videos": names})
    html = render(
        "study.html", study=key.study, clips=clips, scales=SCALES, questions=QUESTIONS, lowest=LOWEST, highest=HIGHEST
    )
    (page / "index.html").write_text(html, encoding="utf-8")


def _write_film(path: Path, method: str, pair: VideoPair, root: Path, seconds: float) -> None:
    """Encoded anew, whatever it was: equal codec, rate and sound format, and no tag that names a method."""
    video = root / (pair.real if method == GROUND_TRUTH else pair.generated)
    try:
        voice = root / pair.sound if pair.sound else root / pair.real
        encode(path, video, video if has_sound(video) else voice, seconds=seconds, side=SIDE)
    except UNREADABLE as error:
        raise UserError(
            f"{method}: clip {pair.clip_id} cannot be shown: {error}; run: emo study --method OTHER --method ..."
        ) from error


def _write_portrait(path: Path, pair: VideoPair, root: Path) -> None:
    """The image all methods were given: the clip's own where there is one, else the real clip's first frame."""
    source = root / (pair.reference if isinstance(pair.reference, Path) else pair.real)
    picture = Image.fromarray(next(Row("", source).shown.at([0.0])))
    picture.thumbnail((SIDE, SIDE))
    with atomic(path) as temporary:
        picture.save(temporary, "JPEG", quality=90)
