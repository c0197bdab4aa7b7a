"""The report's folder: what stands in it, what it links to, what it never does."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from emo_model.data import media
from emo_model.data.removal import shown
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from emo_model.evaluate import COPY, GROUND_TRUTH, Evaluation
from emo_model.evaluate.outputs import ClipScore
from emo_model.generate import synthetic
from emo_model.report import newest, read, write_report, write_single_file
from emo_model.report.clips import to_watch
from emo_model.report.films import write_film
from emo_model.report.tables import Notes, clip_table, tables
from emo_model.study import write_study
from tests.model.evaluate.conftest import write_video
from tests.model.report.conftest import ODD, frames, hum, row


class Parsed(HTMLParser):
    """Tags with their attributes, the links, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [v for _, given in self.tags for name, v in given.items() if name in ("src", "href", "poster") and v]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [given for name, given in self.tags if name == tag]


def test_every_link_leads_to_a_file_of_the_folder(page: Path) -> None:
    parsed = Parsed(page.read_text())
    files = [link.partition("#")[0] for link in parsed.links() if not link.startswith("#")]
    assert len(files) == 10 and not any(":" in link or link.startswith("/") for link in files)
    assert all((page.parent / link).is_file() for link in files)
    inside = {given["id"] for _, given in parsed.tags if "id" in given}
    assert {link[1:] for link in parsed.links() if link.startswith("#")} <= inside
    there = {path.name for path in (page.parent / "media").iterdir()}
    assert there == {Path(link).name for link in files}  # nothing is in the folder that nobody sees


def test_names_are_text_and_never_markup_nor_paths(page: Path) -> None:
    parsed = Parsed(page.read_text())
    assert (
        ODD in parsed.text
        and "49" not in ODD
        and "alert(" not in re.findall(r"<script>(.*?)</script>", page.read_text(), re.S)[0]
    )
    assert len(parsed.of("script")) == 1
    assert all(re.fullmatch(r"c[01]-[a-z0-9-]+\.(mp4|jpg)", path.name) for path in (page.parent / "media").iterdir())


def test_films_play_in_browsers_and_bring_the_voice(page: Path) -> None:
    """Real clips are lossless RGB without sound, which no browser plays."""
    for film in (page.parent / "media").glob("*.mp4"):
        with av.open(str(film)) as container:
            video, sound = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert sound.codec_context.name == "aac"
        assert 0.05 < np.abs(media.audio(film, 0.1, 0.4)).max() < 0.5  # the hum of 6000 / 32768
    [real] = (page.parent / "media").glob("c0-ground-truth-*.mp4")
    shown = np.stack([picture for _, picture in media.frames(real)]).astype(int)
    assert shown.shape == frames(40).shape and np.abs(shown - frames(40)).mean() < 4


def test_what_a_browser_plays_already_is_linked_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "given.mp4"
    media.write_video(source, frames(90), 30, (64, 64), hum().astype(np.float32) / 32768)
    write_film(tmp_path / "media" / "film.mp4", source)
    assert (tmp_path / "media" / "film.mp4").samefile(source)
    silent = tmp_path / "silent.mp4"
    media.write_video(silent, frames(90), 30, (64, 64))
    voice = write_video(tmp_path / "voice.mkv", frames(0), sound=hum())
    write_film(tmp_path / "media" / "heard.mp4", silent, voice)
    assert media.probe(tmp_path / "media" / "heard.mp4").has_audio
    assert not (tmp_path / "media" / "heard.mp4").samefile(silent) and not media.probe(silent).has_audio


def test_a_film_says_that_it_is_synthetic_where_its_video_does(tmp_path: Path) -> None:
    from emo_model.generate import mp4

    mp4.write_film(tmp_path / "film.mp4", frames(90))
    mp4.join(tmp_path / "made.mp4", [tmp_path / "film.mp4"], None, {"checkpoint": "x"})
    voice = write_video(tmp_path / "voice.mkv", frames(0), sound=hum())
    write_film(tmp_path / "shown.mp4", tmp_path / "made.mp4", voice)
    assert '"checkpoint' in synthetic.said(tmp_path / "shown.mp4") and media.probe(tmp_path / "shown.mp4").has_audio


def test_a_broken_and_a_missing_video_are_said_in_their_place(
    evaluation: Evaluation, data: Path, tmp_path: Path
) -> None:
    spoilt = Path(shutil.copytree(data, tmp_path / "spoilt"))
    (spoilt / "1-0.mkv").write_bytes(b"no video" * 100)
    (spoilt / "2-1.mkv").unlink()
    page = write_report(evaluation, tmp_path / "report", root=spoilt).read_text()
    assert page.count("no video to show: ") == 2 and len(Parsed(page).of("video")) == 6
    assert len(Parsed(page).of("img")) == 2  # of both clips a sheet, with the rows that can be shown


def test_worst_and_best_are_by_distance_from_the_ground_truth(evaluation: Evaluation) -> None:
    """ours is 0.25 off in c0 and 1.0 off in c1; the other 2.0 and 0.5."""
    shown = {(watch.method, watch.pair.clip_id): watch.reasons for watch in to_watch(evaluation)}
    assert shown == {
        ("ours", "c1"): ["worst by head_velocity: 0.500, ground truth 1.500"],
        ("ours", "c0"): ["best by head_velocity: 1.250, ground truth 1.000"],
        (ODD, "c0"): ["worst by head_velocity: 3.000, ground truth 1.000"],
        (ODD, "c1"): ["best by head_velocity: 2.000, ground truth 1.500"],
    }


def test_without_scores_a_method_shows_its_first_clip(evaluation: Evaluation) -> None:
    found = to_watch(replace(evaluation, clips=()))
    assert [(w.method, w.pair.clip_id) for w in found] == [("ours", "c0"), (ODD, "c0")]
    assert all("no number" in w.reasons[0] for w in found)


def test_a_dash_leads_to_its_reason_and_printed_numbers_stand_apart(evaluation: Evaluation) -> None:
    notes = Notes()
    ours, more, printed = tables(evaluation.rows, notes)
    fid = {line.name: line.cells[0] for line in ours.lines}
    assert notes.texts == ["no weights: emo weights get inception"]
    assert fid["ours"].text == "–" and fid["ours"].note == 1 and fid[GROUND_TRUTH].note == 0
    [speed] = more.lines
    assert speed.name == "head_velocity"
    cell = speed.cells[more.heads.index("ours") - 1]
    assert (cell.text, cell.interval, cell.count) == ("0.875", "[0.375, 1.375]", "n=30")
    assert not {line.name for line in printed.lines} & {"ours", COPY}
    assert not any("67.66" in cell.text for table in (ours, more) for line in table.lines for cell in line.cells)


def test_a_stand_in_keeps_its_name(evaluation: Evaluation) -> None:
    rows = [*evaluation.rows, row("ours", "f_sim[dlib-resnet]", 81.0, extractor="dlib-resnet")]
    ours = tables(rows, Notes())[0]
    assert "f_sim[dlib-resnet]" in ours.heads and "f_sim" not in ours.heads


def test_a_clip_without_a_value_is_a_dash_that_sorts_as_nothing() -> None:
    notes = Notes()
    table = clip_table([
        ClipScore("ours", "c0", "ann", "syncnet", None, 0, 9, "no face"),
        ClipScore("ours", "c1", "ann", "syncnet", 3.0, 7, 9, None),
    ], notes)  # fmt: skip
    first, second = (line.cells[2] for line in table.lines)
    assert (first.text, first.count, first.note, first.sort) == ("–", "0 of 9", 1, None) and notes.texts == ["no face"]
    assert (second.text, second.count, second.sort) == ("3.000", "7 of 9", 3.0)


def test_a_report_is_not_overwritten_unless_asked_and_nothing_else_ever(
    evaluation: Evaluation, data: Path, page: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(page.parent, tmp_path / "report"))
    (folder / "media" / "old.mp4").touch()
    with pytest.raises(UserError, match="is there already; run: emo report --overwrite"):
        write_report(evaluation, folder, root=data)
    assert (folder / "media" / "old.mp4").exists()
    assert write_report(evaluation, folder, root=data, overwrite=True).read_bytes() == page.read_bytes()
    assert not (folder / "media" / "old.mp4").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("my own page")
    with pytest.raises(UserError, match="is no report"):
        write_report(evaluation, mine, root=data, overwrite=True)
    assert (mine / "index.html").read_text() == "my own page"
    assert not list(tmp_path.glob(".report-*"))


def test_a_single_file_needs_no_other(evaluation: Evaluation, tmp_path: Path) -> None:
    parsed = Parsed(write_single_file(evaluation, tmp_path / "tables.html").read_text())
    assert all(link.startswith("#") for link in parsed.links())
    assert not parsed.of("video") and not parsed.of("img") and len(parsed.of("table")) == 4
    assert "67.66 / 192.77" in parsed.text and evaluation.protocol.hash in parsed.text
    with pytest.raises(UserError, match="is there already"):
        write_single_file(evaluation, tmp_path / "tables.html")


def test_plots_take_the_pages_colours(evaluation: Evaluation, tmp_path: Path) -> None:
    page = write_single_file(evaluation, tmp_path / "tables.html").read_text()
    [drawn] = re.findall(r'<svg viewBox.*?aria-hidden="true" focusable="false">(.*?)</svg>', page, re.S)
    assert not re.findall(r"#(?:[0-9a-f]{6})\b", drawn)
    assert {"var(--ink)", "var(--soft)", "var(--line-1)", "var(--line-2)"} <= set(
        re.findall(r"var\(--[a-z0-9-]+\)", drawn)
    )
    [image] = [given for tag, given in Parsed(page).tags if given.get("role") == "img"]
    # ground truth: mean of 1.0 + 0.01 t and 1.5 + 0.01 t over t = 1..14
    assert "ground truth mean 1.325" in str(image["aria-label"])


def test_a_sheet_has_a_row_a_method(page: Path) -> None:
    image = Parsed(page.read_text()).of("img")[0]
    assert str(image["alt"]).endswith(f"rows from the top: ground truth, ours, {ODD}")
    with Image.open(page.parent / str(image["src"])) as sheet:
        assert sheet.size == (int(str(image["width"])), int(str(image["height"]))) and sheet.height > 3 * 112


def test_an_evaluation_is_found_or_said_to_be_missing(evaluation: Evaluation, tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "root").create()
    with pytest.raises(UserError, match="no evaluation in .*run: emo evaluate"):
        newest(root)
    for name in ("first", "second"):
        evaluation.write(root.part("evaluations", name).parent)
    assert newest(root).name == "shard=second"
    assert read(newest(root)).rows == evaluation.rows
    (newest(root) / "frames.parquet").unlink()
    with pytest.raises(UserError, match="frames.parquet not there; run: emo evaluate"):
        read(newest(root))


def test_who_is_taken_out_is_found_in_reports_and_studies(evaluation: Evaluation, data: Path, tmp_path: Path) -> None:
    """The first clip is of video aaa..., the second of bbb...; files that are handed out are named, not deleted."""
    ids = {"c0": f"{'a' * 12}_00000000", "c1": f"{'b' * 12}_00000000"}
    renamed = replace(
        evaluation,
        protocol=replace(evaluation.protocol, clips=tuple(ids.values())),
        methods={
            method: [replace(pair, clip_id=ids[pair.clip_id]) for pair in pairs]
            for method, pairs in evaluation.methods.items()
        },
        clips=(),
    )
    root = DataRoot(tmp_path).create()
    page = write_report(renamed, root.part("evaluations", "r").parent / "report", root=data)
    for name, count in (("both", 2), ("first", 1)):
        write_study(renamed, tmp_path / "study" / name, root=data, clips=count, methods=("ours", GROUND_TRUTH))
    found = {path.relative_to(tmp_path).as_posix() for path in shown(root, {"b" * 64})}
    sheet = next(page.parent.glob("media/bbbb*-sheet-*.jpg")).relative_to(tmp_path).as_posix()
    assert found == {sheet, "study/both/page"}  # without scores the films are of the first clip
    first = {path.name.partition("_")[0] for path in shown(root, {"a" * 64})}
    assert first == {"a" * 12, "page"} and not list(shown(root, {"c" * 64}))
