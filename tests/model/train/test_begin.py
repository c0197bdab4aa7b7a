"""run.json: what repeats a run, whoever began it, and what keeps two runs out of one folder."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from emo_model.cli import main
from emo_model.data.manifests import manifest_path
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from emo_model.train.begin import begin
from emo_model.train.config import RunSpec
from emo_model.train.learned import learned_from
from tests.model.clips_on_disk import make_root


def spec(folder: Path, **changed) -> RunSpec:
    return RunSpec(stage="image", manifest=folder / "train.parquet", root=folder, run_dir=folder / "run", **changed)


def test_a_run_folder_takes_the_same_run_again_and_no_other(tmp_path: Path) -> None:
    path = begin(spec(tmp_path, steps=3, provenance={"git_commit": "one", "manifest_version": "a"}))
    begin(spec(tmp_path, steps=3, provenance={"git_commit": "two", "manifest_version": "a"}))
    now = path.read_text()
    for other in ({"steps": 4, "provenance": {"manifest_version": "a"}}, {"steps": 3, "provenance": {}}):
        with pytest.raises(UserError, match="was begun with other numbers or clips"):
            begin(spec(tmp_path, **other))
    assert path.read_text() == now


def test_emo_train_leaves_what_repeats_it_and_from_whom_it_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(tmp_path / "root", {"ann": 20, "bob": 20})
    shutil.copy(root.folder("5_manifest") / "train.parquet", manifest_path(root, "train_stage1"))
    monkeypatch.setenv("EMO_DATA", str(root.path))
    monkeypatch.chdir(tmp_path)

    def train(steps: int, seed: int = 0) -> tuple[int, str]:
        options = ["--steps", str(steps), "--batch-size", "1", "--threads", "1", "--seed", str(seed)]
        done = CliRunner().invoke(main, ["train", "image", "run", *options])
        return done.exit_code, done.output

    assert train(1)[0] == 0
    begun = RunSpec.read(tmp_path / "run" / "run.json")
    assert begun.run_dir == tmp_path / "run" and begun.provenance["manifest"] == "train_stage1"
    assert learned_from(tmp_path / "run", "identity_id") == {"ann", "bob"}

    make_root(tmp_path / "other", {"carl": 20})  # the manifest is built anew: the run goes on with its own copy
    shutil.copy(
        DataRoot(tmp_path / "other").folder("5_manifest") / "train.parquet", manifest_path(root, "train_stage1")
    )
    assert train(1)[0] == 0 and RunSpec.read(tmp_path / "run" / "run.json") == begun
    assert train(2)[0] == 0 and RunSpec.read(tmp_path / "run" / "run.json").steps == 2  # longer than was begun
    code, said = train(2, seed=1)
    assert code == 2 and "was begun with other numbers or clips (seed)" in said


def test_a_stage_starts_from_the_newest_finished_one_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path / "root", {"ann": 20, "bob": 20})
    for name in ("train_stage1", "train_stage2"):
        shutil.copy(root.folder("5_manifest") / "train.parquet", manifest_path(root, name))
    monkeypatch.setenv("EMO_DATA", str(root.path))
    run = {stage: root.folder("6_checkpoints") / stage / "run" for stage in ("image", "video")}

    def train(stage: str, steps: int = 1) -> tuple[int, str]:
        options = ["--steps", str(steps), "--batch-size", "1", "--threads", "1"]
        done = CliRunner().invoke(main, ["train", stage, str(run[stage]), *options])
        return done.exit_code, done.output

    assert train("video") == (2, f"emo: no finished run of stage image in {root.path}; run: emo train image, or name a "
                                 "checkpoint\n")  # fmt: skip
    assert train("image")[0] == 0
    train("video")  # the clips' features are other ones than TINY's, which stops it; where it starts is settled
    begun = RunSpec.read(run["video"] / "run.json").start
    assert begun == run["image"] / "checkpoints" / "step-0000001"
    (later := root.folder("6_checkpoints") / "image" / "later").mkdir()
    shutil.copytree(run["image"], later, dirs_exist_ok=True)
    train("video", steps=2)
    assert RunSpec.read(run["video"] / "run.json").start == begun  # a run that goes on keeps its start
