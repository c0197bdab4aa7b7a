"""One pass over the test clips: every file decoded once, whatever the number of metrics and rows that look at it.

Memory holds the ground truth of one clip and one answer to it. What a metric saw is written down at once (features.py),
so a pass that was stopped goes on where it was, and one that finds everything known decodes nothing.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from typing import Protocol as Interface

import numpy as np

from emo_model.data.store import file_sha256
from emo_model.errors import UserError

from .clips import VideoPair
from .controls import COPY, GROUND_TRUTH, RECONSTRUCTION, SHUFFLED, others, reconstructed
from .extractors import FAMILIES, Extractor, Family
from .features import Features, key_of
from .methods import HELD_S, Finding, reason
from .protocol import Protocol
from .scores import Observation, Score, drawn
from .video import Unreadable, Video, has_sound, open_video

_CLASSES = {
    "fid": "fid.FID",
    "clean_fid": "fid.CleanFID",
    "fvd": "fvd.FVD",
    "fvd_styleganv": "fvd.StyleGANVFVD",
    "fvd_videogpt": "fvd.VideoGPTFVD",
    "f_sim": "identity.FaceSimilarity",
    "e_fid": "expression.Expression",
    "p_fid": "expression.HeadPose",
    "syncnet": "sync.SyncNetScore",
    "motion": "motion.HeadMotion",
    "blink": "motion.BlinkRate",
    "mouth_sync": "motion.MouthSync",
    "beat": "motion.BeatAlignment",
    "pictures": "pictures.Fidelity",
    "seams": "pictures.Seams",
    "lpips": "lpips.PerceptualDistance",
}
Report = Callable[[dict[str, Any]], None]


class Metric(Interface):
    """What every metric offers; built from its Extractor."""

    def observe(self, video: Video) -> Observation: ...

    def scores(self, real: Sequence[Observation], generated: Sequence[Observation]) -> dict[str, Score]: ...


def load(family: str, extractor: Extractor) -> Metric:
    """A family's metric with its network."""
    module, _, name = _CLASSES[family].partition(".")
    return getattr(importlib.import_module(f"emo_model.evaluate.{module}"), name)(extractor)


@dataclass
class RealClip:
    """The real side of one clip, decoded when somebody first needs it."""

    pair: VideoPair
    root: Path
    protocol: Protocol

    @cached_property
    def video(self) -> Video:
        """Its pictures and the driving voice. UserError where they cannot be used."""
        try:
            return open_video(self.root / self.pair.real, self._under(self.pair.reference), self.sound, self.protocol)
        except Unreadable as error:
            raise UserError(f"real clip {self.pair.clip_id}: {error}") from error

    def forget(self) -> None:
        """Let go of the pictures."""
        self.__dict__.pop("video", None)

    @property
    def sound(self) -> Path:
        """The driving voice: a file of its own, or the clip's own track."""
        return self.root / (self.pair.sound or self.pair.real)

    @cached_property
    def key(self) -> str:
        """By content: pictures, reference, voice, and how they are read. UserError where a file is gone."""
        reference, p = self._under(self.pair.reference), self.protocol
        try:
            shown = reference.tobytes() if isinstance(reference, np.ndarray) else reference and file_sha256(reference)
            content = (file_sha256(self.root / self.pair.real), file_sha256(self.sound))
        except OSError as error:
            raise UserError(f"real clip {self.pair.clip_id}: {error.filename}: {error.strerror}") from error
        return key_of(*content, shown, p.fps, p.size, p.seconds, p.version)

    def answer(self, pair: VideoPair) -> Video:
        """A method's video over exactly the real clip's frames; its last one is held for HELD_S at most. Unreadable if
        it is broken or shorter."""
        path, count = self.root / pair.generated, len(self.video.frames)
        video = open_video(path, self.video.reference, path if has_sound(path) else self.sound, self.protocol)
        if (missing := count - len(video.frames)) > HELD_S * self.protocol.fps:
            raise Unreadable(f"{len(video.frames)} of {count} frames")
        if missing > 0:  # among others where a frame of a slower video lasts longer than one of the protocol's
            video.frames = np.concatenate([video.frames, np.repeat(video.frames[-1:], missing, 0)])
        video.frames, video.truth = video.frames[:count], self.video
        return video

    def _under(self, value: Any) -> Any:
        return self.root / value if isinstance(value, Path) else value


class _Answer(NamedTuple):
    """One row's video of one clip, not opened yet."""

    row: str
    key: str
    open: Callable[[], Video]
    families: Sequence[str]  # that look at it


class Pass:
    """What every metric saw of every row of the table."""

    def __init__(
        self,
        methods: Mapping[str, Sequence[VideoPair]],
        protocol: Protocol,
        extractors: Mapping[str, Extractor],
        controls: Sequence[str],
        findings: Sequence[Finding],
        root: Path,
        store: Features,
    ) -> None:
        self.protocol, self.extractors, self.store, self.findings = protocol, extractors, store, list(findings)
        self.reconstruction = f"{RECONSTRUCTION} [{protocol.reconstruction}]"
        self.controls = [self.reconstruction if name == RECONSTRUCTION else name for name in controls]
        self.rows = (*self.controls, *methods)  # of the table, in order
        self.failed = {method: reason(f for f in findings if f.method == method) for method in methods}
        self._answers: dict[str, dict[str, VideoPair]] = {clip: {} for clip in protocol.clips}
        for method, pairs in methods.items():
            for pair in pairs:
                self._answers[pair.clip_id][method] = pair
        self.clips = [RealClip(next(iter(found.values())), root, protocol) for found in self._answers.values()]
        self.identities = [clip.pair.identity for clip in self.clips]
        self._keys: dict[tuple[str, str], list[str]] = {}  # (row, family) -> key of each clip
        self._real: dict[str, list[Observation]] = {}
        self._metrics: dict[str, Metric] = {}

    def observe(self, report: Report) -> None:
        """Observe what is not known yet of every clip. UserError for an unusable real clip."""
        voices = others(self.identities, self.protocol.seed)
        for done, (clip, voice) in enumerate(zip(self.clips, voices, strict=True), start=1):
            for answer in self._of(clip, None if voice is None else self.clips[voice]):
                try:
                    self._look(answer)
                except Unreadable as error:
                    self.findings.append(Finding(answer.row, clip.pair.clip_id, True, str(error)))
                    self.failed[answer.row] = reason(f for f in self.findings if f.method == answer.row)
            clip.forget()
            report({"clip": clip.pair.clip_id, "done": done, "of": len(self.clips)})

    def seen(self, row: str, family: Family) -> list[Observation] | None:
        """What a family saw of a row, a clip each: N samples in all of a distance; None where it was not to look.

        The ground truth is asked for with every row: it is the same objects each time.
        """
        if (known := self._real.get(family.name)) is not None and row == GROUND_TRUTH:
            return known
        if (keys := self._keys.get((row, family.name))) is None:
            return None
        whole, n = [self.store.read(key) for key in keys], self.protocol.samples(family)
        found = whole if n is None else drawn(whole, n, self.protocol.seed)
        if row == GROUND_TRUTH:
            self._real[family.name] = found
        return found

    def metric(self, family: str) -> Metric:
        """Loaded when first asked for."""
        if family not in self._metrics:
            self._metrics[family] = load(family, self.extractors[family])
        return self._metrics[family]

    def _of(self, clip: RealClip, other: RealClip | None) -> Iterator[_Answer]:
        """Every row's video of a clip; `other` lends the voice that does not belong to it."""
        every, preset = tuple(self.extractors), self.protocol.reconstruction
        yield _Answer(GROUND_TRUTH, clip.key, lambda: clip.video, every)
        if COPY in self.controls:
            yield _Answer(COPY, key_of(COPY, clip.key), lambda: clip.video.as_still(), every)
        if self.reconstruction in self.controls:
            key = key_of(self.reconstruction, clip.key)
            yield _Answer(self.reconstruction, key, lambda: reconstructed(clip.video, preset), every)
        if SHUFFLED in self.controls and other is not None:
            hear = [name for name in every if FAMILIES[name].hears]
            yield _Answer(
                SHUFFLED, key_of(SHUFFLED, other.key, clip.key), lambda: clip.video.with_sound(other.sound), hear
            )
        for method, pair in self._answers[clip.pair.clip_id].items():
            if not self.failed[method]:
                key = key_of(file_sha256(clip.root / pair.generated), clip.key)
                yield _Answer(method, key, lambda pair=pair: clip.answer(pair), every)  # type: ignore[misc]

    def _look(self, answer: _Answer) -> None:
        """Observe a video with the families that do not know it yet."""
        used = {name: self.extractors[name] for name in answer.families}
        keys = {name: key_of(answer.key, name, extractor.name, extractor.sha256) for name, extractor in used.items()}
        if unknown := [name for name in keys if not self.store.has(keys[name])]:
            video = answer.open()
            for name in unknown:
                try:
                    seen = self.metric(name).observe(video)
                except Unreadable as error:
                    seen = Observation.nothing(1, str(error))
                self.store.write(keys[name], seen)
        for name, key in keys.items():
            self._keys.setdefault((answer.row, name), []).append(key)
