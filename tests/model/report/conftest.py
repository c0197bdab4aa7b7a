"""A small evaluation with known answers: two clips, three rows, videos of half a second with a hum."""

from pathlib import Path

import numpy as np
import pytest

from emo_model.evaluate import COPY, GROUND_TRUTH, Evaluation, EvaluationRow, Protocol, VideoPair
from emo_model.evaluate.methods import Finding
from emo_model.evaluate.outputs import ClipScore, Moment
from emo_model.report import write_report
from tests.model.evaluate.conftest import write_video

ODD = "R&D <script>alert(\"x\")</script> 'v2' {{ 7 * 7 }} ümlaut/../.."
FRAMES = 15


def frames(level: int) -> np.ndarray:
    """(T, 64, 64, 3): a bar that moves, on a ground as bright as `level`."""
    found = np.full((FRAMES, 64, 64, 3), level, np.uint8)
    for t in range(FRAMES):
        found[t, :, 3 * t : 3 * t + 8] = (250, 120, 40)
    return found


def hum() -> np.ndarray:
    return (6000 * np.sin(np.arange(8000) / 8)).astype(np.int16)


def row(
    method: str, metric: str, value: float | None, reason: str | None = None, extractor: str = "face-landmarker"
) -> EvaluationRow:
    return EvaluationRow(
        run_id="r", method=method, dataset="held-out people", metric=metric, value=value,
        ci_low=None if value is None else value - 0.5, ci_high=None if value is None else value + 0.5, n=30, n_total=30,
        floor=None, extractor=extractor, protocol_hash="0" * 16, reason=reason, created_at="2026-01-02T03:04:05+00:00",
    )  # fmt: skip


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos: real ones in lossless RGB without sound, as protocols cut them; voices in files of their own."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(2):
        write_video(folder / f"real{number}.mkv", frames(40))
        write_video(folder / f"voice{number}.mkv", frames(0), sound=hum())
        for level in (1, 2):
            write_video(folder / f"{level}-{number}.mkv", frames(40 + 60 * level), sound=hum())
    return folder


@pytest.fixture(scope="session")
def evaluation(data: Path) -> Evaluation:
    """Paths are relative to `data`."""
    pairs = {
        method: [
            VideoPair(
                f"c{n}", f"person {n}", Path(f"real{n}.mkv"), Path(f"{level}-{n}.mkv"), sound=Path(f"voice{n}.mkv")
            )
            for n in range(2)
        ]
        for level, method in enumerate(("ours", ODD), start=1)
    }
    values = {GROUND_TRUTH: (1.0, 1.5), COPY: (0.0, 0.0), "ours": (1.25, 0.5), ODD: (3.0, 2.0)}
    scores = [
        ClipScore(method, f"c{n}", f"person {n}", "head_velocity", value, 15, 15, None)
        for method, given in values.items()
        for n, value in enumerate(given)
    ]
    moments = [
        Moment(method, f"c{n}", "head_velocity", t / 30, value + 0.01 * t if t else None)
        for method, given in values.items()
        for n, value in enumerate(given)
        for t in range(FRAMES)
    ]
    rows = [row(method, "head_velocity", sum(given) / 2) for method, given in values.items()]
    rows += [row(method, "fid", None, "no weights: emo weights get inception", "inception-2015-12-05")
             for method in ("ours", ODD)]  # fmt: skip
    findings = [Finding(ODD, "c1", False, "its sound is 200 ms late")]
    return Evaluation(
        Protocol("held-out people", ("c0", "c1"), (), seconds=0.5), pairs, rows, scores, moments, findings
    )


@pytest.fixture(scope="session")
def page(evaluation: Evaluation, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report, written once."""
    return write_report(evaluation, tmp_path_factory.mktemp("a folder") / "report", root=data)
