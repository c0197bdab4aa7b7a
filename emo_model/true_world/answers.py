"""What a model answers to the proof's questions, as numbers: bars.py asks, measures.py reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor

from emo_model.networks.emo import EMO
from emo_model.true_world import measures
from emo_model.true_world.bars import FPS, WIDEN, Pairs, Watched, scaled, watch
from emo_model.true_world.estimator import Estimator
from emo_model.true_world.people import ASPECT, HAIRLINE
from emo_model.true_world.videos import Asked, How, videos

# (d) in picture widths. Two places of one size, and two sizes of one place.
PLACES = {"left": (0.0, 0.15, 0.7, 0.85), "right": (0.3, 0.15, 1.0, 0.85)}
SIZES = {"narrow": WIDEN, "wide": 1.3}  # of the head's own box: training shows 1.05 in the median, 1.3 at most
SHAPE = {"aspect": ASPECT, "hairline": HAIRLINE}
SETTLED = 2  # frames at a video's start that Table 2 leaves out: they have no frames before them


@dataclass(frozen=True)
class Sizes:
    """How much is asked."""

    pairs: int = 50
    talk: int = 48  # frames of a video for (a), (b) and (e)
    turn: int = 24  # frames of one for (c)
    place: int = 24  # frames of one for (d)
    speeds: tuple[int, ...] = (0, 1, 2, 3)  # which of the four
    minutes: int = 2  # videos of a minute, for (e)


QUICK = Sizes(pairs=50, talk=48, turn=24, place=12, speeds=(0, 3), minutes=0)  # of broken models
EXACT = Sizes(pairs=8, talk=36, turn=24, place=24, speeds=(0, 3), minutes=0)  # of many sampling steps


@dataclass
class Answers:
    """Means over videos."""

    person: float = np.nan  # (a) share of videos that show their own portrait
    shape: dict[str, float] = field(default_factory=dict)  # (a) trait -> correlation with the portrait's, over videos
    mouth: float = np.nan  # (b) correlation with the voice
    mouth_others: float = np.nan  # (b) with another clip's voice
    speed: dict[str, dict[str, float]] = field(default_factory=dict)  # (c) asked -> Table 2
    rises: list[tuple[float, float]] = field(default_factory=list)  # (c) 95 % interval of each step to a faster one
    inside: dict[str, float] = field(default_factory=dict)  # (d) region -> share of the head inside
    follows: float = np.nan  # (d) how far the head moves for each picture width that the region moves
    sway: dict[str, float] = field(default_factory=dict)  # (d) region -> sway
    wider_sways_more: tuple[float, float] = (np.nan, np.nan)  # (d) 95 % interval of wide less narrow
    seam: float = np.nan  # (e) of the talking videos
    seam_minute: float = np.nan  # (e) of the minutes
    person_first: float = np.nan  # (e) share of the minutes' first ten seconds' frames that show their own portrait
    person_last: float = np.nan  # (e) of their last ten
    drift: float = np.nan  # (e) distance to the portrait, last ten seconds less first ten
    seconds: float = 0.0


@dataclass(frozen=True)
class Asker:
    """The test set with who looks at it."""

    pairs: Pairs
    minute: Pairs
    estimator: Estimator
    speeds: tuple[float, ...]  # the world's 5, 35, 65 and 95 % quantiles
    gallery: NDArray[np.float64]
    keep: Callable[[str, Tensor], None] = lambda name, pixels: None  # gets the videos, by question

    def ask(self, emo: EMO, scheduler: DDIMScheduler, how: How, sizes: Sizes, no_speed: bool = False) -> Answers:
        """All questions. no_speed: only (c), with no speed given (a model without Speed Layers)."""

        def made(name: str, asked: Asked) -> tuple[Tensor, Watched]:
            pixels = videos(emo, scheduler, asked, how)
            self.keep(name, pixels)
            return pixels, watch(self.estimator, pixels)

        found, chosen = Answers(), self.pairs.first(sizes.pairs)
        if no_speed:
            _, seen = made("speed none", chosen.asked(None, frames=sizes.turn))
            found.speed["none"] = measures.table_2(measures.head_speed(seen.euler)[:, SETTLED:])
            return found
        usual = float(np.median(self.speeds))
        pixels, talk = made("talk", chosen.asked(usual, frames=sizes.talk))
        shown, own = talk.traits.mean(1), self.gallery[chosen.own]
        found.person = float(measures.knows_person(shown, self.gallery, chosen.own).mean())
        found.shape = {name: float(np.corrcoef(shown[:, k], own[:, k])[0, 1]) for name, k in SHAPE.items()}
        voice = chosen.mouth[:, : sizes.talk]
        found.mouth = float(measures.mouth_follows(talk.mouth, voice).mean())
        found.mouth_others = float(measures.mouth_follows(talk.mouth, np.roll(voice, 7, axis=0)).mean())
        found.seam = float(measures.seam_ratio(pixels.numpy(), emo.config.frames).mean())
        turned = []
        for number in sizes.speeds:
            speed = self.speeds[number]
            _, seen = made(f"speed {speed:.2f}", chosen.asked(speed, frames=sizes.turn))
            turned.append(measures.head_speed(seen.euler)[:, SETTLED:])
            found.speed[f"{speed:.2f}"] = measures.table_2(turned[-1])
        found.rises = [_interval((fast - slow).mean(axis=1)) for slow, fast in pairwise(turned)]
        # The narrow region is the usual one: the talking videos began so.
        self.keep("region narrow", pixels[:, : sizes.place])
        self._regions(found, chosen, usual, sizes, made, talk.boxes)
        if sizes.minutes:
            self._minutes(found, emo, usual, sizes, made)
        return found

    def _regions(
        self, found: Answers, chosen: Pairs, speed: float, sizes: Sizes, made: Callable, narrow: NDArray[np.float64]
    ) -> None:
        regions = {name: np.repeat(np.array([box]), len(chosen.own), 0) for name, box in PLACES.items()}
        regions |= {name: scaled(chosen.places, factor) for name, factor in SIZES.items()}
        centres, sways = {}, {}
        for name, region in regions.items():
            boxes = narrow[:, : sizes.place]
            if name != "narrow":
                _, seen = made(f"region {name}", chosen.asked(speed, region, sizes.place))
                boxes = seen.boxes
            centre = (boxes[..., :2] + boxes[..., 2:]) / 2
            centres[name], sways[name] = centre.mean(1), measures.sway(centre)
            found.inside[name], found.sway[name] = (
                float(measures.inside(boxes, region).mean()),
                float(sways[name].mean()),
            )
        moved = PLACES["right"][0] - PLACES["left"][0]
        found.follows = float((centres["right"] - centres["left"])[:, 0].mean() / moved)
        found.wider_sways_more = _interval(sways["wide"] - sways["narrow"])

    def _minutes(self, found: Answers, emo: EMO, speed: float, sizes: Sizes, made: Callable) -> None:
        long = self.minute.first(sizes.minutes)
        pixels, seen = made("minute", long.asked(speed))
        found.seam_minute = float(measures.seam_ratio(pixels.numpy(), emo.config.frames).mean())
        own, ten = self.gallery[long.own], 10 * FPS
        ends = seen.traits[:, :ten], seen.traits[:, -ten:]
        each = np.repeat(long.own, ten)  # frame by frame: what a mean over time would hide
        found.person_first, found.person_last = (
            float(measures.knows_person(end.reshape(len(each), -1), self.gallery, each).mean()) for end in ends
        )
        far = [np.linalg.norm(end - own[:, None], axis=2).mean() for end in ends]
        found.drift = float(far[1] - far[0])


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % of their mean."""
    middle, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    return float(middle - 1.96 * error), float(middle + 1.96 * error)
