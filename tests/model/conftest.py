"""A disk of any size, for what happens when it is full."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """mount(name, *options of mount(8)) makes or changes a mount at tmp_path/name; all of them go in the end."""
    made: set[Path] = set()

    def mounted(name: str, *options: str) -> Path:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        command = ["mount", *options, str(place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this machine lets nobody mount a small disk ({done.stderr.strip()}); run the test as root")
        made.add(place)
        return place

    if shutil.which("mount") is None or os.geteuid():
        pytest.skip("a small disk has to be mounted; run the test as root")
    yield mounted
    for place in made:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
