"""Precision and recall of every picture score's `finds` line (emo_model/data/scores.py) on a labelled handful.

    python benchmarks/scores_picture.py        EMO_DEVELOPMENT_VIDEOS adds its clips to those of the samples

Real: the clips themselves, labelled by looking at them (scores_picture.csv). Made: the same clips with something done
to their pictures, so that the truth is known: captions in six fonts, a photographed hand pasted in, blur, other light,
a shaking camera, smaller faces. Thresholds were chosen on these clips too: on other footage expect less.
"""

import csv
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import duckdb
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emo_model import samples
from emo_model.data import sources
from emo_model.data.clips import blur
from emo_model.data.faces import Landmarker
from emo_model.data.hands import Hands
from emo_model.data.media import Picture, frames
from emo_model.data.pipeline import SHARD_STEPS
from emo_model.data.quality import picture_scores, sampled
from emo_model.data.scores import SCORES
from emo_model.data.shards import run_step
from emo_model.data.store import DataRoot

CAPTIONS = (  # font of matplotlib's, letters' height over the picture's, where, style, text
    ("DejaVuSans-Bold.ttf", 0.07, "bottom", "outline", "and then he said"),
    ("DejaVuSans.ttf", 0.047, "bottom", "box", "the quick brown fox jumped"),
    ("DejaVuSerif.ttf", 0.04, "corner", "faint", "CHANNEL 5"),
    ("STIXGeneral.ttf", 0.055, "top", "plain", "Breaking news: talks go on"),
    ("DejaVuSansMono.ttf", 0.035, "corner", "outline", "00:12:45"),
    ("cmb10.ttf", 0.09, "bottom", "outline", "NO WAY"),
    ("DejaVuSans.ttf", 0.025, "bottom", "plain", "all rights reserved, 2026"),
)
# Outlines of the sample's hand, drawn by eye: frame of its first clip -> corners in a crop of 256.
HANDS = {
    96: [(20, 256), (24, 230), (38, 215), (60, 203), (72, 186), (82, 182), (100, 190), (120, 193), (138, 199),
         (136, 204), (115, 202), (95, 200), (110, 212), (120, 235), (122, 256)],
    152: [(38, 256), (40, 230), (52, 200), (75, 165), (95, 140), (104, 125), (112, 123), (118, 132), (123, 140),
          (124, 150), (115, 175), (104, 205), (96, 230), (110, 215), (125, 195), (135, 180), (141, 182), (140, 195),
          (128, 215), (112, 240), (104, 256)],
    240: [(28, 256), (30, 235), (40, 205), (48, 180), (54, 150), (60, 142), (65, 146), (66, 160), (72, 140), (80, 130),
          (87, 134), (86, 146), (93, 139), (102, 145), (101, 165), (96, 190), (90, 220), (105, 215), (118, 197),
          (130, 189), (137, 194), (130, 212), (115, 235), (107, 256)],
}  # fmt: skip
SMALL = 100  # face height in pixels below which a face is to be found small
KINDS = ("real", "made")
Pictures = dict[int, Picture]  # by frame number


@dataclass
class Clip:
    """One clip: the pictures that scores look at, the union of its face boxes in their pixels, and its labels."""

    name: str
    path: Path
    count: int  # frames
    pictures: Pictures
    face: list[float]
    labels: dict[str, bool]

    def done(self, change: Callable[[int, Picture], Picture]) -> Pictures:
        """Every picture (number, picture) changed."""
        return {number: change(number, picture) for number, picture in self.pictures.items()}

    @property
    def side(self) -> int:
        """Pixels a side."""
        return len(self.pictures[0])


Verdicts = dict[tuple[str, str], list[tuple[bool, bool, str]]]  # (score, kind) -> (is one, found, what)


def clips(folder: Path) -> Iterator[Clip]:
    """Clips of the samples and of EMO_DEVELOPMENT_VIDEOS that have labels, prepared in `folder`."""
    root = DataRoot(folder).create()
    sources.add_folder(root, samples.default_folder() / "videos", "samples", "see samples.py", "none")
    if more := os.environ.get("EMO_DEVELOPMENT_VIDEOS"):
        sources.add_folder(root, Path(more), "development", "unknown", "none")
    with (Path(__file__).parent / "scores_picture.csv").open(newline="") as file:
        labelled = list(csv.DictReader(file))
    for shard in sources.register(root).shards:
        for step in SHARD_STEPS[:4]:
            run_step(step, root, shard, workers=2)
        videos = {row["video_id"]: Path(row["uri"]).name for row in root.read("videos", shard).to_pylist()}
        starts = {row["clip_id"]: row["start_s"] for row in root.read("proposals", shard).to_pylist()}
        for crop in root.read("crops", shard).to_pylist():
            video, start_s = videos[crop["video_id"]], starts[crop["clip_id"]]
            for row in labelled:
                if row["video"] == video and abs(float(row["start_s"]) - start_s) < 0.5:
                    labels = {name: row[name] == "1" for name in ("text", "hands", "moves", "blurred")}
                    path, count = root.path / crop["path"], crop["num_frames"]
                    pictures = dict(sampled(path, count))
                    yield Clip(f"{video} {start_s:.0f} s", path, count, pictures, crop["union_box"], labels)


# ---- what is done to pictures ----


def captioned(clip: Clip, font: str, height: float, at: str, style: str, text: str) -> Pictures:
    side = clip.side
    letters = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf", font)), round(height * side))
    width = letters.getlength(text)
    x = side - width - 6 if at == "corner" else (side - width) / 2
    y = side * 0.97 - letters.size * 1.2 if at == "bottom" else side * 0.03

    def change(_: int, picture: Picture) -> Picture:
        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image, "RGBA")
        if style == "box":
            draw.rectangle((x - 3, y - 1, x + width + 3, y + letters.size * 1.2), fill=(0, 0, 0, 200))
        fill = {"faint": (255, 255, 255, 110), "plain": (255, 230, 0, 255)}.get(style, (255, 255, 255, 255))
        stroke = max(1, round(letters.size) // 10) if style == "outline" else 0
        draw.text((x, y), text, font=letters, fill=fill, stroke_width=stroke, stroke_fill="black")
        return np.array(image)

    return clip.done(change)


def checked(clip: Clip) -> Pictures:
    """A checked shirt over the lower fifth, moving with the breath: regular, dark on light, and no text."""
    side = clip.side
    rows, columns = np.mgrid[: side // 5, :side]

    def change(number: int, picture: Picture) -> Picture:
        shift = round(2 * np.sin(number / 15))
        shirt = np.where((rows // 6 + (columns + shift) // 6) % 2, 200, 70).astype(np.uint8)
        return np.concatenate([picture[: side - side // 5], np.repeat(shirt[..., None], 3, axis=2)])

    return clip.done(change)


def with_hand(clip: Clip, hand: Picture, outline: list, share: float, mirror: bool, scale: float) -> Pictures:
    """The hand comes in from below over the first `share` of the pictures, and is never quite still."""
    side = clip.side
    mask = np.zeros(hand.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.array(outline) * len(hand) // 256], 255)
    mask = cv2.GaussianBlur(mask, (5, 5), 0)
    if mirror:
        hand, mask = hand[:, ::-1], mask[:, ::-1]
    middle = (clip.face[0] + clip.face[2]) / 2 + (0.15 if mirror else -0.15) * (clip.face[2] - clip.face[0])
    own = np.flatnonzero(mask.any(axis=0)).mean()

    def change(number: int, picture: Picture) -> Picture:
        if number >= share * clip.count:
            return picture
        drop = side * (1 - scale) + 3 * np.sin(number / 10)
        place = np.array([[scale, 0, middle - scale * own], [0, scale, drop]], np.float32)
        alpha = cv2.warpAffine(mask, place, (side, side))[..., None] / 255
        return (alpha * cv2.warpAffine(hand, place, (side, side)) + (1 - alpha) * picture).astype(np.uint8)

    return clip.done(change)


def shaken(clip: Clip, pixels: float) -> Pictures:
    """A camera that wanders by about that many pixels a frame of a crop of 256, up to 24 pixels away."""
    side = clip.side
    path = 24 * np.sin(np.arange(clip.count) * pixels / 24 * np.pi / 2)
    return clip.done(
        lambda number, picture: cv2.warpAffine(
            picture, np.float32([[1, 0, path[number] * side / 256], [0, 1, 0]]), (side, side),
            borderMode=cv2.BORDER_REFLECT,
        )
    )  # fmt: skip


def lit(clip: Clip, gain: float) -> Pictures:
    return clip.done(lambda _, picture: np.clip(picture * gain, 0, 255).astype(np.uint8))


def blurred(clip: Clip, sigma: float) -> Pictures:
    wide = sigma * clip.side / 256
    return clip.done(lambda _, picture: cv2.GaussianBlur(picture, (0, 0), wide))


# ---- what the scores say ----


def faces(pictures: Iterable[Picture]) -> list[np.ndarray | None]:
    """The face box of each picture, as the landmarks have it; None where none is found."""
    with Landmarker() as landmarker:
        return [landmarker.see(number / 3, picture)["box"] for number, picture in enumerate(pictures)]


def face_height(pictures: Iterable[Picture]) -> float | None:
    """As min_face_px is measured: the smallest face; None where none is found."""
    return min((float(box[3] - box[1]) for box in faces(pictures) if box is not None), default=None)


def finds(name: str, value: float | None) -> bool:
    [line] = [score.finds for score in SCORES if score.name == name]
    return value is not None and duckdb.sql(f"SELECT {line} FROM (SELECT {value} AS {name})").fetchall() == [(True,)]


def judge(clip: Clip, hand_pictures: Pictures, hands: Hands, verdicts: Verdicts) -> None:
    def scores(pictures: Pictures, *, text: bool = False, hand: bool = False) -> dict[str, float | None]:
        return picture_scores(pictures.items(), clip.count, clip.face, hands if hand else None, text=text)

    def say(name: str, kind: str, truth: bool, value: float | None, what: str) -> None:
        shown = "-" if value is None else f"{value:.4f}"
        verdicts[name, kind].append((truth, finds(name, value), f"{clip.name}, {what}: {shown}"))

    looks = [number for number in clip.pictures if number % 10 == 0]
    boxes = dict(zip(looks, faces(clip.pictures[number] for number in looks), strict=True))

    def sharpness(pictures: Pictures) -> float:
        return float(np.median([blur(pictures[number], box) for number, box in boxes.items() if box is not None]))

    own = scores(clip.pictures, text=True, hand=True)
    say("text_area", "real", clip.labels["text"], own["text_area"], "as it is")
    say("hands_fraction", "real", clip.labels["hands"], own["hands_fraction"], "as it is")
    say("brightness", "real", False, own["brightness"], "as it is")
    say("blur", "real", clip.labels["blurred"], sharpness(clip.pictures), "as it is")
    if not clip.labels["text"]:
        for caption in CAPTIONS:
            say("text_area", "made", True, scores(captioned(clip, *caption), text=True)["text_area"], caption[4])
        say("text_area", "made", False, scores(checked(clip), text=True)["text_area"], "a checked shirt")
    if not clip.labels["hands"]:
        mirrored = clip.done(lambda _, picture: np.ascontiguousarray(picture[:, ::-1]))
        for pictures, what in ((checked(clip), "a checked shirt"), (mirrored, "mirrored")):
            say("hands_fraction", "made", False, scores(pictures, hand=True)["hands_fraction"], what)
        for number, (frame, outline) in enumerate(HANDS.items()):
            for share, mirror, scale in ((1.0, bool(number % 2), 0.9), (0.4, not number % 2, 0.7)):
                pasted = with_hand(clip, hand_pictures[frame], outline, share, mirror, scale)
                say("hands_fraction", "made", True, scores(pasted, hand=True)["hands_fraction"],
                    f"hand {frame}, {share:.0%} of the time, at {scale}")  # fmt: skip
    for gain in (0.15, 0.25, 0.8, 1.2, 4.0):
        is_one = gain in (0.15, 0.25, 4.0)
        say("brightness", "made", is_one, scores(lit(clip, gain))["brightness"], f"light times {gain}")
    if not clip.labels["blurred"]:
        for sigma in (0.4, 2.0, 3.0, 4.0):
            say("blur", "made", sigma > 1, sharpness(blurred(clip, sigma)), f"blurred by {sigma} pixels of 256")
    if own["camera_motion"] is not None:
        in_256 = 256 / clip.side
        say("camera_motion", "real", clip.labels["moves"], own["camera_motion"] * in_256, "as it is")
        for pixels in (1.0, 2.0):
            motion = scores(shaken(clip, pixels))["camera_motion"]
            say("camera_motion", "made", True, motion and motion * in_256, f"shaken, {pixels} pixels a frame")
    whole = min(float(box[3] - box[1]) for box in boxes.values() if box is not None)
    for share in (1.0, 0.8, 0.6, 0.4):
        smaller = (cv2.resize(clip.pictures[number], None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
                   for number in looks)  # fmt: skip
        say("min_face_px", "made", share * whole < SMALL, face_height(smaller), f"at {share}, {share * whole:.0f} px")


def main() -> None:
    verdicts: Verdicts = defaultdict(list)
    hand_pictures: dict[int, Picture] = {}
    with tempfile.TemporaryDirectory() as folder, Hands() as hands:
        found = sorted(clips(Path(folder)), key=lambda clip: not clip.labels["hands"])
        for clip in found:
            if clip.labels["hands"]:
                hand_pictures |= {n: picture for n, (_, picture) in enumerate(frames(clip.path)) if n in HANDS}
            judge(clip, hand_pictures, hands, verdicts)
    print(f"{len(found)} clips")
    for name in dict.fromkeys(name for name, _ in verdicts):
        [line] = [score.finds for score in SCORES if score.name == name]
        print(f"\n{name}: {line}")
        for kind in (*KINDS, "all"):
            rows = [row for key in ((KINDS) if kind == "all" else (kind,)) for row in verdicts[name, key]]
            there, said = sum(row[0] for row in rows), sum(row[1] for row in rows)
            right = sum(row[0] and row[1] for row in rows)
            shares = [f"{right / count:.2f}" if count else "-" for count in (said, there)]
            print(f"  {kind:5} precision {shares[0]} recall {shares[1]}: "
                  f"{right} of {there} found, {said - right} of {len(rows) - there} others found")  # fmt: skip
        for truth, found_it, what in (row for kind in KINDS for row in verdicts[name, kind]):
            if truth != found_it:
                print(f"    {'missed' if truth else 'wrong '}: {what}")


if __name__ == "__main__":
    main()
