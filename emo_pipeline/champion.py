"""Whether a new model takes the champion's place: the decision, apart from who carries it out.

Numbers compare only under one protocol (same clips, networks and settings: equal hashes). What a metric says depends on
the rule:

    clear      the 95 % intervals of the two lie apart; a metric whose intervals overlap, or that has none, says
               nothing. Promoted where at least one metric says better and none says worse.
    majority   the numbers themselves. Promoted where more metrics say better than worse.

Under both, a metric that the champion has and the new model has not is worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emo_model.errors import UserError

CONTROL = "ground truth"
LOWER_IS_BETTER = ("fid", "fvd", "e_fid")
HIGHER_IS_BETTER = ("syncnet",)
NEAREST_TO_TRUTH = ("f_sim",)  # best at the ground truth's own value, emo_model/evaluate/extractors.py
COMPARED = LOWER_IS_BETTER + HIGHER_IS_BETTER + NEAREST_TO_TRUTH
RULES = {
    "clear": "better beyond its interval on one metric at least, and worse beyond it on none",
    "majority": "better on more metrics than worse, intervals or not",
}
DEFAULT_RULE = "clear"


@dataclass(frozen=True)
class Decision:
    """Promote or not, and why: a line a metric."""

    promote: bool
    reasons: tuple[str, ...]


def decide(
    rows: Sequence[Mapping[str, Any]],
    candidate: str,
    champion: str | None,
    rival_rows: Sequence[Mapping[str, Any]] = (),
    rule: str = DEFAULT_RULE,
) -> Decision:
    """`rows` of one evaluation hold the candidate and the ground truth; the champion's rows are among them, or are
    `rival_rows` of its own evaluation. champion None: there is none yet. UserError for an unknown rule."""
    if rule not in RULES:
        raise UserError(f"unknown rule {rule!r}; known: {', '.join(RULES)}; mend it in the launchpad")
    if champion is None:
        return Decision(True, ("there was no champion: the first checkpoint becomes it",))
    mine = _of(rows, candidate)
    theirs = _of([*rows, *rival_rows], champion)
    hashes = {row["protocol_hash"] for row in (*mine.values(), *theirs.values())}
    if not theirs or not mine:
        return Decision(False, ("one of the two has no number under this protocol: nothing to compare",))
    if len(hashes) > 1:
        return Decision(False, (f"other protocols ({', '.join(sorted(hashes))}): their numbers do not compare",))
    truth = _of(rows, CONTROL)
    verdicts = [_compare(rule, mine[name], theirs[name], truth.get(name)) for name in mine if name in theirs]
    verdicts += [
        (False, f"{name}: a dash, and the champion has a number: worse") for name in theirs if name not in mine
    ]
    wins, losses = (sum(better is wanted for better, _ in verdicts) for wanted in (True, False))
    promote = wins > 0 and losses == 0 if rule == "clear" else wins > losses
    outcome = "promoted" if promote else "kept the champion"
    summary = f"rule {rule}: better on {wins}, worse on {losses} of {len(verdicts)} metrics: {outcome}"
    return Decision(promote, (*(line for _, line in verdicts), summary))


def _of(rows: Sequence[Mapping[str, Any]], method: str) -> dict[str, Mapping[str, Any]]:
    """A method's compared metrics that have a value."""
    return {
        row["metric"]: row
        for row in rows
        if row["method"] == method and row["value"] is not None and row["metric"].partition("[")[0] in COMPARED
    }


def _compare(
    rule: str, mine: Mapping[str, Any], theirs: Mapping[str, Any], truth: Mapping[str, Any] | None
) -> tuple[bool | None, str]:
    """(better, worse or nothing as True, False, None; the line that says so)."""
    metric = mine["metric"]
    if metric.partition("[")[0] in NEAREST_TO_TRUTH and truth is None:
        return None, f"{metric}: no ground truth to be near to"
    target = None if truth is None else truth["value"]
    line = f"{metric}: {_shown(mine)}, champion {_shown(theirs)}"
    if rule == "majority":
        ours, rival = (_cost(metric, row["value"], target) for row in (mine, theirs))
        return (None, f"{line}: equal") if ours == rival else _verdict(ours < rival, line)
    spans = [_span(row, target) for row in (mine, theirs)]
    if spans[0] is None or spans[1] is None:
        return None, f"{line}: no interval (fewer than two people), so nothing is said"
    (low, high), (rival_low, rival_high) = spans[0], spans[1]
    if low <= rival_high and rival_low <= high:
        return None, f"{line}: the intervals overlap"
    return _verdict(high < rival_low, line)


def _verdict(better: bool, line: str) -> tuple[bool, str]:
    return better, f"{line}: {'better' if better else 'worse'}"


def _cost(metric: str, value: float, target: float | None) -> float:
    """What is the better the lower it is."""
    name = metric.partition("[")[0]
    if name in NEAREST_TO_TRUTH and target is not None:
        return abs(value - target)
    return -value if name in HIGHER_IS_BETTER else value


def _span(row: Mapping[str, Any], target: float | None) -> tuple[float, float] | None:
    """The costs that a number's interval spans; None without one."""
    low, high = row.get("ci_low"), row.get("ci_high")
    if low is None or high is None:
        return None
    ends = sorted(_cost(row["metric"], value, target) for value in (low, high))
    reached = row["metric"].partition("[")[0] in NEAREST_TO_TRUTH and target is not None and low <= target <= high
    return (0.0 if reached else ends[0]), ends[1]


def _shown(row: Mapping[str, Any]) -> str:
    low, high = row.get("ci_low"), row.get("ci_high")
    return f"{row['value']:.4g}" + ("" if low is None or high is None else f" [{low:.4g}, {high:.4g}]")
