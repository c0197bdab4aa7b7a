"""What a number may be called: one rule, held at the row."""

import dataclasses

import pytest

from emo_model import weights
from emo_model.errors import UserError
from emo_model.evaluate import FAMILIES, EvaluationRow, Protocol
from emo_model.evaluate.extractors import choose, family_of, metric_name

ROW = {
    "run_id": "r", "method": "ours", "dataset": "demo", "metric": "fvd", "value": 1.0,
    "ci_low": None, "ci_high": None,
    "n": 4, "n_total": 4, "floor": None, "extractor": "i3d-kinetics-400", "protocol_hash": "0",
    "reason": None, "created_at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "extractor"),
    [
        ("fid", "efficientnet-lite0"),
        ("f_sim", "dlib-resnet"),
        ("f_sim_gap", "dlib-resnet"),
        ("e_fid", "blendshapes"),
    ],
)
def test_a_stand_in_under_the_reference_name_is_refused(metric: str, extractor: str) -> None:
    with pytest.raises(ValueError, match=rf"must be called '{metric}\[{extractor}\]'"):
        EvaluationRow(**ROW | {"metric": metric, "extractor": extractor})


def test_the_reference_under_a_stand_in_name_is_refused() -> None:
    with pytest.raises(ValueError, match="must be called 'fvd'"):
        EvaluationRow(**ROW | {"metric": "fvd[i3d-kinetics-400]"})


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="no extractor 'resnet'"):
        EvaluationRow(**ROW | {"metric": "fid", "extractor": "resnet"})


def test_a_row_has_a_value_or_a_reason_never_both_or_neither() -> None:
    for value, reason in ((None, None), (1.0, "no face")):
        with pytest.raises(ValueError, match="a value or a reason"):
            EvaluationRow(**ROW | {"value": value, "reason": reason})


def test_each_family_has_one_reference_and_it_comes_first() -> None:
    for family in FAMILIES.values():
        assert [e.is_reference for e in family.extractors] == [True] + [False] * (len(family.extractors) - 1)


def test_without_reference_weights_the_stand_in_is_taken_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "have", lambda name: name == "efficientnet_lite0")
    chosen = choose(family_of("fid"))
    assert chosen is not None and metric_name("fid", chosen) == "fid[efficientnet-lite0]"
    assert choose(family_of("syncnet")) is None
    assert family_of("syncnet").extractors[0].unavailable == "no weights: emo weights get syncnet sfd"
    monkeypatch.setattr(weights, "have", lambda name: True)
    assert metric_name("fid", choose(family_of("fid"))) == "fid"


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown metric 'vmaf'; known: fid, syncnet, f_sim"):
        family_of("vmaf")


def test_the_protocol_hash_changes_with_every_field() -> None:
    base = Protocol("demo", ("a", "b"), ())
    changed = {
        "dataset": "hdtf", "clips": ("b", "a"), "seconds": 3.0, "fps": 25.0, "size": 512,
        "bootstrap": 10, "seed": 1, "version": 0, "extractors": ("x",), "name": "x", "split": "x", "truth": "raw",
        "truth_sha256": "x", "resize": "x", "reference": "x", "sound": "x", "codec": "x", "frames": 1, "windows": 1,
        "reconstruction": "PAPER",
    }  # fmt: skip
    assert set(changed) == {field.name for field in dataclasses.fields(Protocol)}
    hashes = {dataclasses.replace(base, version=1).hash}
    for name, value in changed.items():
        if name == "extractors":
            from emo_model.evaluate.protocol import PinnedExtractor

            value = (PinnedExtractor("fvd", "i3d-kinetics-400", "0" * 64),)
        hashes.add(dataclasses.replace(base, **{name: value}).hash)
    assert len(hashes) == 1 + len(changed)


def test_a_protocol_over_the_same_clip_twice_is_refused() -> None:
    with pytest.raises(UserError, match="distinct clip ids"):
        Protocol.freeze("demo", ["a", "a"])
