"""emo train, generate, export: the model without Dagster."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from emo_model.errors import UserError

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot
    from emo_model.networks.config import SpeedBuckets

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("stage", type=click.Choice(["image", "video", "speed"]))
@click.argument("run_dir", type=FILE)
@click.option(
    "--start", type=FILE, help="Checkpoint folder to start from; for video and speed the newest of the stage before."
)
@click.option("--preset", default="TINY", show_default=True, help="Sizes and numbers: TINY or PAPER.")
@click.option("--steps", type=int, help="Optimizer steps; the preset's otherwise.")
@click.option("--batch-size", type=int, help="Clips a step; the preset's otherwise.")
@click.option("--learning-rate", type=float, help="The preset's otherwise.")
@click.option("--noise", help="Noise recipe of stage image: sd15, velocity, clean or modern; later stages keep it.")
@click.option(
    "--set",
    "changed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other number of emo_model/train/config.py, as ema_decay=0.999 or accumulate=4; may be repeated.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=int, help="CPU threads; the same number gives the same bits.")
@click.option(
    "--processes", default=0, help="Ranks (GPUs) on a machine, under torchrun; 0: one, with Slurm all it gives."
)
@click.option("--slurm", metavar="OPTIONS", help="Submit a job with these options of sbatch, one torchrun a node.")
def train(
    stage: Literal["image", "video", "speed"],
    run_dir: Path,
    start: Path | None,
    preset: str,
    noise: str | None,
    changed: tuple[str, ...],
    processes: int,
    slurm: str | None,
    **numbers: Any,
) -> None:
    """Train one STAGE (section 3.3: image, then video, then speed) in RUN_DIR.

    Reads the manifests of the data root. The same command goes on where it was stopped, and so does
    `python -m emo_model.train RUN_DIR/run.json`.
    """
    from emo_model.config import preset as sizes_of
    from emo_model.data.manifests import has_rows, manifest_path
    from emo_model.data.store import DataRoot
    from emo_model.train import stages
    from emo_model.train.__main__ import main
    from emo_model.train.begin import begin, provenance
    from emo_model.train.config import RunSpec
    from emo_model.train.finished import newest
    from emo_model.train.ranks import GRACE_S
    from emo_model.train.slurm import submit

    root, run_dir = DataRoot.from_environment().require(), run_dir.absolute()
    clips = "stage1" if stage == "image" else "stage2"
    heldout = manifest_path(root, f"held_out_{clips}")
    manifest, run_file = manifest_path(root, f"train_{clips}"), run_dir / "run.json"
    if start is None and (before := stages.stage(stage).follows):
        start = RunSpec.read(run_file).start if run_file.exists() else newest(root, before)
        click.echo(f"starting from {start}", err=True)
    spec = RunSpec(
        stage=stage,
        preset=preset,
        start=start and start.absolute(),  # a job may run elsewhere
        manifest=manifest,
        heldout=heldout if has_rows(heldout) else None,
        root=root.path,
        run_dir=run_dir,
        speed_buckets=_buckets(root) if stage == "speed" else None,
        changed=_named(changed) | ({} if noise is None else {"noise": noise}),
        # A run that goes on keeps its own copy of the manifest it began with.
        provenance=RunSpec.read(run_file).provenance if run_file.exists() else provenance(manifest),
        **numbers,
    )
    spec.config(sizes_of(preset).train)  # a number that does not fit is told before anything is written
    begin(spec, other_numbers=True)
    if slurm is None:
        raise SystemExit(main([str(run_file), f"--processes={processes}"]))
    for line in submit(run_file, slurm, processes, GRACE_S).lines():
        click.echo(line)


def _named(changed: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE texts as a dictionary; TrainConfig says which names and values there are."""
    for text in changed:
        if "=" not in text:
            raise UserError(f"{text!r}: NAME=VALUE is wanted; run: emo train --set ema_decay=0.999")
    return dict(text.split("=", 1) for text in changed)


def _buckets(root: "DataRoot") -> "SpeedBuckets":
    """Of the training people, as `emo prepare` found them."""
    import json

    from emo_model.networks.config import SpeedBuckets

    path = root.folder("5_manifest") / "speed_buckets.json"
    if not path.is_file():
        raise UserError(f"no {path.name} in {path.parent}; run: emo prepare FOLDER_OF_VIDEOS")
    value = json.loads(path.read_text())
    return SpeedBuckets(centres=value["centres"], radii=value["radii"])


@click.command()
@click.option("--portrait", type=FILE, required=True, help="Any picture: photo, painting, drawing.")
@click.option("--audio", type=FILE, required=True, help="Any file with sound, of any length.")
@click.option("--out", type=FILE, required=True, help="The video, .mp4.")
@click.option(
    "--checkpoint",
    type=FILE,
    help="Folder of a checkpoint or a finished run; else the data root's newest of stage speed.",
)
@click.option(
    "--speed",
    default="median",
    show_default=True,
    help="How fast the head turns: degrees a frame, a CSV file of lines SECONDS,DEGREES, median (of buckets), none.",
)
@click.option(
    "--face-region",
    default="auto",
    show_default=True,
    help="Where the head may move: auto, free, a factor of the face's box, X0,Y0,X1,Y1 in the portrait's pixels, or a "
    "picture of the portrait's size, white where the face may be.",
)
@click.option("--steps", default=40, show_default=True, help="Of DDIM fewer than 36 flicker (section 4.1).")
@click.option("--sampler", default="ddim", show_default=True, help="ddim, dpm++ or unipc; the latter need fewer steps.")
@click.option(
    "--guidance",
    default="3.5",
    show_default=True,
    help="1: the paper read literally, twice as fast. Or a scale each: motion=1.5,reference=2,audio=3.5.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same video.")
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "bf16"]), default="auto", show_default=True,
    help="Of the networks; auto: bf16 on a GPU. Half the memory of weights, other last bits.",
)  # fmt: skip
@click.option("--compile", "compiled", is_flag=True, help="torch.compile in the first clip, which takes minutes.")
@click.option("--size", type=int, help="Pixels a side of the file, even; the network's own otherwise.")
@click.option("--paste-back", is_flag=True, help="The whole portrait, with the face moving in it.")
@click.option("--mark", is_flag=True, help="Write AI-generated into the picture, too.")
@click.option("--resume/--no-resume", default=True, help="Go on where the same command was stopped.", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def generate(
    portrait: Path,
    audio: Path,
    out: Path,
    checkpoint: Path | None,
    speed: str,
    face_region: str,
    guidance: str,
    steps: int,
    sampler: str,
    seed: int,
    **rest: Any,
) -> None:
    """A video of the portrait speaking the audio, as long as the audio and with it, at 30 fps.

    Finished clips are kept in OUT.partial: the same command goes on where it was stopped. The file says inside that it
    is synthetic, and how it was made.
    """
    from emo_model.data.store import DataRoot
    from emo_model.generate import Settings
    from emo_model.generate import generate as make
    from emo_model.generate.guidance import Guidance
    from emo_model.generate.portrait import parse_region
    from emo_model.generate.progress import Countdown
    from emo_model.generate.speed_curve import parse_speed
    from emo_model.train.finished import newest

    settings = Settings(
        speed=parse_speed(speed),
        face_region=parse_region(face_region),
        guidance=Guidance.parse(guidance),
        steps=steps,
        sampler=sampler,
        seed=seed,
    )
    checkpoint = checkpoint or newest(DataRoot.from_environment().require())
    say = lambda line: click.echo(line, err=True)  # noqa: E731
    report = make(checkpoint, portrait, audio, out, settings=settings, progress=Countdown(say), tell=say, **rest)
    click.echo(
        f"{click.format_filename(report.path)}: {report.frames} frames in {report.clips} clips, "
        f"{report.seconds:.0f} s, {report.peak_memory_gb:.1f} GB"
    )


@click.command()
@click.argument("checkpoint", type=FILE)
@click.argument("folder", type=FILE)
def export(checkpoint: Path, folder: Path) -> None:
    """The parts of CHECKPOINT that plain diffusers loads, in a new FOLDER; its README.md says which and how.

    unet, reference_unet, motion_adapter, vae, scheduler; what diffusers has no class for as safetensors.
    """
    from emo_model.export import export as write

    for part in write(checkpoint, folder):
        click.echo(part)


COMMANDS = (train, generate, export)
