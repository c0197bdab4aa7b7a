"""emo prepare, plan, catalog, manifest, query, why, preview, remove: the data without Dagster."""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emo_model.errors import UserError

if TYPE_CHECKING:
    from emo_model.data.manifests import ManifestReport
    from emo_model.data.store import DataRoot


def _root() -> "DataRoot":
    from emo_model.data.store import DataRoot

    return DataRoot.from_environment()


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--licence", default="unknown", help="Licence of the folder's videos, kept in every row.")
@click.option("--name", help="Name of the collection; the folder's own name otherwise.")
@click.option(
    "--identity",
    type=click.Choice(["none", "hdtf", "celebv-hq", "vfhq", "folder"]),
    default="none",
    help="What names the person: nothing, a data set's file names, or the sub-folder.",
)
@click.option(
    "--lists",
    "--hdtf",
    "annotations",
    type=click.Path(path_type=Path),
    help="HDTF's folder of lists, celebvhq_info.json, or VFHQ's meta_info: FOLDER then holds the data set's videos or "
    "clips; without FOLDER its videos are downloaded.",
)
@click.option("--rate", type=float, help="Megabytes a second of all downloads together; kept for this data root.")
@click.option("--pause", type=float, help="Seconds between two requests to a site; kept for this data root.")
@click.option("--preset", "preset_name", help="Whose crop size and limits to use; TINY's for a new data root.")
@click.option("--workers", default=2, show_default=True, help="Processes.")
@click.option("--shard", help="Only the steps of this shard (s0000): one machine's part.")
@click.option("--dataset", is_flag=True, help="Only what comes after all shards: manifests, catalog, card.")
@click.option(
    "--slurm",
    metavar="OPTIONS",
    help="Submit to Slurm instead, a task a shard. OPTIONS go to sbatch: '--partition=cpu --cpus-per-task=8', or ''.",
)
def prepare(
    folder: Path | None,
    licence: str,
    name: str | None,
    identity: str,
    annotations: Path | None,
    rate: float | None,
    pause: float | None,
    preset_name: str | None,
    workers: int,
    shard: str | None,
    dataset: bool,
    slurm: str | None,
) -> None:
    """Raw videos of FOLDER (and of earlier calls) -> clips, labels, manifests, catalog. Resumes where it stopped.

    Videos stay where they are. Without FOLDER: what is registered already, and what lies in 0_raw.
    """
    from emo_model.data import annotations as annotated
    from emo_model.data import pipeline, sources
    from emo_model.data.downloads import Downloads

    pipeline.require_weights()
    root = _root().create()
    if preset_name:
        from emo_model.config import preset

        preset(preset_name).data.save(root)
    asked = {name: value for name, value in (("rate_mb_s", rate), ("pause_s", pause)) if value is not None}
    if asked:
        Downloads.of(root).with_(**asked).save(root)
    if annotations:
        lists = annotated.read(annotations)
        click.echo("\n".join((lists.summary(), *(f"  {line}" for line in lists.defects))), err=True)
    if folder:
        sources.add_folder(root, folder, name, licence, identity, annotations)  # type: ignore[arg-type]
    elif annotations:
        sources.add_lists(root, annotations, name)
    if shard or dataset or slurm is not None:
        return _part(root, workers, shard, dataset, slurm)
    report = pipeline.prepare(root, workers=workers, progress=_tell)
    click.echo(f"{report.clips} clips in {root.path}; left out: {report.rejects or 'nothing'}")
    click.echo('look at them with: emo query "SELECT clip_id, split, mean_speed FROM clips"; emo preview CLIP')


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _part(root: "DataRoot", workers: int, shard: str | None, dataset: bool, slurm: str | None) -> None:
    """A part of `prepare`: one shard, what comes after all of them, or both as jobs."""
    from emo_model.data import pipeline, sources
    from emo_model.data.slurm import submit
    from emo_model.data.workers import Workers

    if shard:
        known = sorted({row["shard"] for row in sources.registered(root)})
        if shard not in known:
            raise UserError(f"no shard {shard!r}: wanted one of {known or 'none'}; to register sources: emo prepare")
        with Workers(workers) as processes:
            pipeline.prepare_shard(root, shard, processes, _tell)
    if dataset:
        with Workers(workers) as processes:
            pipeline.settle_doubles(root, processes, _tell)
        pipeline.build_dataset(root, _tell)
    if slurm is not None:
        sources.register(root)
        click.echo("\n".join(submit(root, slurm, workers).lines()))


@click.command()
@click.argument("source", nargs=-1, type=click.Path(path_type=Path))
def plan(source: tuple[Path, ...]) -> None:
    """What SOURCE... would cost: hours, shards, core-hours, disk, downloads. Starts nothing, asks no site.

    SOURCE is a folder of videos, a list of URLs (.txt) or a data set's lists (as for prepare --lists); without any:
    what is registered.
    """
    from emo_model.data.plan import plan as make

    click.echo("\n".join(make(_root() if source else _root().require(), source).lines()))


@click.command()
def catalog() -> None:
    """Build catalog.duckdb anew from the tables; seconds. Do this after the data root moved."""
    from emo_model.data.catalog import build_catalog

    report = build_catalog(_root())
    for table, rows in report.rows.items():
        click.echo(f"{table:16}{rows:>12}")
    click.echo(f"{report.path} in {report.seconds:.1f} s")


@click.command()
@click.argument("name", required=False)
@click.option("--own", is_flag=True, help="Copy NAME's policy into the data root, to be changed there.")
@click.option("--build", is_flag=True, help="Build NAME's manifest alone: 5_manifest/NAME.parquet.")
@click.option("--test-set", help="What `eval` is from now on: eval (all held-out people) or hdtf_test.")
def manifest(name: str | None, own: bool, build: bool, test_set: str | None) -> None:
    """Judge every clip anew by the policies; no video is touched. Then the catalog and its card.

    With NAME: show that policy, as it is in force. A file of yours, 5_manifest/policies/NAME.toml, is one, too.
    """
    from emo_model.data import pipeline, policy
    from emo_model.data.catalog import build_catalog
    from emo_model.data.manifests import build_manifest

    root = _root().require()
    if test_set:
        policy.choose_test_set(root, test_set)
    if name and own:
        click.echo(f"{policy.make_own(root, name)}: change it, then run: emo manifest")
    elif name and build:
        _manifest_line(build_manifest(root, policy.policy(root, name)))
        build_catalog(root)
    elif name:
        click.echo(policy.text(root, name), nl=False)
    else:
        reports = pipeline.judge_again(root)
        for title in ("train_manifest_stage1", "train_manifest_stage2", "eval_manifest"):
            _manifest_line(reports[title])


def _manifest_line(report: "ManifestReport") -> None:
    left_out = ", ".join(f"{count} {reason}" for reason, count in report.rejects.items())
    click.echo(f"{report.path.stem:14}{report.clips:>8} clips{report.hours:>10.3f} h   left out: {left_out or 0}")


@click.command()
@click.argument("sql")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values instead of columns.")
def query(sql: str, as_csv: bool) -> None:
    """Ask the catalog. `emo query "SHOW TABLES"`; `emo query "FROM duckdb_columns()"` has every comment."""
    from emo_model.data.catalog import query as ask

    names, rows = ask(_root(), sql)
    if as_csv:
        csv.writer(sys.stdout).writerows([names, *rows])
        return
    cells = [[_shown(value) for value in row] for row in [tuple(names), *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@click.command()
@click.argument("id")
def why(id: str) -> None:
    """What became of a source, video or clip, and why. ID may be its beginning, or a part of the file's name."""
    from emo_model.data.why import why as tell

    click.echo(tell(_root(), id))


@click.command()
@click.argument("clip")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write: .mp4 or .jpg; CLIP.mp4 otherwise."
)
def preview(clip: str, out: Path | None) -> None:
    """CLIP with face box, pose axes and head speed drawn: as a film with sound, or as a contact sheet (.jpg)."""
    from emo_model.data.previews import annotated_video, contact_sheet
    from emo_model.data.store import atomic

    path = out or Path(f"{clip}.mp4")
    if path.suffix.lower() in (".jpg", ".jpeg"):
        picture = contact_sheet(_root(), clip)
        with atomic(path.absolute()) as temporary:
            temporary.write_bytes(picture)
    else:
        annotated_video(_root(), clip, path.absolute())
    click.echo(path)


@click.command()
@click.argument("name")
@click.option("--workers", default=2, show_default=True, help="Processes a step.")
def remove(name: str, workers: int) -> None:
    """Take NAME (a person, source or video) out for good: out of every table and manifest, their clips deleted.

    Raw files stay; models that learned from NAME are listed.
    """
    from emo_model.data import pipeline, removal
    from emo_model.data.workers import Workers

    root = _root().require()
    done = removal.remove(root, name)
    click.echo(f"{name} is out: {len(done.videos)} videos, {done.files} files made of them deleted")
    for title, lines in (
        ("yours, and still there", done.raw),
        ("learned from them (delete these folders, then: emo train)", done.runs),
        ("generated from their clips (delete these files and folders)", done.generated),
        ("the same recording is also in (run: emo remove VIDEO)", done.twins),
    ):
        if lines:
            click.echo(f"{title}:")
            click.echo("\n".join(f"  {line}" for line in lines))
    click.echo("Dagster keeps small pictures of earlier runs: to forget them, wipe face_clips and clip_rows in its UI")
    with Workers(workers) as processes:  # now their rows; other pending work waits for: emo prepare
        for shard in done.shards:
            pipeline.prepare_shard(root, shard, processes, _tell)
    pipeline.build_dataset(root, _tell)


COMMANDS = (prepare, plan, catalog, manifest, query, why, preview, remove)
