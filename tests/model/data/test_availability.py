"""What of HDTF is to be had: a tiny HDTF whose addresses are those of a server of our own."""

from pathlib import Path

import pytest

from emo_model.data import downloads, fetch, hdtf, probe
from emo_model.data.annotations import read
from emo_model.data.card import card
from emo_model.data.catalog import build_catalog, query
from emo_model.data.shards import run_step
from emo_model.data.sources import add_lists
from emo_model.data.store import DataRoot
from tests.model.data.films import film, numbered
from tests.model.data.test_hdtf import write_lists


def test_what_is_listed_there_gone_and_not_yet_asked_for(
    tmp_path: Path, site: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "RETRIES", 0)
    folder, address = site
    film(folder / "radio.mp4", numbered(30))
    film(folder / "there.mp4", numbered(40))
    lists = write_lists(
        tmp_path / "lists",
        RD_video_url=f"Radio1 {address}/radio.mp4\n",
        WDA_video_url=f"WhipJimClyburn {address}/gone.mp4\nAnnaEshoo http://127.0.0.1:9/unreachable.mp4\n",
        WDA_annotion_time="WhipJimClyburn.mp4 00:00-06:00\nAnnaEshoo.mp4 01:00-02:00 10:00-11:00\n",
        WRA_video_url=f"MittRomney {address}/there.mp4\n",
        WRA_annotion_time="MittRomney.mp4 00:00-03:00 04:00-07:00\n",
    )
    root = DataRoot(tmp_path / "data").create()
    add_lists(root, lists)
    build_catalog(root)
    asked = "SELECT subset, ranges, there, gone, not_fetched FROM availability ORDER BY subset"
    assert query(root, asked)[1] == [("RD", 1, 0, 0, 1), ("WDA", 3, 0, 0, 3), ("WRA", 2, 0, 0, 2)]
    for step in (fetch.STEP, probe.STEP):
        run_step(step, root, "s0000")
    build_catalog(root)
    assert query(root, asked)[1] == [("RD", 1, 1, 0, 0), ("WDA", 3, 0, 3, 0), ("WRA", 2, 2, 0, 0)]
    hours = (
        "SELECT subset, round(hours, 3), round(hours_there, 3), train_hours + test_hours FROM availability ORDER BY 1"
    )
    assert query(root, hours)[1] == [("RD", 0.021, 0.021, 75 / 3600), ("WDA", 0.133, 0.0, 0.0), ("WRA", 0.1, 0.1, 0.1)]
    why = query(root, "SELECT person, reason, why FROM ranges WHERE status = 'rejected' ORDER BY range_id")[1]
    assert why == [
        ("AnnaEshoo", "download_failed", "no answer"),
        ("AnnaEshoo", "download_failed", "no answer"),
        ("JamesClyburn", "unavailable", "removed"),
    ]
    side = read(lists).side("MittRomney")
    people = query(root, "SELECT train_people, test_people FROM availability WHERE subset = 'WRA'")[1]
    assert people == [(1, 0) if side == "train" else (0, 1)] and hdtf.SUBSETS == ("RD", "WDA", "WRA")
    text = card(root)
    assert "| hdtf | WRA | 2 | 0.1 | 2 | 0.1 | 0 | 0 |" in text
    assert "| hdtf | WDA | unavailable | removed | 1 | 0.1 |" in text


def test_a_data_root_without_lists_has_no_such_chapter(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "data").create()
    build_catalog(root)
    assert "to be had" not in card(root)
