"""emo report, emo study: one line and the next command where something is missing, and the way from end to end."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emo_model.cli import main
from emo_model.data.store import DataRoot
from emo_model.evaluate import Evaluation


@pytest.fixture
def root(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    """A data root with the evaluation's videos and nothing measured yet."""
    shutil.copytree(data, tmp_path / "root")
    monkeypatch.setenv("EMO_DATA", str(tmp_path / "root"))
    return DataRoot(tmp_path / "root").create()


def emo(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", ["report", "study"])
def test_without_an_evaluation_it_names_the_command(root: DataRoot, command: str) -> None:
    result = emo(command)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("emo: no evaluation in") and "run: emo evaluate" in result.stderr


def test_the_newest_evaluation_becomes_a_report_and_one_file(root: DataRoot, evaluation: Evaluation) -> None:
    folder = root.part("evaluations", "a run").parent
    evaluation.write(folder)
    result = emo("report")
    assert result.output.strip() == str(folder / "report" / "index.html") and (folder / "report" / "media").is_dir()
    assert emo("report").exit_code == 0  # emo evaluate writes one there, too: it is in nobody's way
    assert emo("report", "--out", root.path / "elsewhere").exit_code == 0
    assert "run: emo report --overwrite" in emo("report", "--out", root.path / "elsewhere").stderr
    assert emo("report", "--out", root.path / "elsewhere", "--overwrite").exit_code == 0
    alone = emo("report", folder, "--single-file", "--out", root.path / "to send.html")
    assert alone.exit_code == 0 and (root.path / "to send.html").stat().st_size < 200_000


def test_a_study_goes_out_and_its_table_comes_back(root: DataRoot, evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.write(root.part("evaluations", "a run").parent)
    assert emo("study", "--method", "ours", "--method", "ground truth", "--clips", 1).exit_code == 0
    key = json.loads((root.path / "study" / "key.json").read_text())
    assert sorted(key["videos"].values()) == [["c0", "ground truth"], ["c0", "ours"]]
    assert "no key of a study" in emo("study", "--collect", tmp_path, "--out", tmp_path / "none").stderr
    assert "no ratings to count" in emo("study", "--collect", root.path / "study" / "ratings").stderr
    for rater, score in (("r1", 4), ("r2", 5)):
        given = [{"video": name, "lip_sync": score, "vividness": 1} for name in key["videos"]]
        record = {"study": key["study"], "rater": rater, "finished": "2026-01-01", "ratings": given}
        (root.path / "study" / "ratings" / f"{rater}.json").write_text(json.dumps(record))
    (root.path / "study" / "ratings" / "broken.json").write_text("{")
    result = emo("study", "--collect", root.path / "study" / "ratings")
    assert result.exit_code == 0 and "not counted: broken.json: not readable as JSON" in result.stderr
    assert "| ours | 4.50 | 1.00 |" in result.output and (root.path / "study" / "table.md").is_file()
