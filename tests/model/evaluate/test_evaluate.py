"""The pass over all clips: controls, dashes with reasons, intervals over people; then the table."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from emo_model import weights
from emo_model.data.records import TABLES
from emo_model.errors import UserError
from emo_model.evaluate import (
    COPY,
    GROUND_TRUTH,
    HALVES,
    RECONSTRUCTION,
    EvaluationRow,
    Protocol,
    VideoPair,
    compute,
    evaluate_methods,
    observe,
    shortest_seconds,
    write_table,
)  # fmt: skip
from emo_model.evaluate.extractors import FAMILIES, Family
from emo_model.evaluate.methods import sentences
from emo_model.evaluate.protocol import PinnedExtractor
from emo_model.evaluate.scores import Observation
from emo_model.evaluate.table import TABLE_1, TABLE_2, counts, measured, not_measured, others, published, to_csv
from emo_model.evaluate.video import Video

from .conftest import COLOUR, MeanColour, measure, protocol


def run(pairs: list[VideoPair], **values: float) -> dict[str, EvaluationRow]:
    return measure({"ours": pairs}, protocol("c0", "c1", "c2", **values))


@pytest.mark.usefixtures("colour")
def test_controls_stand_beside_the_method_and_the_shift_is_found(pairs: list[VideoPair]) -> None:
    rows = run(pairs)
    assert list(rows) == [GROUND_TRUTH, HALVES, COPY, f"{RECONSTRUCTION} [TINY]", "ours"]
    assert rows["ours"].value == pytest.approx(3 * 10**2, rel=0.1)  # 10 brighter in three channels
    assert rows[GROUND_TRUTH].value is None and rows[GROUND_TRUTH].reason == "a distance to itself"
    assert {row.floor for row in rows.values()} == {rows[HALVES].value}
    assert (rows["ours"].n, rows[COPY].n, rows[HALVES].n) == (90, 90, 45)  # equal counts, halves are half
    assert rows["ours"].ci_low <= rows["ours"].value <= rows["ours"].ci_high


def test_fewer_samples_than_numbers_are_said(pairs: list[VideoPair], monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(MeanColour):
        def observe(self, video: Video) -> Observation:
            return Observation.full(np.random.default_rng(len(video.frames)).standard_normal((len(video.frames), 100)))

    monkeypatch.setattr(observe, "load", lambda family, extractor: Wide(extractor))
    monkeypatch.setitem(FAMILIES, "colour", Family("colour", ("colour",), (COLOUR,), "a test", is_distance=True))
    found = evaluate_methods({"ours": pairs}, protocol("c0", "c1", "c2"), root="", metrics=("colour",))
    line = sentences(found.findings)[-1]
    assert line.startswith("every method: colour is of 90 frames of 100 numbers each: read it against its floor")


@pytest.mark.usefixtures("colour")
def test_one_person_gives_no_interval(pairs: list[VideoPair]) -> None:
    rows = measure({"ours": pairs[:2]}, protocol("c0", "c1"))
    assert all(row.ci_low is None and row.ci_high is None for row in rows.values())


@pytest.mark.usefixtures("colour")
def test_the_same_evaluation_gives_the_same_numbers(pairs: list[VideoPair]) -> None:
    first, second = run(pairs), run(pairs)
    assert all(
        (r.value, r.ci_low, r.ci_high) == (second[m].value, second[m].ci_low, second[m].ci_high)
        for m, r in first.items()
    )


@pytest.mark.usefixtures("colour")
@pytest.mark.parametrize("defect", ["missing", "short", "broken"])
def test_a_method_without_a_whole_video_gets_a_dash_that_names_the_clip(
    pairs: list[VideoPair], moving: Callable[..., Path], tmp_path: Path, defect: str
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    bad = {
        "missing": [],
        "short": [VideoPair("c1", "ann", pairs[1].real, moving("short", seconds=0.4))],
        "broken": [VideoPair("c1", "ann", pairs[1].real, broken)],
    }[defect]
    methods = {"good": pairs, "bad": [pairs[0], *bad, pairs[2]]}
    rows = measure(methods, protocol("c0", "c1", "c2"))
    assert rows["bad"].value is None and rows["bad"].reason.startswith("clip c1: ")
    assert {"missing": "no video", "short": "0.40 s long, 1.00 s", "broken": "broken.mp4"}[defect] in rows["bad"].reason
    assert rows["good"].value is not None


@pytest.mark.usefixtures("colour")
def test_the_shortest_video_sets_the_seconds_with_which_nobody_gets_a_dash(
    pairs: list[VideoPair], moving: Callable[..., Path]
) -> None:
    pairs[1] = VideoPair("c1", "ann", pairs[1].real, moving("short", seconds=0.7))
    picture, broken = moving("picture", seconds=1 / 30), moving("broken")
    broken.write_bytes(b"no video")
    unusable = [VideoPair("c2", "bob", pairs[2].real, path) for path in (picture, broken)]
    seconds = shortest_seconds([*pairs, *unusable], root="")  # these get their dashes; nobody else is cut short by them
    assert seconds == pytest.approx(21 / 30)
    assert run(pairs, seconds=seconds)["ours"].n == 63
    assert run(pairs, seconds=seconds + 1 / 30)["ours"].n == 66  # one frame is held
    assert run(pairs, seconds=seconds + 8 / 30)["ours"].reason == "clip c1: 0.70 s long, 0.97 s are measured"


@pytest.mark.usefixtures("colour")
def test_features_that_are_nan_are_a_dash_never_a_number(
    pairs: list[VideoPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MeanColour, "broken", True)
    row = run(pairs)["ours"]
    assert (row.value, row.ci_low, row.reason) == (None, None, "features are not finite")


@pytest.mark.usefixtures("colour")
def test_every_file_is_decoded_once(
    pairs: list[VideoPair], moving: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = observe.open_video
    monkeypatch.setattr(observe, "open_video", lambda path, *a: (seen.append(path.name), original(path, *a))[1])
    other = [VideoPair(p.clip_id, p.identity, p.real, moving(f"b{i}", seed=i, level=20)) for i, p in enumerate(pairs)]
    measure({"a": pairs, "b": other, "a again": pairs}, protocol("c0", "c1", "c2"))
    assert sorted(seen) == sorted(f"{name}{i}.mkv" for name in ("real", "ours", "b") for i in range(3))


@pytest.mark.usefixtures("colour")
def test_bad_requests_say_what_to_do(pairs: list[VideoPair], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown metric 'psnr'; known: fid"):
        compute("psnr", pairs, protocol("c0", "c1", "c2"))
    with pytest.raises(UserError, match="clip c2 is not one of the protocol's 2 clips"):
        compute("colour", pairs, protocol("c0", "c1"))
    with pytest.raises(UserError, match="no method has a video for c9; run: emo generate"):
        compute("colour", pairs, protocol("c0", "c1", "c2", "c9"))
    gone = [VideoPair("c0", "ann", tmp_path / "gone.mp4", pairs[0].generated)]
    with pytest.raises(UserError, match=r"real clip c0: .*gone\.mp4"):
        compute("colour", gone, protocol("c0"))


def test_without_any_weights_every_number_is_a_dash_with_the_command(
    pairs: list[VideoPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "have", lambda name: False)
    frozen = Protocol.freeze("demo", ["c0", "c1", "c2"], seconds=1.0, size=64)
    rows = evaluate_methods({"ours": pairs}, frozen, root="").rows
    assert {row.metric for row in rows} >= {"fid", "syncnet", "f_sim", "fvd", "e_fid"}
    wanting = [row for row in rows if row.extractor != "pixels"]
    assert all(row.value is None and "emo weights get" in row.reason for row in wanting)
    assert {row.metric for row in rows if row.value is not None} <= {"psnr", "ssim", "seam_ratio"}


def test_other_weights_than_the_pinned_ones_are_refused(
    pairs: list[VideoPair], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "i3d").write_bytes(b"other weights")
    monkeypatch.setattr(weights, "have", lambda name: True)
    monkeypatch.setattr(weights, "path", lambda name: tmp_path / name)
    pinned = Protocol("demo", ("c0",), (PinnedExtractor("fvd", "i3d-kinetics-400", "a" * 64),))
    with pytest.raises(UserError, match="pinned i3d-kinetics-400 at aaaaaaaaaaaa.*emo weights verify i3d"):
        compute("fvd", pairs[:1], pinned)


def test_fvd_with_the_real_i3d(pairs: list[VideoPair], need_weights: Callable[[str], Path]) -> None:
    need_weights("i3d")
    frozen = Protocol.freeze("demo", ["c0"], metrics=("fvd",), seconds=1.4, size=64)
    rows = {row.method: row for row in compute("fvd", pairs[:1], frozen)}
    assert (rows["ours"].metric, rows["ours"].extractor) == ("fvd", "i3d-kinetics-400")
    assert rows["ours"].n == rows["ours"].n_total == 2  # windows of 16 frames in 1.4 s at 25 fps
    assert 0 < rows["ours"].value < rows[COPY].value  # brighter by 10 is nearer than standing still


@pytest.mark.usefixtures("colour")
def test_the_table_keeps_the_papers_rows_apart(pairs: list[VideoPair], tmp_path: Path) -> None:
    frozen = protocol("c0", "c1", "c2")
    found = evaluate_methods({"ours": pairs}, frozen, root="", metrics=("colour",), run_id="r1")
    rows = found.rows
    table = pq.read_table(write_table(found, tmp_path / "out")["parquet"])
    assert table.schema.equals(TABLES["evaluations"].schema) and table.num_rows == 5
    assert not {row[0] for row in measured(rows).rows} & {"EMO", "SadTalker"}
    assert not {row[0] for row in published().rows} & {"ours", COPY}
    assert len(to_csv(rows).splitlines()) == 6


def row(metric: str, extractor: str, value: float | None, reason: str | None = None, **more: object) -> EvaluationRow:
    values = {
        "run_id": "r", "method": "ours", "dataset": "demo", "ci_low": None,
        "ci_high": None, "n": 3, "n_total": 9,
        "floor": None, "protocol_hash": "0", "created_at": "t",
    }  # fmt: skip
    return EvaluationRow(metric=metric, extractor=extractor, value=value, reason=reason, **values | more)


def test_a_cell_shows_found_of_offered_and_a_dash_its_reason() -> None:
    rows = [
        row("f_sim[dlib-resnet]", "dlib-resnet", 81.234),
        row("e_fid[blendshapes]", "blendshapes", None, "no face in the frames (generated: 0 of 9)", n=0),
        row("fid", "inception-2015-12-05", None, "no weights: emo weights get inception", n=0, n_total=0),
    ]
    grid = measured(rows)
    assert grid.heads == ("method", "fid", "syncnet", "f_sim[dlib-resnet]", "fvd", "e_fid[blendshapes]")
    assert grid.rows == (("ours", "–", "–", "81.23 3 of 9", "–", "– (0 of 9)"),)
    assert "fid: no weights: emo weights get inception" in not_measured(rows)


def test_methods_stand_next_to_the_ground_truth_and_one_count_is_said_once() -> None:
    values = {"extractor": "face-landmarker", "value": 1.5}
    rows = [
        row(metric, method=method, **values)
        for method in (GROUND_TRUTH, COPY, "ours", "hallo")
        for metric in ("head_velocity", "blink_rate")
    ]
    assert others(rows).heads == ("metric", GROUND_TRUTH, "ours", "hallo", COPY)
    assert counts(rows[4:6]) == ["ours: 3 of 9 samples could be used for head_velocity, blink_rate"]


def test_the_papers_numbers_are_typed_in_right() -> None:
    assert TABLE_1["EMO"] == (
        "8.76 / 17.33",
        "3.89 / 2.74",
        "78.96 / 77.16",
        "67.66 / 192.77",
        "0.116 / 0.187",
    )
    assert TABLE_1["ground truth"][1:3] == ("7.3 / 2.69", "77.44 / 72.64")
    assert TABLE_2["none"] == (1.365, 1.002, 0.134) and TABLE_2["1.9"] == (1.246, 0.657, 0.058)
