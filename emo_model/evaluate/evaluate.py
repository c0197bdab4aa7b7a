"""Measure methods against real clips: one pass over the clips, one decode of each file, every metric.

Beside the methods stand three rows that tell how to read them: the ground truth against itself, its first
halves against its second halves (the floor of a distance), and copy-first-frame (the reference shown for the
whole clip).
"""

import datetime
import importlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np

from emo_model.data import media
from emo_model.errors import UserError

from .bootstrap import intervals
from .extractors import ALL, Extractor, Family, family_of, metric_name
from .protocol import Protocol
from .rows import EvaluationRow
from .scores import NotComputable, Observation, Score, counted
from .video import Unreadable, Video, open_video

GROUND_TRUTH, HALVES, COPY = "ground truth", "ground truth, half vs half", "copy-first-frame"
CONTROLS = (GROUND_TRUTH, HALVES, COPY)
_CLASSES = {
    "fid": "fid.FID",
    "fvd": "fvd.FVD",
    "f_sim": "identity.FaceSimilarity",
    "e_fid": "expression.Expression",
    "syncnet": "sync.SyncNetScore",
    "motion": "motion.HeadMotion",
    "mouth_sync": "motion.MouthSync",
}


class Metric(Interface):
    """What every metric offers; built from its Extractor."""

    def observe(self, video: Video) -> Observation: ...

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]: ...


@dataclass(frozen=True)
class VideoPair:
    """One test clip and one method's answer to it.

    `reference` is the image the generator was given (None: the real clip's frame 0); `sound` the driving
    voice (None: each file's own track). Paths may be relative to the data root.
    """

    clip_id: str
    identity: str
    real: Path
    generated: Path
    reference: np.ndarray | Path | None = None
    sound: Path | None = None


_Sides = tuple[Sequence[Observation], Sequence[Observation]]


@dataclass
class _Seen:
    """Observations of one row of the table: family -> one a clip; `failed` says why the row has none."""

    by_family: dict[str, list[Observation]] = field(default_factory=dict)
    failed: str | None = None


def compute(metric: str, pairs: Sequence[VideoPair], protocol: Protocol, *, root: Any = ".") -> list[EvaluationRow]:
    """One metric for one method, `ours`, with its controls. UserError for an unknown metric."""
    return evaluate_methods({"ours": list(pairs)}, protocol, root=root, metrics=(metric,))


def shortest_seconds(pairs: Sequence[VideoPair], *, root: Any, fps: float = 30.0) -> float:
    """The longest `seconds` of a protocol under which every one of these videos is long enough.

    A method that stops before the real clip does gets dashes, not numbers. UserError on a broken file.
    """
    frames = []
    for path in {_folder(root) / path for pair in pairs for path in (pair.real, pair.generated)}:
        try:
            last = (known := media.probe(path)).duration_s - 1 / known.fps
        except (media.MediaError, OSError) as error:
            raise UserError(f"{path} cannot be evaluated: {error}; run: emo generate") from error
        frames.append(int(last * fps + 1e-3) + 1)
    return min(frames) / fps


def evaluate_methods(
    methods: dict[str, list[VideoPair]],
    protocol: Protocol,
    *,
    root: Any,  # Path, or DataRoot with a .path
    metrics: Sequence[str] = ALL,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    run_id: str | None = None,
) -> list[EvaluationRow]:
    """All numbers of `methods` and of the three controls under `protocol`.

    A number that cannot be computed is a row without a value and with a reason. `report` hears {"clip",
    "done", "of"} after each clip. UserError: unknown metric, a clip outside the protocol, an unusable real
    clip.
    """
    families = [family_of(name) for name in dict.fromkeys(metrics)]
    chosen = {family.name: protocol.extractor(family.name) for family in families}
    running = {name: _load(name, extractor) for name, extractor in chosen.items() if extractor}
    by_clip = _by_clip(methods, protocol)
    seen = {GROUND_TRUTH: _Seen(), COPY: _Seen(), **{method: _Seen() for method in methods}}
    identities = []
    for done, clip in enumerate(protocol.clips):
        identities.append(_observe_clip(by_clip[clip], running, seen, protocol, _folder(root)))
        report({"clip": clip, "done": done + 1, "of": len(protocol.clips)})
    stamp: dict[str, Any] = {
        "run_id": run_id or uuid.uuid4().hex,
        "dataset": protocol.dataset,
        "protocol_hash": protocol.hash,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    rows: list[EvaluationRow] = []
    for family in families:
        extractor = chosen[family.name]
        if extractor is not None:
            metric = running[family.name]
            rows += _family_rows(family, extractor, metric, seen, identities, protocol, stamp)
        rows += _missing_rows(family, extractor, tuple(methods), stamp)
    return rows


def _load(family: str, extractor: Extractor) -> Metric:
    module, _, name = _CLASSES[family].partition(".")
    return getattr(importlib.import_module(f"emo_model.evaluate.{module}"), name)(extractor)


def _folder(root: Any) -> Path:
    return Path(getattr(root, "path", root))


def _by_clip(methods: dict[str, list[VideoPair]], protocol: Protocol) -> dict[str, dict[str, VideoPair]]:
    """clip -> method -> pair. UserError for clips outside the protocol or of no method."""
    by_clip: dict[str, dict[str, VideoPair]] = {clip: {} for clip in protocol.clips}
    if taken := set(methods) & set(CONTROLS):
        raise UserError(f"{', '.join(sorted(taken))} is a control's name; name the method otherwise")
    for method, pairs in methods.items():
        for pair in pairs:
            if pair.clip_id not in by_clip:
                raise UserError(f"{method}: clip {pair.clip_id} is not one of the protocol's {len(by_clip)} clips")
            by_clip[pair.clip_id][method] = pair
    if lonely := [clip for clip, pairs in by_clip.items() if not pairs]:
        raise UserError(f"no method has a video for {', '.join(lonely)}; run: emo generate")
    return by_clip


def _observe_clip(
    pairs: dict[str, VideoPair],
    running: dict[str, Metric],
    seen: dict[str, _Seen],
    protocol: Protocol,
    root: Path,
) -> str:
    """Add one clip's observations to every row; returns its identity."""
    first = next(iter(pairs.values()))
    try:
        real = open_video(root / first.real, _under(root, first.reference), _under(root, first.sound), protocol)
    except Unreadable as error:
        raise UserError(f"real clip {first.clip_id}: {error}") from error
    _observe(real, running, seen[GROUND_TRUTH])
    _observe(real.as_still(), running, seen[COPY])
    for method, row in seen.items():
        if method in (GROUND_TRUTH, COPY) or row.failed:
            continue
        try:
            _observe(_generated(pairs.get(method), real, protocol, root), running, row)
        except Unreadable as error:
            row.failed = f"clip {first.clip_id}: {error}"
    return first.identity


def _under(root: Path, value: Any) -> Any:
    return root / value if isinstance(value, Path) else value


def _generated(pair: VideoPair | None, real: Video, protocol: Protocol, root: Path) -> Video:
    """The method's video over exactly the real clip's frames. Unreadable if it is missing or shorter."""
    if pair is None:
        raise Unreadable("this method has no video for it")
    video = open_video(root / pair.generated, real.reference, _under(root, pair.sound), protocol)
    if len(video.frames) < len(real.frames):
        raise Unreadable(f"{len(video.frames)} of {len(real.frames)} frames")
    video.frames = video.frames[: len(real.frames)]
    return video


def _observe(video: Video, running: dict[str, Metric], row: _Seen) -> None:
    for name, metric in running.items():
        try:
            observation = metric.observe(video)
        except Unreadable as error:
            observation = Observation.nothing(1, str(error))
        row.by_family.setdefault(name, []).append(observation)


def _family_rows(
    family: Family,
    extractor: Extractor,
    metric: Metric,
    seen: dict[str, _Seen],
    identities: list[str],
    protocol: Protocol,
    stamp: dict[str, Any],
) -> list[EvaluationRow]:
    """Rows of one metric for the controls and the methods."""
    plan = _plan(family, seen)
    scores = {
        method: _dashes(family, sides) if isinstance(sides, str) else _score(family, metric, *sides)
        for method, sides in plan.items()
    }
    rows = []
    for method, sides in plan.items():
        drawn = {}
        if not isinstance(sides, str):
            drawn = _intervals(metric, *sides, identities, scores[method], protocol)
        for output, score in scores[method].items():
            low, high = drawn.get(output, (None, None))
            rows.append(
                EvaluationRow(
                    method=method, metric=metric_name(output, extractor), value=score.value, ci_low=low,
                    ci_high=high, n=score.n, n_total=score.n_total, floor=scores[HALVES][output].value,
                    extractor=extractor.name, reason=score.reason, **stamp,
                )
            )  # fmt: skip
    return rows


def _plan(family: Family, seen: dict[str, _Seen]) -> dict[str, _Sides | str]:
    """What each row of the table compares, (real, generated), or why it has no number."""
    real = seen[GROUND_TRUTH].by_family[family.name]
    plan: dict[str, _Sides | str]
    if family.is_distance:
        halves = [o.half(False) for o in real], [o.half(True) for o in real]
        plan = {GROUND_TRUTH: "a distance to itself", HALVES: halves}
    else:
        plan = {GROUND_TRUTH: (real, real), HALVES: "not a distance: compare with the ground truth"}
    for method, row in seen.items():
        if method != GROUND_TRUTH:
            plan[method] = row.failed or (real, row.by_family[family.name])
    return plan


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
    metric: Metric,
    real: Sequence[Observation],
    generated: Sequence[Observation],
    identities: list[str],
    scores: dict[str, Score],
    protocol: Protocol,
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals over identities: people, not frames, are the sample. Empty for one person."""
    given = {output for output, score in scores.items() if score.value is not None}
    if not given:
        return {}

    def measured(clips: list[int]) -> dict[str, float]:
        try:
            found = metric.scores([real[i] for i in clips], [generated[i] for i in clips])
        except (NotComputable, ValueError):
            return {}  # a draw of people without a usable face
        return {o: s.value for o, s in found.items() if o in given and s.value is not None and np.isfinite(s.value)}

    return intervals(measured, identities, protocol.bootstrap, protocol.seed)


def _missing_rows(
    family: Family, used: Extractor | None, methods: tuple[str, ...], stamp: dict[str, Any]
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
        for method in (*CONTROLS, *methods)
        for output in outputs
    ]
