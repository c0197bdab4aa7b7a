"""The proof's contact sheet: the right video of each question, beside the portrait that was given."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from emo_model.cli import main
from emo_model.data.store import write_json
from emo_model.errors import UserError
from emo_model.true_world.answers import QUICK
from emo_model.true_world.pictures import OUTLINE, proof_sheet
from emo_model.true_world.proof import sheet

SIDE, HEIGHT = 16, 64
QUESTIONS = ("talk", "speed 8.46", "speed 0.41", "region left", "region right")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Videos of one grey each: 10 a question and 2 a video, and the ablation without a face region."""
    asked = [("whole", question) for question in QUESTIONS] + [("without_face_region", "region right")]
    for number, (model, question) in enumerate(asked):
        grey = torch.tensor([10.0 * number + 2 * video for video in range(3)])
        pixels = (grey / 127.5 - 1)[:, None, None, None, None].expand(3, 24, 3, SIDE, SIDE)
        sheet(tmp_path / "seed-0" / "pictures" / model / f"{question}.png", pixels)
        write_json(tmp_path / "seed-0" / "answers" / f"{model}.json", {"key": {"sizes": asdict(QUICK)}})
    return tmp_path


def test_each_row_is_its_question_and_its_video(out):
    found = np.asarray(proof_sheet(out, video=1, height=HEIGHT))
    step, gap = HEIGHT + 2, 2
    rows = [found.shape[0] - gap - (6 - row) * step + HEIGHT // 2 for row in range(6)]
    last = found[rows, found.shape[1] - gap - HEIGHT // 2, 0]
    assert last.tolist() == [2, 22, 12, 32, 42, 52]  # talk, slow, fast, left, right, without a face region
    outlined = (found == OUTLINE).all(2)
    drawn = [bool(outlined[row - HEIGHT // 2 : row + HEIGHT // 2].any()) for row in rows]
    assert drawn == [False, False, False, True, True, True]
    portrait = found[rows[0] - HEIGHT // 2 : rows[0] + HEIGHT // 2, -8 * step - gap * 2 - step : -8 * step - gap * 3]
    assert portrait.std() > 10  # a painted head, where the videos are flat


def test_what_is_not_there_is_told(out, tmp_path):
    with pytest.raises(UserError, match="run: emo proof world"):
        proof_sheet(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no video 3"):
        proof_sheet(out, video=3)


def test_a_sheet_that_is_there_is_replaced_only_when_told(out, tmp_path):
    there = tmp_path / "there.png"
    there.write_bytes(b"mine")
    asked = ["proof", "sheet", str(there), "--out", str(out), "--height", "64"]
    refused = CliRunner().invoke(main, asked)
    assert refused.exit_code == 2 and "is there already" in refused.output and there.read_bytes() == b"mine"
    assert CliRunner().invoke(main, [*asked, "--overwrite"]).exit_code == 0
    assert there.read_bytes().startswith(b"\x89PNG")


def test_a_sheet_is_a_png(out, tmp_path):
    refused = CliRunner().invoke(main, ["proof", "sheet", str(tmp_path / "x.jpg"), "--out", str(out)])
    assert "x.jpg is no .png; run: emo proof sheet SHEET.png" in refused.output
    assert not (tmp_path / "x.jpg").exists()
