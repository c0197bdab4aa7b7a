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
@click.option("--start", type=FILE, help="Checkpoint folder to start from; video and speed need one.")
@click.option("--preset", default="TINY", show_default=True, help="Sizes and numbers: TINY or PAPER.")
@click.option("--steps", type=int, help="Optimizer steps; the preset's otherwise.")
@click.option("--batch-size", type=int, help="Clips a step; the preset's otherwise.")
@click.option("--learning-rate", type=float, help="The preset's otherwise.")
@click.option("--noise", help="Noise recipe of stage image: sd15, velocity or modern; later stages keep it.")
@click.option(
    "--set",
    "changed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other number of emo_model/train/config.py, as ema_decay=0.999 or accumulate=4; may be repeated.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=int, help="CPU threads; the same number gives the same bits.")
def train(
    stage: Literal["image", "video", "speed"],
    run_dir: Path,
    start: Path | None,
    preset: str,
    noise: str | None,
    changed: tuple[str, ...],
    **numbers: Any,
) -> None:
    """Train one STAGE (section 3.3: image, then video, then speed) in RUN_DIR.

    Reads the manifests of the data root. The same command goes on where it was stopped.
    """
    from emo_model.data.manifests import manifest_path
    from emo_model.data.store import DataRoot
    from emo_model.train.config import RunSpec
    from emo_model.train.loop import Interrupted
    from emo_model.train.loop import train as train_stage

    root = DataRoot.from_environment().require()
    clips = "stage1" if stage == "image" else "stage2"
    heldout = manifest_path(root, f"held_out_{clips}")
    spec = RunSpec(
        stage=stage,
        preset=preset,
        start=start,
        manifest=manifest_path(root, f"train_{clips}"),
        heldout=heldout if _has_rows(heldout) else None,
        root=root.path,
        run_dir=run_dir,
        speed_buckets=_buckets(root) if stage == "speed" else None,
        changed=_named(changed) | ({} if noise is None else {"noise": noise}),
        **numbers,
    )
    try:
        click.echo(train_stage(spec, report=_tell))
    except Interrupted as interrupted:
        click.echo(f"emo: {interrupted}", err=True)
        raise SystemExit(interrupted.exit_code) from None


def _named(changed: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE texts as a dictionary; TrainConfig says which names and values there are."""
    for text in changed:
        if "=" not in text:
            raise UserError(f"{text!r}: NAME=VALUE is wanted; run: emo train --set ema_decay=0.999")
    return dict(text.split("=", 1) for text in changed)


def _tell(row: dict) -> None:
    if row["step"] % 10 == 0 or row["step"] == 1:
        click.echo(f"step {row['step']:>7}  loss {row['loss']:.4f}  {row['seconds']:.2f} s", err=True)


def _has_rows(manifest: Path) -> bool:
    import pyarrow.parquet as pq

    return manifest.is_file() and pq.ParquetFile(manifest).metadata.num_rows > 0


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
@click.argument("checkpoint", type=FILE)
@click.argument("portrait", type=FILE)
@click.argument("sound", type=FILE)
@click.argument("out", type=FILE)
@click.option("--speed", default="median", show_default=True, help="Degrees a frame; median of the buckets; none.")
@click.option(
    "--face-region",
    default="auto",
    show_default=True,
    help="Where the head may move: auto, free, a factor of the face's box, X0,Y0,X1,Y1 in the portrait's pixels, or a "
    "picture of the portrait's size, white where the face may be.",
)
@click.option("--steps", default=40, show_default=True, help="Of DDIM; fewer than 36 flicker (section 4.1).")
@click.option("--guidance", default=3.5, show_default=True, help="1: the paper read literally, twice as fast.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same video.")
@click.option("--size", type=int, help="Pixels a side of the file, even; the network's own otherwise.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def generate(
    checkpoint: Path,
    portrait: Path,
    sound: Path,
    out: Path,
    speed: str,
    face_region: str,
    size: int | None,
    overwrite: bool,
    **rest: Any,
) -> None:
    """A video of PORTRAIT speaking SOUND, as long as the sound and with it: OUT.mp4, 30 fps.

    CHECKPOINT is a folder with model_index.json. The file says inside that it is synthetic.
    """
    from emo_model.generate import Settings
    from emo_model.generate import generate as make
    from emo_model.generate.portrait import parse_region

    settings = Settings(speed=_speed(speed), face_region=parse_region(face_region), **rest)
    report = make(checkpoint, portrait, sound, out, settings=settings, size=size, overwrite=overwrite, progress=_count)
    click.echo(
        f"{report.path}: {report.frames} frames in {report.clips} clips, {report.seconds:.0f} s, "
        f"{report.peak_memory_gb:.1f} GB"
    )


def _speed(text: str) -> float | str | None:
    if text in ("median", "none"):
        return None if text == "none" else text
    try:
        return float(text)
    except ValueError:
        raise UserError(f"head speed {text!r}: degrees a frame are wanted; run: emo generate --speed 0.7") from None


def _count(done: int, total: int) -> None:
    click.echo(f"{done}/{total} frames", err=True)


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
