"""emo evaluate, report, study, proof: any methods' videos under one protocol, and whether each stage learned."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emo_model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emo_model.data.store import DataRoot
    from emo_model.evaluate import Protocol, VideoPair


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--protocol", "name", default="demo", show_default=True, help="demo, HDTF-open-v1 or web-clips-v1.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Test clips; 5_manifest/eval.parquet otherwise.")
@click.option("--seconds", type=float, help="Of each clip (demo); as many as the shortest video has otherwise.")
@click.option("--clips", type=int, help="At most so many of the test clips.")
@click.option("--metric", "metrics", multiple=True, help="One of the metrics; may be repeated. All of them otherwise.")
@click.option("--out", type=click.Path(path_type=Path), help="Where table and report go; below 8_evaluation otherwise.")
def evaluate(
    folders: tuple[Path, ...],
    name: str,
    manifest: Path | None,
    seconds: float | None,
    clips: int | None,
    metrics: tuple[str, ...],
    out: Path | None,
) -> None:
    """Measure the videos of methods, FOLDER/CLIP_ID.mp4 or what FOLDER/clips.csv maps, against the test clips.

    Each FOLDER is a row of the table, called like it; without any, all of methods/ in the data root. Beside them stand
    the ground truth, its floor, and answers that need no model. Writes markdown, CSV, parquet and HTML.
    """
    from emo_model.data.store import DataRoot, text_sha256
    from emo_model.evaluate import ALL, evaluate_methods, write_table
    from emo_model.evaluate import methods as methods_
    from emo_model.evaluate.clips import freeze, prepare
    from emo_model.evaluate.table import MAIN, others, table_1, to_markdown
    from emo_model.report import write_report

    root = DataRoot.from_environment().require()
    named = {folder.absolute().name: folder.absolute() for folder in folders} or methods_.folders(root.path)
    rows, seconds = _test_clips(root, named, name, manifest, seconds, clips)
    chosen = metrics or ALL
    protocol = freeze(rows, name, metrics=chosen, **({} if seconds is None else {"seconds": seconds}))
    prepare(root, rows, protocol)
    pairs = {method: _pairs(root, folder, rows, protocol) for method, folder in named.items()}
    kept = root.folder("8_evaluation") / "features"
    found = evaluate_methods(pairs, protocol, root=root, metrics=chosen, features=kept, report=_tell)
    for line in methods_.sentences(found.findings):
        click.echo(line, err=True)
    run = f"{'-'.join(named)}-{text_sha256(*named.values(), protocol.hash)[:12]}"
    out = out or root.part("evaluations", run).parent
    write_table(found, out)
    page = write_report(found, out / "report", root=root.path, overwrite=True)
    asked = any(row.metric.partition("[")[0] in MAIN for row in found.rows)
    click.echo(to_markdown(table_1(found.rows) if asked else others(found.rows)))
    click.echo(f"\nprotocol {protocol.name} {protocol.hash}, {len(rows)} clips, {protocol.seconds:.4g} s of each")
    click.echo(page)


def _test_clips(
    root: "DataRoot",
    named: "Mapping[str, Path]",
    name: str,
    manifest: Path | None,
    seconds: float | None,
    clips: int | None,
) -> tuple[list[dict[str, Any]], float | None]:
    """The clips to measure and the seconds of each, None: as the protocol has them.

    The demo protocol bends to what is there: it takes the clips that every method has, for as long as the shortest
    video lasts. A named protocol is what it is, and a method that falls short of it gets dashes.
    """
    from emo_model.evaluate import methods as methods_
    from emo_model.evaluate import shortest_seconds
    from emo_model.evaluate.clips import freeze, read

    rows = read(root, manifest, name, clips)
    if not named:
        raise UserError(f"no videos to measure in {root.path / 'methods'}; run: emo evaluate FOLDER")
    if name != "demo":
        if seconds is not None:
            raise UserError(f"{name} says how many seconds are measured; --seconds goes with --protocol demo")
        return rows, None
    found = {method: methods_.videos(folder) for method, folder in named.items()}
    for method, folder in named.items():
        if not any(row["clip_id"] in found[method] for row in rows):
            raise UserError(f'no video of a test clip in {folder}; run: emo query "SELECT clip_id FROM clips"')
    rows = [row for row in rows if all(row["clip_id"] in known for known in found.values())]
    if not rows:
        raise UserError(f"{', '.join(named)} have no test clip in common; run: emo evaluate FOLDER for each")
    if seconds is None:
        pairs = [pair for folder in named.values() for pair in _pairs(root, folder, rows, freeze(rows, metrics=()))]
        seconds = min(shortest_seconds(pairs, root=root), 10.0)
    return rows, seconds


def _pairs(root: "DataRoot", folder: Path, rows: list[dict[str, Any]], protocol: "Protocol") -> "list[VideoPair]":
    from emo_model.evaluate import methods
    from emo_model.evaluate.clips import pair

    found = methods.videos(folder)
    return [pair(root, row, methods.answer(folder, row["clip_id"], found), protocol) for row in rows]


def _tell(row: dict[str, Any]) -> None:
    click.echo(f"{row['done']} of {row['of']}  {row['clip']}", err=True)


@click.command()
@click.argument("evaluation", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder, or file; EVALUATION/report otherwise.")
@click.option("--single-file", is_flag=True, help="Tables and plots without media, as one file to send.")
@click.option("--overwrite", is_flag=True, help="Replace a report in --out; the evaluation's own is always replaced.")
def report(evaluation: Path | None, out: Path | None, single_file: bool, overwrite: bool) -> None:
    """The page to open: tables, plots, the worst and best clips to watch, every clip's scores, the protocol.

    Of the EVALUATION that lies in a folder (`emo evaluate` and Dagster write such): the newest in the data root
    otherwise. The report is a folder that opens from disk, and can be sent as it is.
    """
    from emo_model.data.store import DataRoot
    from emo_model.report import newest, read, write_report, write_single_file

    root = DataRoot.from_environment()
    evaluation, overwrite = evaluation or newest(root.require()), overwrite or out is None
    found = read(evaluation)
    if single_file:
        click.echo(write_single_file(found, out or evaluation / "report.html", overwrite=overwrite))
    else:
        click.echo(write_report(found, out or evaluation / "report", root=root.path, overwrite=overwrite))


@click.command()
@click.argument("evaluation", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The study's folder; study/ in the data root otherwise.")
@click.option(
    "--method", "methods", multiple=True, help="One to show; may be repeated. All and ground truth otherwise."
)
@click.option("--clips", type=click.IntRange(1), default=10, show_default=True, help="At most so many test clips.")
@click.option(
    "--collect", type=click.Path(path_type=Path), help="Compute the table from the raters' files in a folder."
)
def study(
    evaluation: Path | None, out: Path | None, methods: tuple[str, ...], clips: int, collect: Path | None
) -> None:
    """A blind rating page: all methods on the same portrait and voice, lip sync and vividness from 1 to 5.

    Writes STUDY/page, a folder to hand out, of an EVALUATION's videos (the newest otherwise), and STUDY/key.json, which
    tells the methods and stays here. The page saves one file a rater; with --collect FOLDER those files become
    STUDY/table.md: means with intervals, and how far the raters agree.
    """
    from emo_model.data.store import DataRoot
    from emo_model.report import newest, read
    from emo_model.study import Key, write_study, write_table
    from emo_model.study import collect as collected

    root = DataRoot.from_environment()
    out = out or root.path / "study"
    if collect is not None:
        ratings = collected(collect, Key.read(out / "key.json"))
        for line in ratings.refused:
            click.echo(f"not counted: {line}", err=True)
        table = write_table(ratings, out)
        click.echo(f"{table.read_text(encoding='utf-8')}\n{table}")
        return
    found = read(evaluation or newest(root.require()))
    key = write_study(found, out, root=root.path, methods=methods, clips=clips)
    click.echo(f"{len(key.methods)} methods on {len(key.clips)} clips", err=True)
    click.echo(f"{out / 'page' / 'index.html'}   hand out the folder page/; key.json stays here")
    click.echo(f"afterwards: emo study --collect FOLDER_OF_RATINGS --out {out}")


@click.group()
def proof() -> None:
    """Whether each control works in a small true world, and what each stage of a training run learned."""


@proof.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder; 6_checkpoints/true_world otherwise.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Models trained from nothing.")
@click.option("--ablations/--no-ablations", default=True, show_default=True, help="Broken models, of seed 0.")
@click.option("--jobs", type=click.IntRange(min=1), help="Seeds at a time, a CPU thread each; else one a core.")
def world(out: Path | None, seeds: int, ablations: bool, jobs: int | None) -> None:
    """Train all three stages in a small true world; measure each control on people never seen, speech never heard.

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
    # Small networks gain little from a second thread, and a seed's numbers are the same beside others.
    at_once = min(seeds, jobs or os.cpu_count() or 1)
    found = prove(World(out.absolute(), folder, click.echo, threads=1), seeds, ablations=ablations, jobs=at_once)
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


COMMANDS = (evaluate, report, study, proof)
