"""emo plan: what is there, estimated within the error it states, in bounded time, writing nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from emo_model.cli import main
from emo_model.data import downloads, fetch, plan, probe
from emo_model.data.config import PAPER_DATA
from emo_model.data.plan import CORE_HOURS, estimated_hours
from emo_model.data.plan import plan as make
from emo_model.data.shards import run_step
from emo_model.data.sources import add_folder, register
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from tests.model.data.films import film, numbered
from tests.model.data.test_annotations import celebv_hq
from tests.model.data.test_hdtf import write_lists


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two films of one and two seconds, a text that calls itself one, and a note."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, count in (("a", 25), ("b", 50)):
        film(folder / f"{name}.mp4", numbered(count))
    (folder / "words.mp4").write_text("a text")
    (folder / "notes.txt").write_text("x")
    return folder


def test_a_folder_is_looked_through_and_nothing_is_written(root: DataRoot, raw: Path) -> None:
    found = make(root, [raw])
    assert (found.videos, found.shards) == (3, 1)
    assert found.hours == pytest.approx(3 / 3600, rel=0.01) and found.error == 0
    assert found.core_hours == pytest.approx(found.hours * CORE_HOURS)
    assert not root.path.exists()


def test_an_hour_of_features_takes_what_their_shape_says(root: DataRoot, raw: Path, monkeypatch) -> None:
    assert make(root, [raw]).disk["audio features"] == 4 * 384 * 2 * 30 * 3600
    monkeypatch.setattr(plan, "default_encoder", lambda: "wav2vec2_base")
    assert make(root, [raw]).disk["audio features"] == pytest.approx(18.4e3 * 30 * 3600, rel=0.01)


def test_larger_crops_cost_more_and_what_does_not_fit_is_said(root: DataRoot, raw: Path, monkeypatch) -> None:
    small = make(root, [raw])
    PAPER_DATA.save(root.create())
    large = make(root, [raw])
    assert large.disk["crops"] == pytest.approx(small.disk["crops"] * 6920 / 2280)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    lines = make(root, [raw]).lines()
    assert any("set EMO_DATA to a larger disk" in line for line in lines)
    assert any("emo prepare --preset TINY" in line for line in lines)


def test_latents_count_where_training_keeps_them_and_change_no_advice_about_preparing(
    root: DataRoot, raw: Path, monkeypatch
) -> None:
    assert plan.LATENTS not in make(root, [raw]).disk  # TINY keeps none
    PAPER_DATA.save(root.create())
    found = make(root, [raw])
    assert found.disk[plan.LATENTS] == 2 * 4 * 64 * 64 * 30 * 3600 and f"    {plan.LATENTS}" in "\n".join(found.lines())
    free = found.bytes - found.hours * found.disk[plan.LATENTS] / 2
    without = replace(found, disk={name: size for name, size in found.disk.items() if name != plan.LATENTS})
    assert found.lines()[-1:] == without.lines()[-1:]
    tight, roomy = (replace(one, free=int(free)).lines() for one in (found, without))
    added = [line for line in tight if line.startswith("!") and line not in roomy]
    assert (
        len(added) == 2 and "of disk are missing" in added[0] and "run: emo train --set cache_latents=false" in added[1]
    )


def test_the_stated_error_covers_the_truth_in_most_samples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """2,000 films whose bytes a second vary by half; 60 of them looked into, a hundred times over."""
    dice = np.random.default_rng(0)
    seconds = dice.uniform(5, 600, 2000)
    sizes = [int(size) for size in seconds * dice.uniform(1e5, 3e5, 2000)]
    paths = [tmp_path / str(number) for number in range(2000)]
    monkeypatch.setattr(plan, "SAMPLE", 60)
    looked: list[Path] = []
    monkeypatch.setattr(plan, "_seconds", lambda path, size: looked.append(path) or seconds[int(path.name)])
    inside = 0
    for trial in range(100):
        order = np.random.default_rng(trial).permutation(2000)
        hours, error, count = estimated_hours([paths[k] for k in order], [sizes[k] for k in order])
        inside += abs(hours - seconds.sum() / 3600) <= error
        assert count == 60 and error < 0.15 * hours
    assert 88 <= inside <= 100 and len(looked) == 6000


def test_a_slow_disk_gets_no_more_than_its_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(plan.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(plan, "_seconds", lambda path, size: 10.0)
    hours, _, count = estimated_hours([tmp_path] * 500, [100] * 500)
    assert count < 10 and hours == pytest.approx(500 * 10 / 3600)


def test_a_header_that_claims_a_thousand_years_counts_for_nothing(root: DataRoot, raw: Path) -> None:
    data = (raw / "b.mp4").read_bytes()
    at = data.index(b"mvhd") + 4 + 16  # version 0: the film's duration
    (raw / "b.mp4").write_bytes(data[:at] + b"\xff\xff\xff\xfe" + data[at + 4 :])
    assert make(root, [raw]).hours < 2 * 3 / 3600


def test_addresses_have_unknown_hours_and_no_site_is_asked(root: DataRoot, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(downloads, "_loader", None)
    urls = tmp_path / "mine.urls.txt"
    urls.write_text(
        "# mine\nhttps://youtu.be/BaW_jenozKc\nhttps://example.org/a.mp4\nhttps://www.youtube.com/@someone\n"
    )
    found = make(root, [urls])
    assert (found.videos, found.hours) == (2, 0) and found.parts[0].hours is None
    text = "\n".join(found.lines())
    assert "2 URLs: nobody knows their hours" in text and "1 channels or play lists" in text


def test_listed_seconds_are_known(root: DataRoot, tmp_path: Path) -> None:
    found = make(root, [write_lists(tmp_path / "hdtf"), celebv_hq(tmp_path / "celebvhq_info.json")])
    hdtf, celebv = found.parts
    listed = 75 + 275 + 275 + 60 + 90 + 20 + 500
    assert hdtf.hours == pytest.approx(listed / 3600) and hdtf.download_hours > hdtf.hours / 2
    assert (celebv.urls, celebv.hours) == (2, pytest.approx((4.55 + 6 + 3.38) / 3600))


def test_what_is_registered_is_planned_and_what_is_probed_is_known(root: DataRoot, raw: Path) -> None:
    add_folder(root.create(), raw)
    before = make(root)
    for step in (fetch.STEP, probe.STEP):
        run_step(step, root, "s0000")
    (root.folder("0_raw") / "web.urls.txt").write_text("https://example.org/a.mp4")
    register(root)
    after = make(root)
    assert [(part.name, part.hours is None) for part in after.parts] == [("raw, probed", False), ("web", True)]
    assert after.hours == pytest.approx(before.hours, rel=0.01) and (before.videos, after.videos) == (3, 4)


def test_the_command_says_it_all(root: DataRoot, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_DATA", str(root.path))
    said = CliRunner().invoke(main, ["plan", str(raw)])
    assert said.exit_code == 0 and "3 videos in 1 shards" in said.output and "core-hours" in said.output
    nothing = CliRunner().invoke(main, ["plan"])
    assert nothing.exit_code == 2 and "run: emo prepare FOLDER" in nothing.output


@pytest.mark.parametrize("name", ["nowhere", "notes.pdf"])
def test_what_is_no_source_is_one_line(root: DataRoot, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="wanted a folder of videos, a list of URLs"):
        make(root, [tmp_path / name])
