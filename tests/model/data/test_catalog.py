"""The catalog: the questions people ask it, its comments, and that it survives a move and a reader."""

import shutil
import subprocess
import sys

import pytest

from emo_model.data.card import write_card
from emo_model.data.catalog import build_catalog, catalog_path, query
from emo_model.data.manifests import build_manifest
from emo_model.data.policy import policy
from emo_model.data.records import TABLES
from emo_model.data.splits import build_splits
from emo_model.data.store import DataRoot, write_rows
from emo_model.data.why import why
from emo_model.errors import UserError

from .small_root import CLIPS, small_root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> DataRoot:
    root = small_root(tmp_path_factory.mktemp("root"))
    build_splits(root)
    for name in ("train_stage1", "train_stage2", "eval"):
        build_manifest(root, policy(root, name))
    build_catalog(root)
    return root


def ask(root: DataRoot, sql: str) -> list[tuple]:
    return query(root, sql)[1]


def test_hours_by_split(root):
    rows = dict(ask(root, "SELECT split, sum(num_frames) / 30 / 3600 FROM clips GROUP BY 1"))
    assert set(rows) == {"train", "test"}
    assert sum(rows.values()) == pytest.approx(sum(frames for _, _, frames, *_ in CLIPS.values()) / 108000)


def test_rejects_by_reason(root):
    rows = dict(ask(root, "SELECT reason, count(*) FROM rejected WHERE policy IS NULL GROUP BY 1"))
    assert rows == {"truncated": 1, "two_faces": 1}
    assert ask(root, "SELECT DISTINCT policy FROM rejected WHERE reason = 'train_only'") == [("eval",)]


def test_speed_histogram_of_all_frames(root):
    rows = ask(root, "SELECT floor(speed_deg / 0.1) AS bin, count(*) FROM frames GROUP BY 1 ORDER BY 1")
    assert sum(count for _, count in rows) == sum(frames for _, _, frames, *_ in CLIPS.values())


def test_the_ten_fastest_heads(root):
    rows = ask(root, "SELECT clip_id, mean_speed FROM clips ORDER BY mean_speed DESC, clip_id LIMIT 10")
    assert rows[:3] == [("c0", 2.5), ("b0", 1.5), ("a1", 0.9)]


def test_mean_speed_by_clip_from_the_frames_agrees_with_the_clips_own(root):
    rows = ask(root, "SELECT clip_id, avg(speed_raw_deg) FROM frames GROUP BY 1 ORDER BY 2 DESC LIMIT 10")
    assert rows[0][0] == "c0" and rows[0][1] == pytest.approx(2.5, rel=0.1)


def test_frames_with_yaw_over_40_degrees(root):
    assert ask(root, "SELECT clip_id, count(*) FROM frames WHERE abs(yaw) > 40 GROUP BY 1") == [("c0", 90)]


def test_clips_without_sound(root):
    assert ask(root, "SELECT clip_id FROM clips WHERE NOT has_audio") == [("c0",)]


def test_one_clips_track(root):
    rows = ask(root, "SELECT frame, t_s, box FROM frames WHERE clip_id = 'a1' ORDER BY frame")
    assert [row[0] for row in rows] == list(range(300)) and rows[30][1] == 1.0


def test_people_by_hours(root):
    rows = ask(root, "SELECT identity_id, sum(num_frames) FROM clips GROUP BY 1 ORDER BY 2 DESC")
    assert rows[0] == ("Ada", 600) and rows[-1] == ("Cleo", 90)


def test_speed_quantiles_by_source(root):
    [(source, p50)] = ask(root, "SELECT source, quantile_cont(speed_p50, 0.5) FROM clips GROUP BY 1")
    assert source == "films" and p50 == pytest.approx(0.7)


def test_stage_2_candidates_under_a_policy(root):
    kept = {clip for (clip,) in ask(root, "SELECT clip_id FROM train_stage2")}
    sql = "SELECT clip_id FROM clips WHERE split = 'train' AND has_audio AND num_frames >= 16"
    assert kept and kept == {clip for (clip,) in ask(root, sql)}


def test_every_column_of_every_table_has_a_comment(root):
    missing = ask(root, "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL")
    assert missing == []
    [(comment,)] = ask(
        root, "SELECT comment FROM duckdb_columns() WHERE table_name = 'frames' AND column_name = 'speed_deg'"
    )
    assert "degrees a frame at 30 fps" in comment and "null" in comment


def test_a_moved_root_says_what_to_run_and_a_rebuild_finds_the_new_place(root, tmp_path):
    moved = DataRoot(tmp_path / "moved")
    shutil.copytree(root.path, moved.path)
    hidden = root.path.with_name("away")
    root.path.rename(hidden)
    try:
        with pytest.raises(UserError, match="run: emo catalog"):
            ask(moved, "SELECT count(*) FROM frames")
        build_catalog(moved)
        assert ask(moved, "SELECT count(*) FROM frames")[0][0] == 1062
    finally:
        hidden.rename(root.path)


def test_a_rebuild_gives_the_same_version_and_leaves_nothing_behind(root):
    first = build_catalog(root)
    assert build_catalog(root).data_version == first.data_version
    assert first.rows["clip_rows"] == len(CLIPS) and first.rows["frames"] == 1062
    assert [path.name for path in root.path.glob("*duckdb*")] + list(root.path.glob(".catalog*")) == ["catalog.duckdb"]


READER = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=True) as catalog:
    print(catalog.execute("SELECT count(*) FROM clips").fetchone()[0], flush=True)
    sys.stdin.readline()
    print(catalog.execute("SELECT count(*) FROM frames").fetchone()[0], flush=True)
"""


def test_a_rebuild_neither_waits_for_a_reader_nor_disturbs_it(root):
    command = [sys.executable, "-c", READER, str(catalog_path(root))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline().strip() == "6"
        build_catalog(root)
        print("go on", file=reader.stdin, flush=True)
        assert reader.stdout.readline().strip() == "1062"


def test_an_empty_data_root_has_a_catalog_with_every_table_and_no_rows(tmp_path):
    root = DataRoot(tmp_path).create()
    report = build_catalog(root)
    assert {rows for table, rows in report.rows.items() if table != "scores"} == {0}
    assert {"videos", "frames", "audio", "rejected"} <= set(report.rows)


def test_no_root_no_catalog_and_wrong_sql_are_one_line_saying_what_to_run(root, tmp_path):
    with pytest.raises(UserError, match="run: emo prepare"):
        ask(DataRoot(tmp_path / "nowhere"), "SELECT 1")
    with pytest.raises(UserError, match="run: emo catalog"):
        ask(DataRoot(tmp_path).create(), "SELECT 1")
    with pytest.raises(UserError, match="SHOW TABLES") as error:
        ask(root, "SELECT nothing FROM nowhere")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="read-only"):
        ask(root, "DROP TABLE videos")


def test_why_names_the_reason_and_the_policy(root):
    assert "truncated, the file ends before the media it declares" in why(root, "source of broken")
    of_video = why(root, "va")
    assert "2 clips, 20.0 s" in of_video and "two_faces" in of_video
    of_clip = why(root, "c0")
    assert "scored as: sharpness" not in of_clip and "not scored" not in of_clip
    assert "without sound" in of_clip and "left out by policy train_stage1" in of_clip and "Cleo (test)" in of_clip
    with pytest.raises(UserError, match="nothing is called"):
        why(root, "no such thing")


def test_the_card_counts_hours_people_licences_and_rejects(root):
    report = write_card(root)
    assert report.path.read_text() == report.text
    for fact in ("| films | CC0 | 5 | 4 | 6 |", "a second face is in the picture", "unknown:VIDEO_ID", "| 25.0 | 4 |"):
        assert fact in report.text
    assert write_card(root).data_version == report.data_version


def test_why_says_what_the_scores_found_and_which_could_not_look(tmp_path):
    root = small_root(tmp_path)
    rows = root.read("clip_rows", "s0000").to_pylist()
    rows[0] |= {"blur": 5.0, "no_model": ["hands_fraction", "text_area"]}
    write_rows(root.part("clip_rows", "s0000"), TABLES["clip_rows"], rows)
    build_catalog(root)
    told = why(root, rows[0]["clip_id"])
    assert "scored as: " in told and "here 5)" in told
    assert "not scored: hands_fraction, text_area: no_model; run: emo weights list" in told
