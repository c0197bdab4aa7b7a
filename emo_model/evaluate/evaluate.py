"""Measure methods against real clips: every metric, for every method and control, under one protocol.

    methods + protocol -> look_over (methods.py) -> one pass over the clips (observe.py) -> numbers, here -> Evaluation

Beside the methods stand the rows of controls.py, which tell how to read them. An evaluation is a value, and a folder
once it is written: outputs.py says what lies in it.
"""

import datetime
import math
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from emo_model.data import media
from emo_model.errors import UserError

from .bootstrap import intervals
from .clips import VideoPair
from .controls import CONTROLS, GROUND_TRUTH, HALVES, SHUFFLED, is_control
from .extractors import ALL, Extractor, Family, family_of, metric_name
from .features import Features
from .methods import Finding, look_over
from .observe import Metric, Pass, Report
from .outputs import ClipScore, Evaluation, Moment
from .protocol import Protocol
from .rows import EvaluationRow
from .scores import NotComputable, Observation, Score, counted

_Sides = tuple[Sequence[Observation], Sequence[Observation]]


def compute(metric: str, pairs: Sequence[VideoPair], protocol: Protocol, *, root: Any = ".") -> list[EvaluationRow]:
    """One metric for one method, `ours`, with its controls. UserError for an unknown metric."""
    return list(evaluate_methods({"ours": list(pairs)}, protocol, root=root, metrics=(metric,)).rows)


def shortest_seconds(pairs: Sequence[VideoPair], *, root: Any, fps: float = 30.0) -> float:
    """The longest `seconds` of a protocol under which every usable one of these videos is long enough.

    A method that stops before the real clip does gets dashes, as does one with a broken file or a single frame, which
    do not count here. Infinite where no video is usable.
    """
    frames = []
    for path in {_folder(root) / path for pair in pairs for path in (pair.real, pair.generated)}:
        try:
            known = media.probe(path)
        except (media.MediaError, OSError):
            continue
        if known.fps and (last := known.duration_s - 1 / known.fps) > 0.5 / known.fps:
            frames.append(int(last * fps + 1e-3) + 1)
    return min(frames, default=math.inf) / fps


def evaluate_methods(
    methods: dict[str, list[VideoPair]],
    protocol: Protocol,
    *,
    root: Any,  # Path, or DataRoot with a .path
    metrics: Sequence[str] = ALL,
    controls: Sequence[str] = CONTROLS,
    features: Path | None = None,
    report: Report = lambda event: None,
    run_id: str | None = None,
) -> Evaluation:
    """All numbers of `methods` and of the controls under `protocol`.

    A number that cannot be computed is a row without a value and with a reason. `features`: where what metrics saw is
    kept for the next time; thrown away otherwise. `report` hears {"clip", "done", "of"} after each clip. UserError:
    unknown metric, a clip outside the protocol, an unusable real clip.
    """
    with _observed(methods, protocol, root, metrics, controls, features, report) as seen:
        stamp: dict[str, Any] = {
            "run_id": run_id or uuid.uuid4().hex,
            "dataset": protocol.dataset,
            "protocol_hash": protocol.hash,
            "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        rows: list[EvaluationRow] = []
        clips: list[ClipScore] = []
        moments: list[Moment] = []
        for family in map(family_of, dict.fromkeys(metrics)):
            extractor = seen.extractors.get(family.name)
            if extractor is not None:
                rows += _family_rows(family, extractor, seen, stamp)
                clips += _clip_scores(family, extractor, seen)
                moments += _moments(family, extractor, seen)
                seen.findings += _few_samples(family, extractor, seen)
            rows += _missing_rows(family, extractor, seen.rows, stamp)
        return Evaluation(protocol, methods, rows, clips, moments, seen.findings)


def observe_methods(
    methods: dict[str, list[VideoPair]],
    protocol: Protocol,
    *,
    root: Any,
    features: Path,
    metrics: Sequence[str] = ALL,
    controls: Sequence[str] = CONTROLS,
    report: Report = lambda event: None,
) -> list[Finding]:
    """The pass alone: afterwards no metric decodes anything. Returns what is to be said of the videos."""
    with _observed(methods, protocol, root, metrics, controls, features, report) as seen:
        return seen.findings


@contextmanager
def _observed(
    methods: dict[str, list[VideoPair]],
    protocol: Protocol,
    root: Any,
    metrics: Sequence[str],
    controls: Sequence[str],
    features: Path | None,
    report: Report,
) -> Iterator[Pass]:
    """What the metrics saw of every row; where nothing is kept, only as long as it is used."""
    chosen = {name: protocol.extractor(family_of(name).name) for name in dict.fromkeys(metrics)}
    running = {name: extractor for name, extractor in chosen.items() if extractor is not None}
    _require_clips(methods, protocol)
    findings = [finding for m, pairs in methods.items() for finding in look_over(m, pairs, protocol, _folder(root))]
    with _kept(features) as store:
        seen = Pass(methods, protocol, running, controls, findings, _folder(root), store)
        seen.observe(report)
        yield seen


@contextmanager
def _kept(folder: Path | None) -> Iterator[Features]:
    if folder is not None:
        yield Features(folder)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Features(Path(temporary))


def _folder(root: Any) -> Path:
    return Path(getattr(root, "path", root))


def _require_clips(methods: dict[str, list[VideoPair]], protocol: Protocol) -> None:
    """UserError for a control's name, and for clips outside the protocol or of no method."""
    if taken := [method for method in methods if is_control(method)]:
        raise UserError(f"{', '.join(sorted(taken))} is a control's name; name the method otherwise")
    known, answered = set(protocol.clips), set()
    for method, pairs in methods.items():
        for pair in pairs:
            if pair.clip_id not in known:
                raise UserError(f"{method}: clip {pair.clip_id} is not one of the protocol's {len(known)} clips")
            answered.add(pair.clip_id)
    if lonely := [clip for clip in protocol.clips if clip not in answered]:
        raise UserError(f"no method has a video for {', '.join(lonely)}; run: emo generate")


# ---- numbers ----


def _family_rows(family: Family, extractor: Extractor, seen: Pass, stamp: dict[str, Any]) -> list[EvaluationRow]:
    """Rows of one metric for the controls and the methods."""
    metric, rows = seen.metric(family.name), []
    floor: dict[str, Score] = {}
    for row in sorted(seen.rows, key=lambda row: row != HALVES):  # the floor first: it stands beside every number
        sides = _sides(family, row, seen)
        if sides is None:
            continue
        scores = _dashes(family, sides) if isinstance(sides, str) else _score(family, metric, *sides)
        given = {} if isinstance(sides, str) else _intervals(family, metric, *sides, scores, seen)
        floor = scores if row == HALVES else floor
        for output, score in scores.items():
            low, high = given.get(output, (None, None))
            rows.append(
                EvaluationRow(
                    method=row, metric=metric_name(output, extractor), value=score.value, ci_low=low, ci_high=high,
                    n=score.n, n_total=score.n_total, floor=floor[output].value if output in floor else None,
                    extractor=extractor.name, reason=score.reason, **stamp,
                )
            )  # fmt: skip
    return sorted(rows, key=lambda row: seen.rows.index(row.method))


def _sides(family: Family, row: str, seen: Pass) -> _Sides | str | None:
    """What a row of the table compares, (real, generated), or why it has no number; None: it is not asked."""
    real = seen.seen(GROUND_TRUTH, family)
    assert real is not None, "every family looks at the ground truth"
    if row == SHUFFLED and not family.hears:
        return None
    if row == GROUND_TRUTH:
        return "a distance to itself" if family.is_distance else (real, real)
    if row == HALVES:
        if not family.is_distance:
            return "not a distance: compare with the ground truth"
        return [o.half(False) for o in real], [o.half(True) for o in real]
    if why := seen.failed.get(row):
        return why
    generated = seen.seen(row, family)
    if generated is None:
        return "one clip: there is no other voice" if row == SHUFFLED else "not looked at"
    return real, generated


def _score(
    family: Family, metric: Metric, real: Sequence[Observation], generated: Sequence[Observation]
) -> dict[str, Score]:
    """The metric's scores, or its dashes with the reason; a value that is not finite is a dash as well."""
    try:
        scores = metric.scores(real, generated)
    except (NotComputable, ValueError) as error:
        return _dashes(family, str(error), *counted(generated))
    return {
        output: score if score.value is None or np.isfinite(score.value)
        else Score(None, score.n, score.n_total, "the result is not finite")
        for output, score in scores.items()
    }  # fmt: skip


def _dashes(family: Family, reason: str, n: int = 0, n_total: int = 0) -> dict[str, Score]:
    return {output: Score(None, n, n_total, reason) for output in family.outputs}


def _intervals(
    family: Family,
    metric: Metric,
    real: Sequence[Observation],
    generated: Sequence[Observation],
    scores: dict[str, Score],
    seen: Pass,
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals over identities: people, not frames, are the sample. Empty for one person.

    A draw repeats people and so has fewer distinct samples, which raises every Fréchet distance: of these the draws'
    spread is kept and their middle set to the value.
    """
    given = {output: score.value for output, score in scores.items() if score.value is not None}
    if not given:
        return {}

    def measured(clips: list[int]) -> dict[str, float]:
        try:
            found = metric.scores([real[i] for i in clips], [generated[i] for i in clips])
        except (NotComputable, ValueError):
            return {}  # a draw of people without a usable face
        return {o: s.value for o, s in found.items() if o in given and s.value is not None and np.isfinite(s.value)}

    around = given if family.is_distance else {}
    found = intervals(measured, seen.identities, seen.protocol.bootstrap, seen.protocol.seed, around)
    # a distance is never below 0; KID, an unbiased estimate of one, may be
    positive = {output for output in around if not output.endswith("kid")}
    return {output: (max(0.0, low) if output in positive else low, high) for output, (low, high) in found.items()}


def _clip_scores(family: Family, extractor: Extractor, seen: Pass) -> list[ClipScore]:
    """A metric's numbers clip by clip; none of a distance, which one clip does not have."""
    if family.is_distance:
        return []
    real, found = seen.seen(GROUND_TRUTH, family) or [], []
    for row in seen.rows:
        generated = None if seen.failed.get(row) else seen.seen(row, family)
        for clip, mine, truth in zip(seen.clips, generated or [], real, strict=False):
            found += [
                ClipScore(row, clip.pair.clip_id, clip.pair.identity, metric_name(output, extractor), score.value,
                          score.n, score.n_total, score.reason)
                for output, score in _score(family, seen.metric(family.name), [truth], [mine]).items()
            ]  # fmt: skip
    return found


def _moments(family: Family, extractor: Extractor, seen: Pass) -> list[Moment]:
    """A metric's values moment by moment, where it has such."""
    found, series = [], metric_name(family.outputs[0], extractor)
    for row in seen.rows:
        for clip, o in zip(seen.clips, seen.seen(row, family) or [], strict=False):
            if o.t_s is None or o.values.ndim != 1:
                continue
            known = [float(v) if ok and np.isfinite(v) else None for v, ok in zip(o.values, o.found, strict=True)]
            at = zip(o.t_s.tolist(), known, strict=True)
            found += [Moment(row, clip.pair.clip_id, series, t, value) for t, value in at]
    return found


def _few_samples(family: Family, extractor: Extractor, seen: Pass) -> list[Finding]:
    """A distance of fewer samples than each has numbers is exact, and far above what more samples would give."""
    real = seen.seen(GROUND_TRUTH, family) or []
    width = max((o.values.shape[1] for o in real if o.values.ndim == 2), default=0)
    n, _ = counted(real)
    if not family.is_distance or not n < width:
        return []
    name = metric_name(family.outputs[0], extractor)
    text = f"{name} is of {n} {family.sample}s of {width} numbers each: read it against its floor, under equal N alone"
    return [Finding("every method", None, False, text)]


def _missing_rows(
    family: Family, used: Extractor | None, methods: Sequence[str], stamp: dict[str, Any]
) -> list[EvaluationRow]:
    """Dashes under the reference's name where its network did not run: which weights, and the command."""
    reference = family.extractors[0]
    if used == reference:
        return []
    outputs = family.outputs if used is None else family.outputs[:1]
    reason = reference.unavailable or "its weights came after the protocol was frozen: freeze a new one"
    empty: dict[str, Any] = {
        "value": None,
        "ci_low": None,
        "ci_high": None,
        "n": 0,
        "n_total": 0,
        "floor": None,
    }
    return [
        EvaluationRow(method=method, metric=output, extractor=reference.name, reason=reason, **empty, **stamp)
        for method in methods
        for output in outputs
    ]
