"""What metrics saw is looked at once: kept by content, read back as it was, made anew where anything of it changed."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo_model.evaluate import VideoPair, evaluate_methods, observe, observe_methods
from emo_model.evaluate.features import Features
from emo_model.evaluate.scores import Observation
from emo_model.evaluate.video import Video

from .conftest import measure, protocol


def test_an_observation_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = Features(tmp_path)
    for key, values in {
        "a": np.arange(6.0).reshape(3, 2),
        "none": np.zeros((0, 2)),
        "b": np.array([1.0, np.nan]),
    }.items():
        seen = Observation(values, np.ones(len(values), bool), "why not ü", np.arange(len(values)) / 25)
        assert not kept.has(key)
        kept.write(key, seen)
        found = kept.read(key)
        np.testing.assert_array_equal(found.values, seen.values)
        np.testing.assert_array_equal(found.t_s, seen.t_s)
        assert found.found.tolist() == seen.found.tolist() and found.reason == seen.reason


def test_values_without_the_rest_do_not_count(tmp_path: Path) -> None:
    """As after a kill between the two files."""
    kept = Features(tmp_path)
    kept.write("a", Observation.full(np.ones(3)))
    (tmp_path / "a.json").unlink()
    assert not kept.has("a")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files in the order in which they are decoded."""
    seen: list[str] = []
    original = observe.open_video
    monkeypatch.setattr(observe, "open_video", lambda path, *a: (seen.append(path.name), original(path, *a))[1])
    return seen


@pytest.mark.usefixtures("colour")
def test_a_second_evaluation_decodes_only_what_changed(
    pairs: list[VideoPair], moving: Callable[..., Path], tmp_path: Path, opened: list[str]
) -> None:
    kept, frozen = tmp_path / "features", protocol("c0", "c1", "c2")
    first = measure({"ours": pairs}, frozen, features=kept)
    assert len(opened) == 6
    opened.clear()
    again = measure({"ours": pairs}, frozen, features=kept)
    assert opened == [] and {m: (r.value, r.ci_low) for m, r in again.items()} == {
        m: (r.value, r.ci_low) for m, r in first.items()
    }
    moving("ours1", seed=1, level=30)  # another answer to c1 under the same name
    changed = measure({"ours": pairs}, frozen, features=kept)
    assert sorted(opened) == ["ours1.mkv", "real1.mkv"] and changed["ours"].value > first["ours"].value


@pytest.mark.usefixtures("colour")
@pytest.mark.parametrize("changed", [{"size": 32}, {"fps": 25.0}, {"seconds": 0.5}, {"version": 99}])
def test_under_another_view_everything_is_looked_at_again(
    pairs: list[VideoPair], tmp_path: Path, opened: list[str], changed: dict
) -> None:
    frozen = protocol("c0", "c1", "c2")
    measure({"ours": pairs}, frozen, features=tmp_path / "features")
    opened.clear()
    measure({"ours": pairs}, replace(frozen, **changed), features=tmp_path / "features")
    assert len(opened) == 6


@pytest.mark.usefixtures("colour")
def test_a_pass_that_was_stopped_goes_on_where_it_was(
    pairs: list[VideoPair], tmp_path: Path, opened: list[str]
) -> None:
    frozen, kept = protocol("c0", "c1", "c2"), tmp_path / "features"

    def stop(event: dict) -> None:
        if event["done"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_methods({"ours": pairs}, frozen, root="", metrics=("colour",), features=kept, report=stop)
    opened.clear()
    assert observe_methods({"ours": pairs}, frozen, root="", metrics=("colour",), features=kept) != []
    assert sorted(opened) == ["ours2.mkv", "real2.mkv"]


@pytest.mark.usefixtures("colour")
def test_one_real_clip_is_in_memory_at_a_time(pairs: list[VideoPair], monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Video] = weakref.WeakSet()
    original = observe.open_video

    def opened(*arguments: object) -> Video:
        alive.add(video := original(*arguments))
        return video

    monkeypatch.setattr(observe, "open_video", opened)
    held: list[int] = []

    def report(event: dict) -> None:
        gc.collect()
        held.append(len(alive))

    evaluate_methods({"ours": pairs}, protocol("c0", "c1", "c2"), root="", metrics=("colour",), report=report)
    assert held == [0, 0, 0]
