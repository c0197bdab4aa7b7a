"""`emo prepare` on a disk that is full, and in a folder that may only be read: one line, exit code 2, nothing lost."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emo_model.data.catalog import build_catalog, catalog_path, query
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from tests.model.data.small_root import small_root
from tests.model.data.test_kill import HOME, made, new_root, raw  # noqa: F401  (the films are a fixture)


def test_a_catalog_that_does_not_fit_leaves_the_old_one(mount: Callable[..., Path]) -> None:
    """DuckDB closes a file it could not write without a word: an empty catalog once took the good one's place."""
    disk = mount("disk", "-t", "tmpfs", "-o", "size=64m", "tmpfs")
    root = small_root(disk / "root")
    build_catalog(root)
    size = catalog_path(root).stat().st_size
    used = sum(path.stat().st_blocks * 512 for path in disk.rglob("*"))
    for room in (size // 20, size // 4, size // 2, size * 3 // 4):
        mount("disk", "-t", "tmpfs", "-o", f"remount,size={used + room}", "tmpfs")
        with pytest.raises(UserError, match="clip_catalog: .*the catalog that was there is unchanged"):
            build_catalog(root)
        assert query(root, "SELECT count(*) FROM videos")[1] == [(5,)]
        assert [path.name for path in root.path.glob("*duckdb*")] == ["catalog.duckdb"]
        assert not list(root.path.glob(".catalog*"))
    mount("disk", "-t", "tmpfs", "-o", "remount,size=64m", "tmpfs")
    build_catalog(root)


def prepare(root: Path, raw: Path) -> subprocess.CompletedProcess[str]:  # noqa: F811
    command = [sys.executable, "-m", "emo_model", "prepare", str(raw), "--name", "films", "--workers", "2"]
    environment = os.environ | {"EMO_DATA": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, timeout=600)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a run ended that could not write."""
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    line = done.stderr.splitlines()[-1]
    assert line.startswith("emo: ") and "run the same command again" in line, line
    return line


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """What an undisturbed run makes."""
    root = new_root(tmp_path_factory.mktemp("whole") / "root")
    done = prepare(root, raw)
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.long
@pytest.mark.weights
def test_a_disk_that_is_full_again_and_again_loses_nothing(
    raw: Path,  # noqa: F811
    whole: Path,
    mount: Callable[..., Path],
) -> None:
    """The disk grows a little after each refusal, so that every step meets its end of space."""
    tables = sum(path.stat().st_blocks * 512 for path in whole.rglob("*") if path.suffix != ".duckdb")
    size, lines = tables // 20, []
    root = new_root(mount("disk", "-t", "tmpfs", "-o", f"size={size}", "tmpfs"))
    while True:
        done = prepare(root, raw)
        if catalog_path(DataRoot(root)).exists():
            assert query(DataRoot(root), "SELECT count(*) FROM videos")[1]
        if done.returncode == 0:
            break
        lines.append(refused(done))
        size += tables // (2 if "clip_catalog" in lines[-1] else 12)
        mount("disk", "-t", "tmpfs", "-o", f"remount,size={size}", "tmpfs")
    print(f"{tables} bytes of tables and media; refused {len(lines)} times:", *lines, sep="\n")
    assert len({line.split(" ")[1] for line in lines}) >= 4  # in several steps
    assert made(root) == made(whole)


@pytest.mark.long
@pytest.mark.weights
def test_a_folder_that_may_only_be_read_is_one_line_and_still_answers(
    raw: Path,  # noqa: F811
    whole: Path,
    mount: Callable[..., Path],
    tmp_path: Path,
) -> None:
    root = shutil.copytree(whole, tmp_path / "root")
    expected = made(root)
    mount("root", "--bind", str(root))
    mount("root", "-o", "remount,bind,ro")
    (raw / "new.mp4").write_bytes(b"a film that came later")
    try:
        assert "Read-only file system" in refused(prepare(root, raw))
    finally:
        (raw / "new.mp4").unlink()
    assert query(DataRoot(root), "SELECT count(*) FROM clips")[1] == [(4,)]
    mount("root", "-o", "remount,bind,rw")
    assert prepare(root, raw).returncode == 0
    assert made(root) == expected
