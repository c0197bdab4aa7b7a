"""`emo prepare --slurm` on real daemons: an array over shards, a task cancelled, what is missing submitted again."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from emo_model import samples
from emo_model.cli import main
from emo_model.data import slurm, sources
from emo_model.data.catalog import query
from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from tests import slurm_here
from tests.model.data.test_kill import HOME, made, new_root

SHARDS = ["s0000", "s0001", "s0002"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [("job.sh", "got 'job.sh'"), ("--partition cpu", "got 'cpu'"), ("--comment='open", "No closing quotation")],
)
def test_only_options_reach_sbatch(tmp_path: Path, options: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        slurm.submit(DataRoot(tmp_path).create(), options, 2)


def test_without_slurm_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no sbatch on this machine"):
        slurm.submit(DataRoot(tmp_path).create(), "", 2)


def test_a_shard_nobody_registered_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_DATA", str(tmp_path))
    monkeypatch.setattr("emo_model.data.pipeline.require_weights", lambda: None)
    result = CliRunner().invoke(main, ["prepare", "--shard", "s0007"])
    assert result.exit_code == 2 and "no shard 's0007': wanted one of none" in result.output


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    here = samples.default_folder() / "videos"
    for path in ("carphone/carphone_pristine.mp4", "ben/single_face.mp4", "nobody/no_face.mp4"):
        shutil.copy(here / path, folder)
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    if why := slurm_here.missing():
        pytest.skip(why)
    (tmp_path / "slurm").mkdir()
    with slurm_here.slurm(tmp_path / "slurm") as environment:
        yield environment


def registered(folder: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root where each film has a shard of its own."""
    monkeypatch.setattr(sources, "SHARD_SOURCES", 1)
    assert list(sources.add_folder(DataRoot(new_root(folder)), raw, "films").shards) == SHARDS
    return folder


def prepare(root: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emo_model", "prepare", *options]
    environment = environment | {"EMO_DATA": str(root), "PYTHONPATH": str(HOME)}
    return subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True)


def submitted(root: Path, environment: dict[str, str]) -> tuple[str, str, str]:
    """(shards of the array, its number, the data set's job) as `emo prepare` prints them."""
    done = prepare(root, environment, "--slurm", "--cpus-per-task=2 --partition=all")
    assert done.returncode == 0, done.stderr
    found = re.match(r"array (\d+): a task a shard, (.*)\njob (\d+): ", done.stdout)
    assert found, done.stdout
    return found[2], found[1], found[3]


def ended(job: str, environment: dict[str, str]) -> str:
    """Wait for a job; its last state."""
    for _ in range(600):
        shown = subprocess.run(["scontrol", "-o", "show", "job", job], env=environment, capture_output=True, text=True)
        states = re.findall(r"JobState=(\w+)", shown.stdout)
        if states and not {"PENDING", "RUNNING", "COMPLETING"} & set(states):
            return ",".join(states)
        time.sleep(1)
    raise AssertionError(f"job {job} did not end: {shown.stdout}")


@pytest.mark.long
@pytest.mark.weights
def test_an_array_with_a_task_cancelled_and_submitted_again_makes_the_bytes_of_a_local_run(
    tmp_path: Path, raw: Path, cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    local = registered(tmp_path / "local", raw, monkeypatch)
    assert prepare(local, cluster).returncode == 0

    root = registered(tmp_path / "root of % jobs", raw, monkeypatch)
    shards, array, dataset = submitted(root, cluster)
    assert shards.split() == SHARDS
    subprocess.run(["scancel", f"{array}_2"], env=cluster, check=True)  # it waits: the first task has both cores
    assert ended(dataset, cluster) == "COMPLETED"
    assert query(DataRoot(root), "SELECT count(DISTINCT shard) FROM videos")[1] == [(2,)]  # what is there

    shards, array, dataset = submitted(root, cluster)
    assert shards.split() == SHARDS[2:]
    assert ended(dataset, cluster) == "COMPLETED"
    assert {name: sha for name, sha in made(root).items() if not name.startswith("slurm/")} == made(local)

    again = prepare(root, cluster, "--slurm", "")
    assert again.stdout.startswith("no shard has work left\n"), again.stdout
    assert ended(re.search(r"job (\d+)", again.stdout)[1], cluster) == "COMPLETED"
    refused = prepare(root, cluster, "--slurm", "--partition=nowhere")
    assert refused.returncode == 2 and "Slurm refused: " in refused.stderr and "partition" in refused.stderr
