"""Whether a new model takes the champion's place: the decision, apart from who carries it out.

Numbers compare only under one protocol (same clips, networks and settings: equal hashes). Of the metrics both have,
the one that is better on more of them wins; a tie keeps the champion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONTROL = "ground truth"
LOWER_IS_BETTER = ("fid", "fvd", "e_fid")
HIGHER_IS_BETTER = ("syncnet",)
NEAREST_TO_TRUTH = ("f_sim",)  # best at the ground truth's own value, emo_model/evaluate/extractors.py
COMPARED = LOWER_IS_BETTER + HIGHER_IS_BETTER + NEAREST_TO_TRUTH


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
) -> Decision:
    """`rows` of one evaluation hold the candidate and the ground truth; the champion's rows are among them, or are
    `rival_rows` of its own evaluation. champion None: there is none yet."""
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
    verdicts = [_compare(name, mine[name]["value"], theirs[name]["value"], truth) for name in mine if name in theirs]
    verdicts += [
        (False, f"{name}: a dash, and the champion has a number: worse") for name in theirs if name not in mine
    ]
    wins, losses = (sum(better is wanted for better, _ in verdicts) for wanted in (True, False))
    outcome = "promoted" if wins > losses else "kept the champion"
    summary = f"better on {wins}, worse on {losses} of {len(verdicts)} metrics: {outcome}"
    return Decision(wins > losses, (*(line for _, line in verdicts), summary))


def _of(rows: Sequence[Mapping[str, Any]], method: str) -> dict[str, Mapping[str, Any]]:
    """A method's compared metrics that have a value."""
    return {
        row["metric"]: row
        for row in rows
        if row["method"] == method and row["value"] is not None and row["metric"].partition("[")[0] in COMPARED
    }


def _compare(
    metric: str, mine: float, theirs: float, truth: Mapping[str, Mapping[str, Any]]
) -> tuple[bool | None, str]:
    """(better, worse or equal as True, False, None; the line that says so)."""
    name = metric.partition("[")[0]
    if name in NEAREST_TO_TRUTH:
        if metric not in truth:
            return None, f"{metric}: no ground truth to be near to"
        target = truth[metric]["value"]
        cost, rival = abs(mine - target), abs(theirs - target)
    else:
        sign = 1 if name in LOWER_IS_BETTER else -1
        cost, rival = sign * mine, sign * theirs
    better = None if cost == rival else cost < rival
    word = {True: "better", False: "worse", None: "equal"}[better]
    return better, f"{metric}: {mine:.4g}, champion {theirs:.4g}: {word}"
