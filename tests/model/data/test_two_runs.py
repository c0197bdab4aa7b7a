"""Two `emo prepare` on one data root at once, and somebody who reads: no table is torn, no source is forgotten."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emo_model.data import sources
from emo_model.data.catalog import catalog_path, query
from emo_model.data.store import DataRoot
from tests.model.data.test_kill import made, new_root, prepare, raw  # noqa: F401  (the films are a fixture)


def _folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(name.encode())
    return path


def test_folders_added_at_the_same_time_are_all_registered_once(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "root").create()
    folders = [_folder(tmp_path / f"films{n}", *(f"{n}_{k}.mp4" for k in range(20))) for n in range(4)]
    add = (
        "import sys; from pathlib import Path; from emo_model.data import sources; from emo_model.data.store import "
        "DataRoot; sources.add_folder(DataRoot(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    running = [subprocess.Popen([sys.executable, "-c", add, str(root.path), str(folder)]) for folder in folders]
    assert [process.wait(120) for process in running] == [0] * 4
    rows = sources.registered(root)
    assert len(rows) == 80 and {row["source"] for row in rows} == {folder.name for folder in folders}
    assert [row["number"] for row in rows] == list(range(80))


@pytest.mark.long
@pytest.mark.weights
def test_two_runs_at_once_and_a_reader_tear_nothing(raw: Path, tmp_path: Path) -> None:  # noqa: F811
    """The second ends with a line where the first is at work, or finds the work done; run again, all is as ever."""
    whole = new_root(tmp_path / "whole")
    assert prepare(whole, raw).wait(300) == 0
    shutil.copytree(whole, other := tmp_path / "root")
    for name in ("1_clips", "2_faces", "3_motion"):  # the catalog is there to be read, the work is to be done anew
        shutil.rmtree(other / name)
    root = DataRoot(other).create()
    seen, ends = 0, []
    for _ in range(2):
        running = [prepare(other, raw), prepare(other, raw)]
        while any(process.poll() is None for process in running):
            assert catalog_path(root).exists()
            assert query(root, "SELECT count(*) FROM videos")[1] == [(6,)]  # the old catalog or the new one, whole
            for table in ("videos", "clip_rows", "frames", "rejected"):
                root.read(table)  # a part file is whole whenever it is looked at
            seen += 1
        ends += [process.returncode for process in running]
    assert set(ends) <= {0, 2} and 0 in ends, ends
    assert seen > 10
    assert prepare(other, raw).wait(300) == 0
    assert made(other) == made(whole)
