"""emo ablation: Table 2 and figure 7 of any checkpoint, without Dagster."""

from pathlib import Path
from typing import Literal

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("what", type=click.Choice(["speed", "face-region"]))
@click.option("--checkpoint", type=FILE, help="Checkpoint or finished run; else the data root's newest of stage speed.")
@click.option(
    "--clips", default=2, show_default=True, help="Clips of the test set; VMV, a variance over them, needs 2."
)
@click.option("--seconds", default=3.0, show_default=True, help="Seconds of each.")
@click.option("--speeds", default="0.1,0.7,1.3,1.9", show_default=True, help="Assigned speeds, degrees a frame.")
@click.option("--steps", default=20, show_default=True, help="Denoising steps.")
@click.option("--sampler", default="ddim", show_default=True, help="ddim, dpm++ or unipc.")
@click.option("--guidance", default="3.5", show_default=True, help="One scale, or reference=2,audio=3.5,speed=1.")
@click.option("--seed", default=0, show_default=True)
@click.option("--manifest", type=FILE, help="Another test set; else the data root's: emo manifest --test-set.")
@click.option("--out", type=FILE, help="Where table and plot go; below 8_evaluation otherwise.")
def ablation(
    what: Literal["speed", "face-region"],
    checkpoint: Path | None,
    clips: int,
    seconds: float,
    speeds: str,
    steps: int,
    sampler: str,
    guidance: str,
    seed: int,
    manifest: Path | None,
    out: Path | None,
) -> None:
    """Does a control do its work? Generates test clips again with other speeds (the paper's Table 2) or other face
    regions (figure 7), and measures the heads as the training data is measured.

    Prints the table; writes table.md, numbers.json and plot.png. Finished videos are kept.
    """
    from emo_model.data.store import DataRoot
    from emo_model.evaluate.ablations import Sample, face_region_ablation, parse_speeds, speed_ablation
    from emo_model.generate import Settings
    from emo_model.generate.guidance import Guidance
    from emo_model.generate.video import checkpoint_sha256
    from emo_model.train.finished import checkpoint_in, newest

    root = DataRoot.from_environment().require()
    asked = parse_speeds(speeds)
    sample = Sample(
        clips, seconds, Settings(steps=steps, sampler=sampler, guidance=Guidance.parse(guidance), seed=seed)
    )
    checkpoint = checkpoint_in(checkpoint) if checkpoint else newest(root)
    name, run = f"{what.replace('-', '_')}_ablation", checkpoint_sha256(checkpoint)[:12]
    videos, out = root.folder("7_generated") / run / name, out or root.folder("8_evaluation") / name / run
    say = lambda line: click.echo(line, err=True)  # noqa: E731
    if what == "speed":
        found = speed_ablation(checkpoint, root, videos, out, sample, asked, manifest, say)
    else:
        found = face_region_ablation(checkpoint, root, videos, out, sample, manifest, say)
    click.echo(found.table)
    for path in (found.plot, *found.sheets):
        click.echo(click.format_filename(path))


COMMANDS = (ablation,)
