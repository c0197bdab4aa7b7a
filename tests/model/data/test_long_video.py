"""Memory follows the frames in flight, not the length of a video: one take of twenty minutes against one of two."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emo_model import samples
from emo_model.data import sources
from emo_model.data.audio import read_wav
from emo_model.data.store import DataRoot
from tests.model.data.films import looped, there_and_back

STEPS = ("raw_videos", "video_probe", "shots_and_faces", "face_clips", "head_pose", "head_speed", "clip_audio")
MB_A_MINUTE = 5.0  # of peak memory: 3.5 kB a frame. What is kept of a frame is a row of numbers
RUN = """
import json, resource, sys
from pathlib import Path
from emo_model.data import pipeline, shards
from emo_model.data.store import DataRoot
step = next(step for step in pipeline.SHARD_STEPS if step.name == sys.argv[2])
report = shards.run_step(step, DataRoot(Path(sys.argv[1])), "s0000")
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, report.rows]))
"""


def peaks(folder: Path, raw: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Step -> MB at its peak, and rows by table; each step in a process of its own."""
    root = DataRoot(folder).create()
    sources.add_folder(root, raw)
    used, rows = {}, {}
    for step in STEPS:
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(folder), step], capture_output=True, text=True, check=True
        )
        used[step], more = json.loads(done.stdout.splitlines()[-1])
        rows |= more
    return used, rows


@pytest.mark.long
@pytest.mark.weights
def test_peak_memory_hardly_grows_with_a_videos_length(tmp_path: Path) -> None:
    folder = samples.default_folder()
    if not folder.exists():
        pytest.skip("run: emo samples get")
    voice = read_wav(folder / "voices/silero_test.wav")
    once = there_and_back(folder / "videos/actress/WolfgangLanger_Pexels.mp4", tmp_path / "once.mp4", voice)
    found = {}
    for minutes in (2, 20):
        raw = tmp_path / f"raw{minutes}"
        raw.mkdir()
        looped(once, raw / "take.mp4", 60 * minutes)
        found[minutes] = peaks(tmp_path / f"data{minutes}", raw)
    (short, few), (long, many) = found[2], found[20]
    assert many["landmarks"] > 6 * few["landmarks"] and many["crops"] > 6 * few["crops"] > 0
    growth = {step: long[step] - short[step] for step in STEPS}
    print({step: (round(short[step]), round(long[step])) for step in STEPS})
    assert np.max(list(growth.values())) < MB_A_MINUTE * 18, growth
