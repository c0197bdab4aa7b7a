"""The data's path as a whole: its order, what stops it before it starts, bad files, and doing nothing twice."""

import shutil
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from emo_model import samples
from emo_model.cli import main
from emo_model.data import sources
from emo_model.data.catalog import query
from emo_model.data.pipeline import DATASET_STEPS, SHARD_STEPS, prepare
from emo_model.data.records import REASONS, TABLES
from emo_model.data.store import DataRoot


def test_every_step_comes_after_the_steps_it_reads_and_no_table_has_two_writers():
    names = [step.name for step in SHARD_STEPS]
    for place, step in enumerate(SHARD_STEPS):
        assert set(step.after) <= set(names[:place]), f"{step.name} runs before {step.after}"
    written = [table for step in SHARD_STEPS for table in step.tables]
    assert len(written) == len(set(written)) and set(written) <= set(TABLES)


def test_sound_and_head_pose_do_not_wait_for_the_crops():
    after = {step.name: step.after for step in SHARD_STEPS}
    assert after["clip_audio"] == after["head_pose"] == ("shots_and_faces",)


def test_missing_weights_are_one_line_with_the_command_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("EMO_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("EMO_DATA", str(tmp_path / "root"))
    result = CliRunner().invoke(main, ["prepare", str(tmp_path)])
    assert result.exit_code == 2 and result.output.count("\n") == 1
    assert "run: emo weights get face_landmarker" in result.output
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("command", [["query", "SELECT 1"], ["catalog"], ["why", "x"], ["preview", "x"]])
def test_a_missing_data_root_is_one_line_with_the_command(command, tmp_path, monkeypatch):
    monkeypatch.setenv("EMO_DATA", str(tmp_path / "root"))
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2 and result.output.count("\n") == 1 and "run: emo prepare" in result.output


def test_the_command_line_starts_without_the_heavy_libraries():
    import subprocess

    code = (
        "import sys, emo_model.cli; print([m for m in ('torch', 'mediapipe', 'pyarrow', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> DataRoot:
    """One good silent film among every kind of bad file, prepared."""
    folder = samples.default_folder() / "videos"
    if not folder.is_dir():
        pytest.skip("no sample media; run: emo samples get")
    films = tmp_path_factory.mktemp("films")
    good = films / "ein Kopf, 'schräg' \"neu\".mp4"
    shutil.copy(folder / "carphone/carphone_pristine.mp4", good)
    shutil.copy(good, films / "same again.mp4")
    shutil.copy(folder / "nobody/no_face.mp4", films / "no_face.mp4")
    (films / "empty.mp4").touch()
    (films / "text.mp4").write_text("not a film\n")
    (films / "cut.mp4").write_bytes(good.read_bytes()[:100_000])
    root = DataRoot(tmp_path_factory.mktemp("root")).create()
    sources.add_folder(root, films, licence="CC0")
    prepare(root)
    return root


@pytest.mark.weights
def test_each_bad_file_ends_with_its_reason_and_the_good_clip_survives(root):
    files = dict(query(root, "SELECT uri, reason FROM videos")[1])
    assert files == {
        "ein Kopf, 'schräg' \"neu\".mp4": None, "same again.mp4": "duplicate_of", "no_face.mp4": None,
        "empty.mp4": "empty_file", "text.mp4": "unreadable", "cut.mp4": "truncated",
    }  # fmt: skip
    assert query(root, "SELECT num_frames, has_audio FROM clips")[1] == [(120, False)]
    reasons = {reason for (reason,) in query(root, "SELECT DISTINCT reason FROM rejected WHERE policy IS NULL")[1]}
    assert {"duplicate_of", "empty_file", "unreadable", "truncated", "no_face"} <= reasons <= set(REASONS)


@pytest.mark.weights
def test_a_second_run_keeps_everything_and_every_byte(root):
    before = {path: path.read_bytes() for path in root.path.rglob("*.parquet")}
    report = prepare(root)
    assert [step.step for step in report.steps if step.done] == []
    assert before == {path: path.read_bytes() for path in root.path.rglob("*.parquet")}
    assert list(report.dataset) == list(DATASET_STEPS)


@pytest.mark.weights
def test_the_tables_have_exactly_their_schemas(root):
    import pyarrow.parquet as pq

    for step in SHARD_STEPS:
        for table in step.tables:
            found = pq.read_schema(root.part(table, "s0000"))
            assert found.equals(TABLES[table].schema), table
            assert [field.metadata for field in found] == [field.metadata for field in TABLES[table].schema]


@pytest.mark.weights
def test_a_clips_preview_is_a_small_picture_of_it(root, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("EMO_DATA", str(root.path))
    [(clip,)] = query(root, "SELECT clip_id FROM clips")[1]
    result = CliRunner().invoke(main, ["preview", clip[:8], "--out", str(tmp_path / "a.jpg")])
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "a.jpg").size == (768, 128) and (tmp_path / "a.jpg").stat().st_size <= 20_000


@pytest.mark.weights
def test_a_clips_preview_is_also_a_film_of_it_with_sound(root, tmp_path, monkeypatch):
    from emo_model.data.media import frames, probe

    monkeypatch.setenv("EMO_DATA", str(root.path))
    [(clip, count, heard)] = query(root, "SELECT clip_id, num_frames, has_audio FROM clips")[1]
    result = CliRunner().invoke(main, ["preview", clip, "--out", str(tmp_path / "a.mp4")])
    assert result.exit_code == 0, result.output
    pictures = [picture for _, picture in frames(tmp_path / "a.mp4")]
    assert len(pictures) == count and probe(tmp_path / "a.mp4").has_audio == heard
    yellow = (np.abs(pictures[5].astype(int) - [255, 220, 0]) < 60).all(axis=2)
    assert yellow.sum() > 100  # the face box


@pytest.mark.weights
def test_the_query_command_prints_columns_or_csv(root, monkeypatch):
    monkeypatch.setenv("EMO_DATA", str(root.path))
    ask = ["query", "SELECT reason, count(*) AS n FROM rejected WHERE reason = 'truncated' GROUP BY 1"]
    assert CliRunner().invoke(main, ask).output.split() == ["reason", "n", "truncated", "1"]
    assert CliRunner().invoke(main, [*ask, "--csv"]).output.splitlines() == ["reason,n", "truncated,1"]


@pytest.mark.weights
def test_the_shards_sheets_show_its_clips_and_an_example_of_each_reason_and_are_made_once(root):
    from PIL import Image

    from emo_model.data.sheets import SIDE, reject_tiles, small, write_sheets

    sheets = write_sheets(root, "s0000")
    made = {path: path.stat().st_mtime_ns for path in (sheets.clips, sheets.rejects)}
    assert Image.open(sheets.clips).width == SIDE  # one clip
    tiles = list(reject_tiles(root, "s0000", root.read("rejected", "s0000").to_pylist()))
    shown = {tile.lines[0].split()[0]: np.asarray(tile.picture) for tile in tiles}
    assert set(shown) == {row["reason"] for row in root.read("rejected", "s0000").to_pylist()}
    assert shown["no_face"].std() > 10  # a frame of the film
    assert shown["empty_file"].std() == 0  # there is no picture of nothing
    assert len(small(sheets.rejects)) <= 20_000
    assert write_sheets(root, "s0000") == sheets
    assert made == {path: path.stat().st_mtime_ns for path in made}
    sheets.clips.with_suffix(".inputs").write_text("other rows")
    write_sheets(root, "s0000")
    assert all(path.stat().st_mtime_ns > before for path, before in made.items())
