"""The study's table: mean opinion by method with its interval, and how far the raters agree."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emo_model.data.store import write_json, write_text
from emo_model.evaluate.table import Grid, to_markdown
from emo_model.study.agreement import krippendorff_alpha
from emo_model.study.design import SCALES
from emo_model.study.ratings import Ratings

DRAWS, SEED = 2000, 0
DASH = "–"

# arXiv 2402.17485v3, user study of 20 people: lip sync / vividness
PUBLISHED = {
    "Wav2Lip": (3.90, 1.66),
    "SadTalker": (3.38, 2.34),
    "DreamTalk": (4.05, 3.22),
    "MakeItTalk": (1.66, 2.66),
    "EMO": (4.17, 4.38),
}


@dataclass(frozen=True)
class Opinion:
    """A method's mean on a scale, 1 to 5, with its 95 % interval; None for one clip or one rater."""

    method: str
    scale: str
    mean: float
    low: float | None
    high: float | None


def opinions(ratings: Ratings) -> list[Opinion]:
    """Means over raters and clips. Bootstrap: raters and clips are both drawn with replacement, as both are samples."""
    values, (raters, clips) = ratings.values.astype(float), ratings.values.shape[:2]
    means, ends = values.mean((0, 1)), None
    if raters > 1 and clips > 1:
        rng = np.random.default_rng(SEED)
        by_rater = rng.multinomial(raters, np.full(raters, 1 / raters), DRAWS) / raters
        by_clip = rng.multinomial(clips, np.full(clips, 1 / clips), DRAWS) / clips
        drawn = np.einsum("dr,dc,rcms->dms", by_rater, by_clip, values, optimize=True)
        ends = np.percentile(drawn, (2.5, 97.5), axis=0)
    return [
        Opinion(method, scale, float(means[m, s]), *(map(float, ends[:, m, s]) if ends is not None else (None, None)))
        for m, method in enumerate(ratings.methods)
        for s, scale in enumerate(SCALES)
    ]


def agreement(ratings: Ratings) -> dict[str, float | None]:
    """Krippendorff's alpha (ordinal) by scale; a unit is a video."""
    flat = ratings.values.reshape(len(ratings.raters), -1, len(SCALES))
    return {scale: krippendorff_alpha(flat[:, :, s]) for s, scale in enumerate(SCALES)}


def to_page(ratings: Ratings) -> str:
    """The tables as markdown: rated here, and apart what EMO printed."""
    cells: dict[str, list[str]] = {}
    for one in opinions(ratings):
        interval = "" if one.low is None else f" [{one.low:.2f}, {one.high:.2f}]"
        cells.setdefault(one.method, []).append(f"{one.mean:.2f}{interval}")
    heads = ("method", *SCALES.values())
    rated = Grid("Rated here", heads, tuple((method, *texts) for method, texts in cells.items()))
    printed = Grid("", heads, tuple((method, *(f"{n:.2f}" for n in numbers)) for method, numbers in PUBLISHED.items()))
    alphas = ((SCALES[s], DASH if a is None else f"{a:.2f}") for s, a in agreement(ratings).items())
    parts = [
        "# User study",
        f"{len(ratings.raters)} raters, {len(ratings.clips)} clips, {len(ratings.methods)} methods; 1 (bad) to 5 "
        "(good). Square brackets: 95 % bootstrap interval over raters and clips; none for one of either.",
        to_markdown(rated),
        "Agreement of the raters, Krippendorff's alpha (ordinal; 1: all agree, 0: as by chance; a dash: nothing could "
        f"disagree): {', '.join(f'{name} {alpha}' for name, alpha in alphas)}.",
        "## As EMO printed it (arXiv 2402.17485v3, 20 people)",
        "Other clips and other people: for orientation, not for ranking.",
        to_markdown(printed),
    ]
    if ratings.refused:
        parts += ["## Not counted", "\n".join(f"- {line}" for line in ratings.refused)]
    return "\n\n".join(parts) + "\n"


def write_table(ratings: Ratings, folder: Path) -> Path:
    """Write table.md and table.json into a folder; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", to_page(ratings))
    write_json(folder / "table.json", {
        "raters": len(ratings.raters), "clips": list(ratings.clips), "refused": list(ratings.refused),
        "opinions": [vars(one) for one in opinions(ratings)], "krippendorff_alpha": agreement(ratings),
    })  # fmt: skip
    return folder / "table.md"
