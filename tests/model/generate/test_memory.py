"""Any duration at constant memory: a process that makes a minute peaks where one that makes 5 seconds does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emo_model import diffusion
from emo_model.config import TINY
from emo_model.train import checkpoint
from tests.model.generate.small import stirred, write_samples

HOME = Path(__file__).parents[3]


@pytest.mark.long
@pytest.mark.weights
def test_a_minute_peaks_within_5_percent_of_5_seconds(tmp_path):
    """TINY's sizes, Whisper's encoder, a real face, pasted back into a portrait of 600 x 444: 800 kB a frame, so that
    frames that were held would be 1.4 GB."""
    portrait = Path(os.environ.get("EMO_SAMPLES", HOME / "data/samples")) / "portraits/obama.jpg"
    recipe = diffusion.schedule(diffusion.RECIPES["sd15"])
    checkpoint.save(tmp_path / "step-1", stirred(TINY.network), recipe, {"stage": "speed"})
    peaks = {}
    for seconds in (5, 60):
        noise = np.random.default_rng(0).integers(-9000, 9000, (seconds * 16000, 1))
        voice = write_samples(tmp_path / f"{seconds}.wav", noise, 16000)
        arguments = [
            f"--portrait={portrait}", f"--audio={voice}", f"--out={voice.with_suffix('.mp4')}",
            f"--checkpoint={tmp_path / 'step-1'}", "--steps=1", "--paste-back",
        ]  # fmt: skip
        process = subprocess.Popen([sys.executable, "-m", "emo_model", "generate", *arguments], cwd=HOME)
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0
        peaks[seconds] = used.ru_maxrss / 1e3
    print(" ".join(f"{seconds} s: {peak:.0f} MB" for seconds, peak in peaks.items()))
    assert peaks[60] < 1.05 * peaks[5]
