"""Which clips to watch: of every method those furthest from and nearest to the ground truth of the same clip.

Of a score that one clip has, nearness to the real clip's own value is better for all: F-SIM and head speed are best
there (section 4.2 on F-SIM), and a mismatch of lips and voice shows as a distance, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from emo_model.evaluate import GROUND_TRUTH, Evaluation, VideoPair
from emo_model.evaluate.outputs import ClipScore
from emo_model.report.tables import number

RANKED = (("syncnet", "mouth_correlation"), ("f_sim",), ("head_velocity",))  # metrics that choose, one of each group
MOST = 2  # of the groups


@dataclass
class Watch:
    """A method's answer to a clip, and why it is shown."""

    method: str
    pair: VideoPair
    reasons: list[str] = field(default_factory=list)


def to_watch(evaluation: Evaluation) -> list[Watch]:
    """The clips of each method in turn, each once; a method without scores shows its first clip."""
    scores = _by_method(evaluation.clips)
    chosen = []
    for method, pairs in evaluation.methods.items():
        by_clip = {pair.clip_id: Watch(method, pair) for pair in pairs}
        for metric in _ranking(scores.get(method, {})):
            for clip, reason in _extremes(metric, scores[method][metric], scores.get(GROUND_TRUTH, {}).get(metric, {})):
                by_clip[clip].reasons.append(reason)
        found = [watch for watch in by_clip.values() if watch.reasons]
        if not found and by_clip:
            found = [next(iter(by_clip.values()))]
            found[0].reasons.append("the first clip: no number of this method can choose one")
        chosen += found
    return chosen


def _by_method(clips: Iterable[ClipScore]) -> dict[str, dict[str, dict[str, float]]]:
    """method -> metric -> clip -> value."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for score in clips:
        if score.value is not None:
            found.setdefault(score.method, {}).setdefault(score.metric, {})[score.clip_id] = score.value
    return found


def _ranking(metrics: Iterable[str]) -> list[str]:
    """The first there is of each group, whatever network made it."""
    there = {metric.partition("[")[0]: metric for metric in metrics}
    found = ([there[base] for base in group if base in there] for group in RANKED)
    return [group[0] for group in found if group][:MOST]


def _extremes(metric: str, mine: Mapping[str, float], real: Mapping[str, float]) -> Sequence[tuple[str, str]]:
    """(clip, why it is shown): the worst and the best."""
    far = {clip: abs(value - real[clip]) for clip, value in mine.items() if clip in real}
    if not far:
        return []
    order = sorted(far, key=lambda clip: (-far[clip], clip))
    ends = [(order[0], "worst by")] if len(order) == 1 else [(order[0], "worst by"), (order[-1], "best by")]
    if len(order) == 1 or far[order[0]] == far[order[-1]]:
        ends = [(order[0], "the only clip by" if len(order) == 1 else "as far as every other clip by")]
    return [(clip, f"{why} {metric}: {number(mine[clip])}, ground truth {number(real[clip])}") for clip, why in ends]
