"""emo evaluate: other methods' folders against the test clips of a data root, and what it says where that cannot be."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emo_model import weights
from emo_model.cli import main
from emo_model.data.records import MANIFEST
from emo_model.data.store import DataRoot
from emo_model.evaluate import Evaluation

from .test_truth import put


@pytest.fixture
def root(tmp_path: Path, moving: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    """Three test clips, and two methods: wav2lip answers all of them, hallo two, of which one is short. No weights."""
    monkeypatch.setenv("EMO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(weights, "have", lambda name: False)
    root = DataRoot(tmp_path / "data").create()
    rows = [
        {"clip_id": f"c{i}", "identity_id": who, "path": str(moving(f"real{i}", seed=i)), "protocol": "held-out people"}
        for i, who in enumerate(("ann", "ann", "bob"))
    ]
    put(root.folder("5_manifest") / "eval.parquet", MANIFEST, rows)
    answers = {("wav2lip", 0): 1.6, ("wav2lip", 1): 1.6, ("wav2lip", 2): 1.6, ("hallo", 0): 1.6, ("hallo", 2): 0.9}
    for (method, clip), seconds in answers.items():
        made = moving(f"{method}{clip}", seed=clip, seconds=seconds, level=9)
        (root.path / "methods" / method).mkdir(parents=True, exist_ok=True)
        made.rename(root.path / "methods" / method / f"c{clip}.mkv")
    return root


def emo(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def evaluated(root: DataRoot) -> Evaluation:
    (part,) = root.parts("evaluations")
    return Evaluation.read(part.parent)


def test_all_methods_of_the_data_root_stand_in_one_table_on_the_clips_they_share(root: DataRoot) -> None:
    result = emo("--metric", "fid")
    assert result.exit_code == 0, result.output
    found = evaluated(root)
    assert set(found.methods) == {"hallo", "wav2lip"} and found.protocol.clips == ("c0", "c2")
    assert found.protocol.seconds == pytest.approx(0.9)  # as long as the shortest video
    assert found.protocol.hash in result.output and "wav2lip" in result.output and "SadTalker" in result.output
    assert "wav2lip: 128 x 128 pixels, enlarged to 256 (c0, c2)" in result.output
    assert {path.name for path in root.parts("evaluations")[0].parent.iterdir()} >= {
        "table.md", "table.csv", "part.parquet", "clips.parquet", "frames.parquet", "findings.parquet", "protocol.json",
        "methods.json", "report",
    }  # fmt: skip


def test_one_folder_is_one_method_under_its_own_name(root: DataRoot) -> None:
    assert emo(root.path / "methods" / "wav2lip", "--seconds", 1.2, "--clips", 2, "--metric", "fid").exit_code == 0
    found = evaluated(root)
    assert list(found.methods) == ["wav2lip"] and found.protocol.clips == ("c0", "c1") and found.protocol.seconds == 1.2


def test_a_metric_that_the_paper_does_not_have_is_shown_without_its_table(root: DataRoot) -> None:
    result = emo(root.path / "methods" / "wav2lip", "--seconds", 1.2, "--metric", "seams")
    assert "| seam_ratio |" in result.output and "SadTalker" not in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--protocol", "hdtf"), "unknown protocol 'hdtf'"),
        (("--protocol", "HDTF-open-v1"), "no crop any more; run: emo manifest"),
        (("--metric", "psn"), "unknown metric 'psn'"),
        (("{empty}",), "no video of a test clip in"),
        (("--manifest", "{empty}/gone.parquet"), "gone.parquet is empty or missing"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    arguments: tuple[str, ...], says: str, root: DataRoot, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    result = emo(*(word.format(empty=tmp_path / "empty") for word in arguments))
    assert result.exit_code != 0 and says in f"{result.output} {result.exception}"


def test_a_data_root_without_methods_says_so(root: DataRoot) -> None:
    (root.path / "methods").rename(root.path / "elsewhere")
    result = emo()
    assert result.exit_code != 0 and "run: emo evaluate FOLDER" in f"{result.output} {result.exception}"
