"""A model's people are those of all stages before it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from emo_model.cli import main
from emo_model.data.manifests import manifest_path
from emo_model.data.records import MANIFEST
from emo_model.data.store import DataRoot, write_rows
from emo_model.train.config import RunSpec
from emo_model.train.learned import chain, learned_from


def run(folder: Path, name: str, people: list[str], start: Path | None = None) -> Path:
    made = folder / name / "one"
    made.mkdir(parents=True)
    at = None if start is None else str(start / "checkpoints" / "step-0000010")
    (made / "run.json").write_text(json.dumps({"start": at}))
    pq.write_table(pa.table({"identity_id": people}), made / "clips.parquet")
    return made


def test_the_chain_goes_back_to_the_first_stage(tmp_path: Path) -> None:
    image = run(tmp_path, "image", ["ann", "bob"])
    video = run(tmp_path, "video", ["bob"], image)
    speed = run(tmp_path, "speed", ["carl"], video)
    assert chain(speed) == [speed, video, image]
    assert learned_from(speed, "identity_id") == {"ann", "bob", "carl"}
    assert learned_from(image, "identity_id") == {"ann", "bob"}
    assert learned_from(tmp_path / "nothing", "identity_id") == set()


def test_a_moved_data_root_forgets_nobody(tmp_path: Path) -> None:
    image = run(tmp_path / "old", "image", ["ann"])
    run(tmp_path / "old", "video", ["bob"], image)
    (tmp_path / "old").rename(tmp_path / "new")
    assert learned_from(tmp_path / "new" / "video" / "one", "identity_id") == {"ann", "bob"}


def test_a_run_from_the_command_line_is_on_record_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It left no run.json: a removed person's models were not all named."""
    root = DataRoot(tmp_path).create()
    for clips in ("train_stage1", "train_stage2"):
        write_rows(manifest_path(root, clips), MANIFEST, [])
    monkeypatch.setenv("EMO_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("emo_model.train.loop.train", lambda spec, report: spec.run_dir)
    for arguments in (["image", "one"], ["video", "two", "--start", "one/checkpoints/step-0000010"]):
        assert CliRunner().invoke(main, ["train", *arguments], catch_exceptions=False).exit_code == 0
    assert chain(tmp_path / "two") == [tmp_path / "two", tmp_path / "one"]
    assert RunSpec.read(tmp_path / "one" / "run.json").stage == "image"
