"""`emo prepare` killed anywhere, again and again: in the end every byte is as an undisturbed run makes it."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_model import samples
from emo_model.data.config import DataConfig
from emo_model.data.store import DataRoot, file_sha256
from tests.model.data.films import clicks, film

HOME = Path(__file__).resolve().parents[3]
KILLS = 50


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people with sound, one without, and two files that are no films."""
    folder = tmp_path_factory.mktemp("raw")
    portrait = cv2.imread(str(samples.default_folder() / "portraits" / "astronaut.png"))[:256, 100:356, ::-1]
    portrait = cv2.resize(portrait, (200, 200), interpolation=cv2.INTER_AREA)
    for number in range(4):
        pictures = (np.roll(portrait, k % (number + 2), axis=1) for k in range(42))
        film(folder / f"{number}.mp4", pictures, fps=12, sound=clicks([0.5, 2.0], 3.5) if number else None)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no film\n" * 99)
    return folder


def prepare(root: Path, raw: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "emo_model", "prepare", str(raw), "--name", "films", "--workers", "2"]
    environment = os.environ | {"EMO_DATA": str(root), "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=HOME, env=environment, start_new_session=True, **quiet)


def made(root: Path) -> dict[str, str]:
    """Every file but the catalog, which is compared by content elsewhere, and locks."""
    files = (p for p in root.rglob("*") if p.is_file() and p.suffix != ".duckdb" and p.name != ".lock")
    return {p.relative_to(root).as_posix(): file_sha256(p) for p in files}


def new_root(folder: Path) -> Path:
    DataConfig(crop_size=64).save(DataRoot(folder).create())
    return folder


@pytest.mark.long
@pytest.mark.weights
def test_fifty_kills_change_no_byte(raw: Path, tmp_path: Path) -> None:
    whole = new_root(tmp_path / "whole")
    started = time.monotonic()
    assert prepare(whole, raw).wait(300) == 0
    seconds, expected = time.monotonic() - started, made(whole)
    assert sum(name.endswith(".mp4") and name.startswith("1_clips") for name in expected) == 4
    lot, kills, rounds = random.Random(0), 0, 0
    while kills < KILLS:
        rounds += 1
        root = new_root(tmp_path / f"killed{rounds}")
        while True:
            running = prepare(root, raw)
            try:
                assert running.wait(lot.uniform(0.1, 0.4) * seconds) == 0  # it finished in time
                break
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL) if lot.random() < 0.5 else running.kill()  # workers die with it
                running.wait()
                kills += 1
        assert made(root) == expected, f"round {rounds}"
    print(f"{kills} kills in {rounds} rounds of {seconds:.0f} s")
