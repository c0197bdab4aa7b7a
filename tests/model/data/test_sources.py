"""The registry: what is taken, how it is named, that shards only ever grow at the end."""

import json

import pytest

from emo_model.data import sources
from emo_model.data.sources import add_folder, identity_hint, local_path, register, registered
from emo_model.data.store import DataRoot
from emo_model.errors import UserError


@pytest.fixture
def root(tmp_path) -> DataRoot:
    return DataRoot(tmp_path / "data").create()


def _touch(folder, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_every_file_that_may_be_a_video_is_taken_and_notes_hidden_and_half_written_ones_are_not(root, tmp_path):
    odd = 'Ein schöner Tag\'s "名前": 100%.MP4'
    _touch(tmp_path / "raw", "a.mp4", "sub/b.mkv", odd, "words.mp4", "no_suffix")
    _touch(tmp_path / "raw", "notes.txt", "truth.parquet", "face.png", ".hidden.mp4", ".cache/x.mp4", "c.mp4.part")
    report = add_folder(root, tmp_path / "raw", licence="CC BY 4.0")
    assert {row["uri"] for row in registered(root)} == {"a.mp4", "sub/b.mkv", odd, "words.mp4", "no_suffix"}
    assert (report.total, report.new, report.by_collection) == (5, 5, {"raw": 5})
    assert {row["licence"] for row in registered(root)} == {"CC BY 4.0"}
    assert all(local_path(root, row).read_bytes() == row["uri"].encode() for row in registered(root))


def test_dropped_files_are_a_collection_and_our_own_folders_are_not_sources(root):
    ours = ("media/s0000/downloaded.mp4", "videos/shard=s0000/part.parquet")
    _touch(root.folder("0_raw"), "x.mp4", "deep/y.mp4", *ours)
    register(root)
    assert [(row["source"], row["uri"]) for row in registered(root)] == [("drop", "x.mp4"), ("drop", "deep/y.mp4")]


def test_ids_hang_on_collection_and_path_so_a_moved_folder_keeps_them(root, tmp_path):
    _touch(tmp_path / "one" / "raw", "a.mp4")
    add_folder(root, tmp_path / "one" / "raw")
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "raw").rename(tmp_path / "two" / "raw")
    other = DataRoot(tmp_path / "other").create()
    add_folder(other, tmp_path / "two" / "raw")
    assert registered(other)[0]["source_id"] == registered(root)[0]["source_id"]


def test_registering_again_adds_only_what_is_new_and_moves_nothing(root, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SHARD_SOURCES", 3)
    _touch(tmp_path / "raw", *(f"{number}.mp4" for number in range(4)))
    add_folder(root, tmp_path / "raw")
    before, data = registered(root), root.single("sources").read_bytes()
    assert [row["shard"] for row in before] == ["s0000"] * 3 + ["s0001"]
    assert register(root).new == 0
    assert root.single("sources").read_bytes() == data
    (tmp_path / "raw" / "1.mp4").unlink()
    _touch(tmp_path / "raw", "00.mp4")  # sorts first, and still comes last
    assert register(root).new == 1
    assert registered(root)[:4] == before
    assert registered(root)[4]["uri"] == "00.mp4"
    assert registered(root)[4]["shard"] == "s0001"


def test_a_shard_closes_when_the_next_file_would_make_it_too_large(root, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SHARD_BYTES", 100)
    for number, size in enumerate((60, 30, 20, 500, 1)):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{number}.mp4").write_bytes(bytes(size))
    add_folder(root, tmp_path / "raw")
    assert [row["shard"] for row in registered(root)] == ["s0000", "s0000", "s0001", "s0002", "s0003"]


def test_two_spellings_of_a_youtube_address_are_one_source(root):
    lines = [
        "\ufeffhttps://www.youtube.com/watch?v=BaW_jenozKc",
        "# a note",
        "https://youtu.be/BaW_jenozKc?t=4",
        "https://example.org/talk.mp4",
    ]
    (root.folder("0_raw") / "web.urls.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = register(root)
    assert report.by_collection == {"web": 2}
    assert registered(root)[0]["uri"] == "https://www.youtube.com/watch?v=BaW_jenozKc"
    assert local_path(root, registered(root)[0]) is None


def test_a_name_no_table_could_hold_is_skipped_with_the_reason(root, tmp_path):
    _touch(tmp_path / "raw", "good.mp4")
    (tmp_path / "raw" / "line\nbreak.mp4").write_bytes(b"x")
    with open(bytes(tmp_path / "raw") + b"/latin-\xe9.mp4", "wb") as file:
        file.write(b"x")
    report = add_folder(root, tmp_path / "raw")
    assert report.total == 1
    assert len(report.skipped) == 2 and all("rename" in why for _, why in report.skipped)


@pytest.mark.parametrize(
    ("rule", "uri", "person"),
    [
        ("hdtf", "WDA_KatieHill_000.mp4", "KatieHill"),
        ("hdtf", "WRA_AdamKinzinger2_001.mp4", "AdamKinzinger"),
        ("hdtf", "clips/WDA_WhipJimClyburn_000.mp4", "JamesClyburn"),
        ("hdtf", "RD_Radio31_000.mp4", "Radio"),
        ("hdtf", "holiday.mp4", None),
        ("folder", "id00012/7/a.mp4", "id00012"),
        ("folder", "a.mp4", None),
        ("none", "WDA_KatieHill_000.mp4", None),
    ],
)
def test_the_collection_says_how_a_file_names_its_person(rule, uri, person):
    assert identity_hint(rule, uri) == person


def test_mistakes_are_one_line_that_says_what_to_run(root, tmp_path):
    with pytest.raises(UserError, match="run: emo prepare FOLDER"):
        add_folder(root, tmp_path / "nowhere")
    for name in ("one/raw", "two/raw"):
        (tmp_path / name).mkdir(parents=True)
    add_folder(root, tmp_path / "one" / "raw")
    with pytest.raises(UserError, match="--name OTHER_NAME"):
        add_folder(root, tmp_path / "two" / "raw")
    (root.folder("0_raw") / "collections.json").write_text(json.dumps({"x": {"pth": "/"}}))
    with pytest.raises(UserError, match=r"collections\.json"):
        register(root)
