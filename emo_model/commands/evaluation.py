"""emo evaluate, proof: any method's videos under the same protocol, and whether each stage learned. Without Dagster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emo_model.errors import UserError

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--method", help="Name in the table; the folder's name otherwise.")
@click.option("--metric", "metrics", multiple=True, help="One of the metrics; may be repeated. All of them otherwise.")
@click.option("--out", type=click.Path(path_type=Path), help="Where table and report go; below 8_evaluation otherwise.")
def evaluate(folder: Path, method: str | None, metrics: tuple[str, ...], out: Path | None) -> None:
    """Measure the videos FOLDER/CLIP_ID.mp4 of any method against the test clips of the data root.

    Prints the table beside ground truth, its floor and a copy of the first frame; writes markdown, CSV, parquet, HTML.
    """
    from emo_model.data.store import DataRoot
    from emo_model.evaluate import (
        ALL,
        Protocol,
        VideoPair,
        evaluate_methods,
        shortest_seconds,
        write_report,
        write_table,
    )
    from emo_model.evaluate.table import measured, to_markdown

    root = DataRoot.from_environment().require()
    rows = [row for row in _test_clips(root) if (folder / f"{row['clip_id']}.mp4").is_file()]
    if not rows:
        raise UserError(f'no CLIP_ID.mp4 of a test clip in {folder}; run: emo query "SELECT clip_id FROM clips"')
    pairs = [
        VideoPair(
            row["clip_id"],
            row["identity_id"],
            real=Path(row["path"]),
            generated=(folder / f"{row['clip_id']}.mp4").absolute(),
            sound=Path(row["sound_path"]) if row["sound_path"] else None,
        )
        for row in rows
    ]
    chosen = metrics or ALL
    seconds = shortest_seconds(pairs, root=root)
    protocol = Protocol.freeze("eval", [pair.clip_id for pair in pairs], metrics=chosen, seconds=seconds)
    name = method or folder.absolute().name
    numbers = evaluate_methods({name: pairs}, protocol, root=root, metrics=chosen, report=_tell)
    out = out or root.part("evaluations", f"{name}-{protocol.hash}").parent
    write_table(numbers, protocol, out)
    write_report(numbers, protocol, {name: pairs}, out, root=root)
    click.echo(to_markdown(measured(numbers)))
    click.echo(f"\n{out / 'report.html'}")


def _test_clips(root: "DataRoot") -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    from emo_model.data.manifests import manifest_path

    path = manifest_path(root, "eval")
    if not path.is_file():
        raise UserError(f"no test set {path}; run: emo prepare FOLDER_OF_VIDEOS")
    return pq.read_table(path).to_pylist()


def _tell(row: dict[str, Any]) -> None:
    click.echo(f"{row['done']} of {row['of']}  {row['clip']}", err=True)


@click.group()
def proof() -> None:
    """Whether each control works in a small true world, and what each stage of a training run learned."""


@proof.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder; 6_checkpoints/true_world otherwise.")
@click.option("--seeds", default=3, show_default=True, help="Models trained from nothing.")
@click.option("--ablations/--no-ablations", default=True, show_default=True, help="Broken models, of seed 0.")
@click.option("--threads", type=int, help="CPU threads.")
def world(out: Path | None, seeds: int, ablations: bool, threads: int | None) -> None:
    """Train all three stages in a small true world, and measure each control on people and voices never seen.

    Heads by formula that speak real recordings, so that identity, mouth, place and rotation are known exactly. Hours on
    two cores; killed, the same command goes on. Writes OUT/proof.md. Exit code 1 where a bar is missed.
    """
    from emo_model import samples
    from emo_model.data.store import DataRoot
    from emo_model.true_world.proof import World, prove

    if out is None:
        out = DataRoot.from_environment().create().folder("6_checkpoints") / "true_world"
    folder = samples.default_folder()
    samples.fetch(folder)
    out.mkdir(parents=True, exist_ok=True)
    found = prove(World(out.absolute(), folder, click.echo, threads), seeds, ablations=ablations)
    click.echo(f"\n{out / 'proof.md'}")
    if not all(bar.met for bar in found):
        sys.exit(1)


@proof.command(name="stages")
@click.argument("run_dir", required=False, type=click.Path(path_type=Path))
@click.option("--batches", default=16, show_default=True, help="Of 8 windows, each with its own noise and timestep.")
@click.option("--threads", type=int, help="CPU threads.")
@click.option(
    "--held-out",
    "more",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A data root of people RUN_DIR never saw, asked about as well; may be repeated.",
)
def stages_(run_dir: Path | None, batches: int, threads: int | None, more: tuple[Path, ...]) -> None:
    """What each stage learned up to the finished training run RUN_DIR: the newest one otherwise.

    Start and end of every stage on the same windows, noise and timesteps, and stage 3 with other clips' head speeds;
    with 95 % intervals. Writes RUN_DIR/proof.json. Exit code 1 where a bar is not met on the people held out.
    """
    import torch

    from emo_model.data.store import DataRoot
    from emo_model.evaluate.table import to_markdown
    from emo_model.train.proof import Comparison, bars, grid, newest_run, prove

    def tell(comparison: Comparison) -> None:
        asked = f"{comparison.stage}, people {comparison.people}, {' -> '.join(comparison.answers)}"
        click.echo(f"{asked}: {comparison.change:+.2%}", err=True)

    root = DataRoot.from_environment().require()
    if threads:
        torch.set_num_threads(threads)
    run_dir = run_dir.absolute() if run_dir else newest_run(root)
    found = prove(root, run_dir, batches, report=tell, more=[DataRoot(path.absolute()) for path in more])
    click.echo(f"{to_markdown(grid(found))}\n")
    for bar, met in bars(found):
        click.echo(f"{'yes' if met else 'NO '}  {bar}")
    click.echo(f"\n{run_dir / 'proof.json'}")
    if not all(met for _, met in bars(found)):
        sys.exit(1)


COMMANDS = (evaluate, proof)
