"""emo compare: a contact sheet or a film of videos beside each other. emo proof sheet: one of the proof."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emo_model.commands.evaluation import proof
from emo_model.errors import UserError

if TYPE_CHECKING:
    from emo_model.figures import Row

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="[LABEL=]VIDEO...")
@click.option("--out", type=FILE, required=True, help="SHEET.png, or FILM.mp4 with sound.")
@click.option("--portrait", "portraits", type=FILE, multiple=True,
              help="SHEET: what a video was made from, in a column of its own; one for all, or one each.")  # fmt: skip
@click.option("--columns", type=int, help="SHEET: instants in a line.  [default: 8]")
@click.option("--lines", type=int, help="SHEET: lines, for long takes.  [default: 1]")
@click.option("--height", type=int, help="Pixels of a picture.  [default: 160; FILM: as the videos, 256 to 512]")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="At most so long, from their beginning.")
@click.option("--sound", type=FILE, help="FILM: the file that is heard; else the first video that has sound.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def compare(
    videos: tuple[str, ...],
    out: Path,
    portraits: tuple[Path, ...],
    columns: int | None,
    lines: int | None,
    height: int | None,
    seconds: float | None,
    sound: Path | None,
    overwrite: bool,
) -> None:
    """VIDEOs beside each other, each under its LABEL (else its file's name): what all of them show at the same time.

    As a PNG with videos in rows and time in columns, or as an MP4 with sound. They may differ in size, frame rate and
    length, which is then said in the picture. A picture file stands beside them as it is.
    """
    from emo_model.figures.contact_sheet import write_contact_sheet
    from emo_model.figures.side_by_side import side_by_side

    kind = out.suffix.lower()
    sheet = {name: value for name, value in (("columns", columns), ("lines", lines)) if value is not None}
    _refuse(out, (".png", ".mp4"), overwrite, "emo compare VIDEO... --out SHEET.png (or FILM.mp4)")
    if kind == ".png" and sound:
        raise UserError(f"{out} is a picture: --sound is for a film; run: emo compare VIDEO... --out FILM.mp4 --sound")
    if kind == ".mp4" and (sheet or portraits):
        raise UserError(f"{out} is a film: --columns, --lines and --portrait are for a sheet; run: emo compare "
                        "VIDEO... --out SHEET.png")  # fmt: skip
    rows = _rows(videos, portraits)
    out.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".png":
        write_contact_sheet(out, rows, seconds=seconds, **sheet, **({} if height is None else {"height": height}))
    else:
        side_by_side(out, rows, height=height, seconds=seconds, sound=sound)
    click.echo(click.format_filename(out))


def _refuse(out: Path, kinds: tuple[str, ...], overwrite: bool, command: str) -> None:
    """UserError where `out` is of another kind than is written, or is there and may not be replaced."""
    if out.suffix.lower() not in kinds:
        wrong = f"no {kinds[0]}" if len(kinds) == 1 else f"neither {' nor '.join(kinds)}"
        raise UserError(f"{out} is {wrong}; run: {command}")
    if out.is_dir():
        raise UserError(f"{out} is a folder; run: {command}")
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already; choose another name, or run the same command with --overwrite")


def _rows(videos: tuple[str, ...], portraits: tuple[Path, ...]) -> "list[Row]":
    from emo_model.figures import Row

    if len(portraits) > 1 and len(portraits) != len(videos):
        raise UserError(f"{len(portraits)} portraits for {len(videos)} videos: one for all, or one each is wanted; "
                        "run: emo compare A.mp4 B.mp4 --portrait P.jpg --out SHEET.png")  # fmt: skip
    beside = portraits * len(videos) if len(portraits) == 1 else portraits or (None,) * len(videos)
    return [Row(*_named(text), portrait) for text, portrait in zip(videos, beside, strict=True)]


def _named(text: str) -> tuple[str, Path]:
    """LABEL=VIDEO, or a file under its own name: names of both may hold a =, so the file that is there decides."""
    if not Path(text).exists():
        splits = [(text[:at], Path(text[at + 1 :])) for at, letter in enumerate(text) if letter == "="]
        found = next((split for split in splits if split[1].exists()), splits[0] if splits else None)
        if found is not None:
            return found
    return Path(text).stem, Path(text)


@proof.command(name="sheet")
@click.argument("sheet", type=FILE)
@click.option("--out", type=FILE, help="Folder of the proof; 6_checkpoints/true_world otherwise.")
@click.option("--seed", default=0, show_default=True, help="Which of its models.")
@click.option("--video", default=0, show_default=True, help="Which of its first eight videos.")
@click.option("--height", type=click.IntRange(32, 512), default=96, show_default=True, help="Pixels of a picture.")
@click.option("--overwrite", is_flag=True, help="Replace SHEET.")
def proof_sheet_(sheet: Path, out: Path | None, seed: int, video: int, height: int, overwrite: bool) -> None:
    """What each control makes of a portrait in the small true world, as a contact sheet SHEET.png."""
    from emo_model.data.store import DataRoot, atomic
    from emo_model.true_world.pictures import proof_sheet

    _refuse(sheet, (".png",), overwrite, "emo proof sheet SHEET.png")
    out = out or DataRoot.from_environment().require().folder("6_checkpoints") / "true_world"
    picture = proof_sheet(out, seed, video, height)
    sheet.parent.mkdir(parents=True, exist_ok=True)
    with atomic(sheet) as temporary:
        picture.save(temporary, "PNG", optimize=True)
    click.echo(click.format_filename(sheet))


COMMANDS = (compare,)
