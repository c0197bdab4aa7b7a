"""The data's path as a list: raw videos -> clips -> labels -> manifests -> catalog. Read this file first.

    SHARD_STEPS     run once a shard, in this order
    DATASET_STEPS   run once over all shards, in this order

The same steps are Dagster assets in `emo_pipeline/assets`; `emo prepare` runs them without it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emo_model import weights
from emo_model.data import clips, faces, fetch, probe, sources
from emo_model.data.audio import AUDIO_FEATURES, CLIP_AUDIO
from emo_model.data.audio_encoders import default_encoder
from emo_model.data.card import write_card
from emo_model.data.catalog import build_catalog
from emo_model.data.clip_rows import CLIP_ROWS_STEP
from emo_model.data.config import DataConfig
from emo_model.data.face_embeddings import FACE_EMBEDDINGS
from emo_model.data.head_labels import HEAD_POSE, HEAD_SPEED
from emo_model.data.manifests import build_manifest
from emo_model.data.near_duplicates import build_near_duplicates
from emo_model.data.policy import policy
from emo_model.data.quality import QUALITY_SCORES
from emo_model.data.shards import Step, StepReport, is_done, run_step
from emo_model.data.sheets import write_sheets
from emo_model.data.sound import SOUND_SCORES
from emo_model.data.splits import build_speed_buckets, build_splits
from emo_model.data.store import DataRoot, waited_for
from emo_model.data.sync import SYNC_SCORES
from emo_model.data.vocals import separator
from emo_model.data.workers import Workers

SHARD_STEPS: tuple[Step, ...] = (
    fetch.STEP,
    probe.STEP,
    faces.STEP,
    clips.STEP,
    HEAD_POSE,
    HEAD_SPEED,
    CLIP_AUDIO,
    AUDIO_FEATURES,
    SYNC_SCORES,
    SOUND_SCORES,
    QUALITY_SCORES,
    FACE_EMBEDDINGS,
    CLIP_ROWS_STEP,
)

DATASET_STEPS: dict[str, Callable[[DataRoot], Any]] = {
    "near_duplicates": build_near_duplicates,
    "identity_splits": build_splits,
    "speed_buckets": build_speed_buckets,
    "train_manifest_stage1": lambda root: build_manifest(root, policy(root, "train_stage1")),
    "train_manifest_stage2": lambda root: build_manifest(root, policy(root, "train_stage2")),
    "eval_manifest": lambda root: build_manifest(root, policy(root, "eval")),
    "clip_catalog": build_catalog,
    "dataset_card": write_card,
}


JUDGED = ("train_manifest_stage1", "train_manifest_stage2", "eval_manifest", "clip_catalog", "dataset_card")


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did: a report a shard step, and one a dataset step by its name."""

    shards: list[str]
    steps: list[StepReport]
    dataset: dict[str, Any] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        """Clips in the data root."""
        return sum(report.rows["clip_rows"] for report in self.steps if report.step == CLIP_ROWS_STEP.name)

    @property
    def rejects(self) -> dict[str, int]:
        """Reason -> count, of all shard steps."""
        return dict(sum((Counter(report.rejects) for report in self.steps), Counter()))


Tell = Callable[[str], None]


def prepare(root: DataRoot, *, workers: int = 0, progress: Tell = lambda line: None) -> PrepareReport:
    """Bring everything up to date: register new sources, every step of every shard, then the data set.

    What is up to date is kept, so a second call, or one after a kill, only does what is left. `progress` gets a line
    whenever a video is done. UserError where weights are missing, naming the command, or where the vocal separator
    cannot be imported: before anything long starts.
    """
    require_weights()
    separator(DataConfig.of(root).vocals)
    registry = sources.register(root.create())
    for name, reason in registry.skipped:
        progress(f"not taken: {name}: {reason}")
    shards = list(registry.shards)
    with Workers(workers) as processes:
        steps = [report for shard in shards for report in prepare_shard(root, shard, processes, progress)]
        settle_doubles(root, processes, progress)
    return PrepareReport(shards, steps, build_dataset(root, progress))


def prepare_shard(root: DataRoot, shard: str, workers: Workers, progress: Tell = lambda line: None) -> list[StepReport]:
    """Every step of one shard, as `prepare` and a task of a Slurm array do them: one shard needs no other."""
    steps = []
    for step in SHARD_STEPS:
        report = run_step(step, root, shard, workers=workers, progress=progress)
        steps.append(report)
        progress(f"{step.name} {shard}: {_counts(report)} in {report.seconds:.1f} s")
    write_sheets(root, shard)
    return steps


def settle_doubles(root: DataRoot, workers: Workers, progress: Tell = lambda line: None) -> None:
    """Let shards that fetched the same bytes at the same time see each other: the later one rejects its copy."""
    for shard in sources.finished_twice(root):
        prepare_shard(root, shard, workers, progress)


def unfinished(root: DataRoot) -> list[str]:
    """Registered shards of which some step still has work: new, changed or stopped ones."""
    shards = sorted({row["shard"] for row in sources.registered(root)})
    return [shard for shard in shards if not all(is_done(step, root, shard) for step in SHARD_STEPS)]


def build_dataset(root: DataRoot, progress: Tell = lambda line: None) -> dict[str, Any]:
    """The steps over all shards: people, manifests, catalog, card. Reports by name. One run at a time, others wait."""
    return _build(root, DATASET_STEPS, progress)


def judge_again(root: DataRoot, progress: Tell = lambda line: None) -> dict[str, Any]:
    """What a changed policy asks for: the manifests, catalog and card of the people as they are known."""
    known = root.single("identities").exists()
    return _build(root, {name: DATASET_STEPS[name] for name in DATASET_STEPS if not known or name in JUDGED}, progress)


def _build(root: DataRoot, steps: Mapping[str, Callable[[DataRoot], Any]], progress: Tell) -> dict[str, Any]:
    reports = {}
    with waited_for(root.folder("5_manifest")):
        for name, build in steps.items():
            reports[name] = build(root)
            progress(f"{name}: done")
    return reports


def require_weights() -> None:
    """UserError naming the command where a network that a step cannot do without is missing."""
    weights.path("face_landmarker")
    weights.path(default_encoder())


def _counts(report: StepReport) -> str:
    rows = ", ".join(f"{count} {table}" for table, count in report.rows.items())
    rejects = ", ".join(f"{count} {reason}" for reason, count in report.rejects.items())
    return f"{rows}; {report.kept} kept" + (f"; left out: {rejects}" if rejects else "")
