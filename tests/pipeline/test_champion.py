"""The champion gate: who wins, and when nothing may be compared."""

from typing import Any

import pytest

from emo_model.errors import UserError
from emo_pipeline.champion import decide


def rows(method: str, protocol: str = "p", **values: Any) -> list[dict[str, Any]]:
    """A row a metric: its value, or (low, value, high)."""
    named = {name.replace("__", "[", 1) + ("]" if "__" in name else ""): value for name, value in values.items()}
    spans = {m: v if isinstance(v, tuple) else (None, v, None) for m, v in named.items()}
    return [
        {"method": method, "metric": m, "value": v, "ci_low": low, "ci_high": high, "protocol_hash": protocol}
        for m, (low, v, high) in spans.items()
    ]


TRUTH = rows("ground truth", f_sim=77.0, syncnet=7.0)


def test_the_first_checkpoint_becomes_champion() -> None:
    assert decide(rows("ours", fvd=900.0), "ours", None).promote


@pytest.mark.parametrize(
    ("ours", "champion", "promoted"),
    [
        ({"fvd": 90.0, "fid": 9.0, "e_fid": 1.0}, {"fvd": 100.0, "fid": 8.0, "e_fid": 2.0}, True),
        ({"fvd": 110.0, "fid": 9.0, "e_fid": 1.0}, {"fvd": 100.0, "fid": 8.0, "e_fid": 2.0}, False),
        ({"fvd": 90.0, "fid": 9.0}, {"fvd": 100.0, "fid": 8.0}, False),  # a tie keeps the champion
        ({"syncnet": 4.0}, {"syncnet": 3.0}, True),
        ({"f_sim": 78.0}, {"f_sim": 90.0}, True),  # nearest to the ground truth's 77, not the highest
        ({"f_sim": 95.0}, {"f_sim": 78.0}, False),
        ({"fid__efficientnet-lite0": 2.0}, {"fid__efficientnet-lite0": 3.0}, True),
        ({"fid": 7.0, "fvd": 90.0}, {"fid": 8.0, "fvd": 100.0, "e_fid": 2.0, "f_sim": 78.0}, False),  # lost its faces
        ({"fid": 2.0}, {"fid__efficientnet-lite0": 3.0}, False),  # two networks' numbers are two metrics
    ],
)
def test_by_majority_better_on_more_metrics_wins(ours: dict, champion: dict, promoted: bool) -> None:
    both = [*TRUTH, *rows("ours", **ours), *rows("champion", **champion)]
    decision = decide(both, "ours", "champion", rule="majority")
    assert decision.promote is promoted
    assert decision.reasons[-1].endswith("promoted" if promoted else "kept the champion")


@pytest.mark.parametrize(
    ("ours", "champion", "promoted", "says"),
    [
        ({"fvd": (80, 90, 95)}, {"fvd": (96, 100, 110)}, True, "better"),
        ({"fvd": (80, 90, 97)}, {"fvd": (96, 100, 110)}, False, "the intervals overlap"),
        ({"fvd": (80, 90, 95), "fid": (5, 6, 7)}, {"fvd": (96, 100, 110), "fid": (2, 3, 4)}, False, "worse"),
        ({"fvd": (80, 90, 95), "fid": (5, 6, 7)}, {"fvd": (96, 100, 110), "fid": (4, 5, 6)}, True, "overlap"),
        ({"syncnet": (4, 5, 6)}, {"syncnet": (2, 3, 3.5)}, True, "better"),
        ({"f_sim": (75, 78, 79)}, {"f_sim": (85, 90, 95)}, True, "better"),  # spans the ground truth's 77
        ({"f_sim": (85, 90, 95)}, {"f_sim": (70, 71, 72)}, False, "worse"),  # 8 to 18 away, the champion 5 to 7
        ({"fvd": 9.0}, {"fvd": 900.0}, False, "no interval"),
        ({"fvd": (80, 90, 95)}, {"fvd": (96, 100, 110), "fid": (2, 3, 4)}, False, "a dash"),
    ],
)
def test_the_clear_rule_asks_for_intervals_that_lie_apart(
    ours: dict, champion: dict, promoted: bool, says: str
) -> None:
    decision = decide([*TRUTH, *rows("ours", **ours), *rows("champion", **champion)], "ours", "champion")
    assert decision.promote is promoted and any(says in line for line in decision.reasons)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(UserError, match="unknown rule 'best'; known: clear, majority"):
        decide(TRUTH, "ours", None, rule="best")


def test_numbers_of_another_protocol_are_not_compared() -> None:
    past = rows("champion", protocol="old", fvd=100.0)
    decision = decide([*TRUTH, *rows("ours", protocol="new", fvd=1.0)], "ours", "champion", past)
    assert not decision.promote and "other protocols" in decision.reasons[0]


def test_a_dash_is_never_taken_for_a_number() -> None:
    decision = decide([*rows("ours", fvd=None), *rows("champion", fvd=5.0)], "ours", "champion")
    assert not decision.promote and "no number" in decision.reasons[0]
