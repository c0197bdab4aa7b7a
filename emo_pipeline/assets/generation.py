"""Group evaluation, first half: videos from the newest model for every test clip.

    7_generated/RUN/{generation.json, METHOD.parquet (its clips), METHOD/CLIP.mp4, compared/CLIP.png, compared/CLIP.mp4}
    7_generated/CSV/{NAME.mp4, NAME.json, made_from.txt}        pairs of one's own, which no metric looks at

Here: which clips, with which model. How a video is made: emo_model.generate.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from emo_model.errors import UserError
from emo_pipeline import look
from emo_pipeline.assets.shards import OWNER
from emo_pipeline.checkpoints import champion, checkpoint_of
from emo_pipeline.failures import one_line
from emo_pipeline.lineage import find_latest, lineage
from emo_pipeline.resources import Data

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot
    from emo_model.evaluate import Protocol, VideoPair
    from emo_model.figures import Row
    from emo_model.generate import Settings

GUIDANCE = "Classifier-free guidance: one scale, or one a condition as motion=1.5,reference=2,audio=3.5; 1: none."
SAMPLER = "ddim (the paper's), dpm++ or unipc, which need fewer steps."
SEED = "Names the noise: the same seed gives the same video."
OURS, CHAMPION = RESERVED = "ours", "champion"


COMPARED, COMPARED_CLIPS = "compared", 3  # folder of contact sheets and side-by-side films; clips that get them


class GenerationConfig(dg.Config):
    """How test videos are made. Clips and their length are part of the protocol: numbers compare under equal ones."""

    protocol: str = Field(default="demo", description="demo, HDTF-open-v1 or web-clips-v1 (evaluate/protocol.py).")
    clips: int | None = Field(default=None, description="At most this many test clips; empty: all of the protocol's.")
    seconds: float = Field(default=10.0, description="Seconds of each clip (demo; a named protocol has its own).")
    steps: int = Field(default=40, description="Denoising steps (section 4.1).")
    sampler: str = Field(default="ddim", description=SAMPLER)
    guidance: str = Field(default="3.5", description=GUIDANCE)
    seed: int = Field(default=0, description=SEED)
    speed: str = Field(
        default="median",
        description="Head speed, degrees a frame at 30 fps; a CSV file with a curve; median (of the buckets) or none.",
    )
    face_region: str = Field(
        default="auto", description="Where the head may move: auto, free or a factor of the face's box; of pairs any."
    )
    pairs: str | None = Field(
        default=None,
        description="Instead of test clips, pairs of your own: a CSV file, absolute or below the data root, of columns "
        "name, portrait, audio and optionally speed, face_region; paths from the CSV's folder. Their videos go to "
        "7_generated/NAME_OF_THE_CSV, and no metric looks at them; protocol, clips, seconds, with_champion do nothing.",
    )
    with_champion: bool = Field(
        default=True, description="Generate with the champion too, to compare under one protocol."
    )

    def settings(self) -> "Settings":
        """The same as the work wants it."""
        from emo_model.generate import Settings
        from emo_model.generate.guidance import Guidance
        from emo_model.generate.portrait import parse_region
        from emo_model.generate.speed_curve import parse_speed

        return Settings(
            steps=self.steps, sampler=self.sampler, guidance=Guidance.parse(self.guidance), seed=self.seed,
            speed=parse_speed(self.speed), face_region=parse_region(self.face_region),
        )  # fmt: skip


@dg.asset(
    deps=["speed_checkpoint", "eval_manifest"], group_name="evaluation", kinds={"pytorch", "ffmpeg"}, owners=[OWNER],
    code_version="3", pool="gpu",
    output_required=False,  # not made where pairs were: what is evaluated stays, and what evaluates it is skipped
)  # fmt: skip
def generated_videos(
    context: dg.AssetExecutionContext, config: GenerationConfig, data: Data
) -> Iterator[dg.MaterializeResult]:
    """A video for each test clip, from its first frame and its sound; mp4 at 30 fps with that sound. Or, with pairs in
    the launchpad, of portraits and voices of your own."""
    if config.pairs:
        _pairs_videos(context, config, data.root)
    else:
        yield _test_videos(context, config, data)


@one_line
def _pairs_videos(context: dg.AssetExecutionContext, config: GenerationConfig, root: "DataRoot") -> None:
    """A video for each pair. They are told as an observation: the asset itself stays what is evaluated."""
    from emo_model.generate import generate_pairs

    pairs = root.path / str(config.pairs)
    model = checkpoint_of(context, root, "speed")
    found = generate_pairs(
        model, pairs, _folder_of(root, pairs), settings=config.settings(), progress=context.log.info,
        warn=context.log.warning,
    )  # fmt: skip
    seen: dict[str, Any] = {
        "pairs": dg.MetadataValue.path(str(pairs)),
        "checkpoint": root.relative(model),
        "videos": len(found.made),
        "kept": found.kept,
        "bad rows": dg.MetadataValue.md("\n".join(f"- {line}" for line in found.wrong) or "none"),
        "path": dg.MetadataValue.path(str(root.folder("7_generated") / pairs.stem)),
    }
    context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata=seen))


def _folder_of(root: "DataRoot", pairs: Path) -> Path:
    """Where a CSV's videos go. UserError where a run of test clips, or another CSV of that name, has its own there."""
    from emo_model.data.store import write_text

    folder = root.folder("7_generated") / pairs.stem
    record = folder / "made_from.txt"
    whose = record.read_text(encoding="utf-8") if record.is_file() else None
    if whose != str(pairs) and folder.exists():
        raise UserError(f"{folder} holds {f'the videos of {whose}' if whose else 'other files'}; rename {pairs.name}, "
                        "then launch generated_videos again")  # fmt: skip
    if pairs.is_file() and whose is None:
        write_text(record, str(pairs))
    return folder


@one_line
def _test_videos(context: dg.AssetExecutionContext, config: GenerationConfig, data: Data) -> dg.MaterializeResult:
    from emo_model.data.store import text_sha256, write_json
    from emo_model.evaluate.clips import prepare
    from emo_model.generate.video import checkpoint_sha256

    root, folder = data.root, data.root.folder("7_generated") / lineage(context)
    clips = test_clips(root, config.clips, config.protocol)
    protocol = freeze(clips, config)
    prepare(root, clips, protocol)
    models = {OURS: checkpoint_of(context, root, "speed")}
    if known := _known_people(models[OURS], clips):
        raise UserError(
            f"{root.relative(models[OURS])} learned from {', '.join(known[:5])}, who are in eval_manifest: numbers on "
            "them mean nothing; launch train_all, it learns from today's training people"
        )
    if config.with_champion and (rival := _other_champion(root, models[OURS])):
        if known := _known_people(rival, clips):
            context.log.warning(f"the champion is left out: it learned from {', '.join(known[:5])}, who are tested now")
        else:
            models[CHAMPION] = rival
    for method, model in models.items():
        make_videos(context, root, model, folder / method, config, clips, protocol.seconds)
    record = {
        "protocol": dataclasses.asdict(protocol),
        "clips": clips,
        "models": {
            method: {"checkpoint": root.relative(path), "sha256": checkpoint_sha256(path)}
            for method, path in models.items()
        },
        "config": config.model_dump(),
    }
    write_json(folder / "generation.json", record)
    first = folder / OURS / f"{clips[0]['clip_id']}.mp4"
    compared = _compare(root, folder, clips, tuple(models), protocol.seconds)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(text_sha256(protocol.hash, record["models"], record["config"])),
        metadata={
            "generation": root.relative(folder),
            "videos": len(clips) * len(models),
            "protocol": protocol.hash,
            "path": dg.MetadataValue.path(str(first)),
            "frames": look.rows(compared, protocol.seconds, "the first clip, real and generated"),
            "side by side": dg.MetadataValue.path(str(folder / COMPARED)),
        },
    )


def _compare(
    root: "DataRoot", folder: Path, clips: list[dict[str, Any]], methods: tuple[str, ...], seconds: float
) -> "list[Row]":
    """A contact sheet and a film of the first clips, as filmed beside each method's; returns the first one's rows."""
    from emo_model.figures import Row
    from emo_model.figures.contact_sheet import write_contact_sheet
    from emo_model.figures.side_by_side import side_by_side

    (folder / COMPARED).mkdir(parents=True, exist_ok=True)
    every = []
    for clip in clips[:COMPARED_CLIPS]:
        name = f"{clip['clip_id']}.mp4"
        rows = [Row("as filmed", root.path / clip["path"]), *(Row(m, folder / m / name) for m in methods)]
        write_contact_sheet(folder / COMPARED / f"{clip['clip_id']}.png", rows, seconds=seconds)
        side_by_side(folder / COMPARED / name, rows, seconds=seconds, sound=root.path / clip["sound_path"])
        every.append(rows)
    return every[0]


def _known_people(model: Path, clips: list[dict[str, Any]]) -> list[str]:
    """Test people a checkpoint has learned from."""
    from emo_model.train.learned import learned_from

    return sorted(learned_from(model.parents[1], "identity_id") & {clip["identity_id"] for clip in clips})


def test_clips(root: "DataRoot", at_most: int | None = None, protocol: str = "demo") -> list[dict[str, Any]]:
    """Rows of eval_manifest that a protocol measures. UserError where there are none."""
    from emo_model.evaluate.clips import read

    return read(root, name=protocol, limit=at_most)


def freeze(clips: list[dict[str, Any]], config: GenerationConfig, **values: Any) -> "Protocol":
    """The protocol of these clips under a launchpad's numbers."""
    from emo_model.evaluate import clips as clips_

    return clips_.freeze(clips, config.protocol, **values, **_seconds(config))


def _seconds(config: GenerationConfig) -> dict[str, float]:
    return {"seconds": config.seconds} if config.protocol == "demo" else {}


def make_videos(
    context: dg.AssetExecutionContext,
    root: "DataRoot",
    model: Path,
    folder: Path,
    config: GenerationConfig,
    clips: list[dict[str, Any]],
    seconds: float,
) -> None:
    """folder/CLIP.mp4 for each test clip; finished ones are kept."""
    from emo_model.generate import generate_manifest

    generate_manifest(
        model,
        _manifest_of(root, clips, folder.with_name(f"{folder.name}.parquet")),
        root,
        folder,
        settings=config.settings(),
        max_seconds=seconds,
        progress=lambda line: context.log.info(f"{folder.name} {line}"),
    )


def _manifest_of(root: "DataRoot", clips: list[dict[str, Any]], path: Path) -> Path:
    """The rows of eval_manifest for these clips, as a manifest of their own."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from emo_model.data.manifests import manifest_path
    from emo_model.data.store import write_parquet

    rows = pq.ParquetFile(manifest_path(root, "eval")).read()
    write_parquet(path, rows.filter(pc.is_in(rows["clip_id"], pa.array([clip["clip_id"] for clip in clips]))))
    return path


def _other_champion(root: "DataRoot", newest: Path) -> Path | None:
    """The champion's checkpoint, if there is one and it is another."""
    record = champion(root)
    path = root.path / record["checkpoint"] if record else None
    return path if path and path.exists() and path != newest else None


# ---- what the metrics read ----


@dataclasses.dataclass(frozen=True)
class Generation:
    """One generation.json, read back: what is measured, under which protocol."""

    folder: Path
    protocol: "Protocol"
    methods: "dict[str, list[VideoPair]]"
    models: Mapping[str, Mapping[str, str]]

    @property
    def name(self) -> str:
        """The run that generated it."""
        return self.folder.name


def latest_generation(context: dg.AssetExecutionContext, root: "DataRoot") -> Generation:
    """Of this run, else the last one; with every folder methods/NAME as a method."""
    from emo_model.evaluate import Protocol, methods
    from emo_model.evaluate.clips import pair

    folder = find_latest(
        context, root, "generated_videos", "generation", root.folder("7_generated"),
        lambda found: found if (found / "generation.json").exists() else None,
    )  # fmt: skip
    record = json.loads((folder / "generation.json").read_text())
    protocol = Protocol.of(record["protocol"])
    folders = {method: folder / method for method in record["models"]} | methods.folders(root.path, RESERVED)
    answers = {method: (where, methods.videos(where)) for method, where in folders.items()}
    pairs = {
        method: [pair(root, clip, methods.answer(where, clip["clip_id"], found), protocol) for clip in record["clips"]]
        for method, (where, found) in answers.items()
    }
    return Generation(folder, protocol, pairs, record["models"])
