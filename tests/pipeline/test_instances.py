"""The instance files in docs/: what they configure exists, and Postgres really keeps runs, events and partitions."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._config import validate_config
from dagster._core.instance.config import dagster_instance_config

from emo_pipeline.partitions import SHARDS, SHARDS_NAME

HOME = Path(__file__).resolve().parents[2]
FILES = {name: HOME / "docs" / "instances" / name / "dagster.yaml" for name in ("postgres", "kubernetes")}
OURS = yaml.safe_load((HOME / "dagster_home" / "dagster.yaml").read_text())


@pytest.mark.parametrize("name", FILES)
def test_an_instance_file_differs_from_ours_only_in_where_things_lie_and_run(name: str) -> None:
    config, _ = dagster_instance_config(str(FILES[name].parent))  # checks what Dagster itself knows of
    alike = set(OURS) - {"concurrency"}
    assert {key: config[key] for key in alike} == {key: OURS[key] for key in alike}
    assert config["concurrency"]["pools"] == OURS["concurrency"]["pools"]
    assert set(config) - set(OURS) <= {"storage", "run_launcher", "compute_logs"}


def test_what_the_kubernetes_file_configures_is_what_its_classes_take() -> None:
    config = yaml.safe_load(FILES["kubernetes"].read_text())
    for section in ("run_launcher", "compute_logs"):
        kind = getattr(import_module(config[section]["module"]), config[section]["class"])
        checked = validate_config(kind.config_type(), config[section]["config"])
        assert checked.success, checked.errors
    broken = {**config["run_launcher"]["config"], "job_imagee": "x"}
    assert not validate_config(import_module("dagster_k8s").K8sRunLauncher.config_type(), broken).success


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Postgres server of our own, in a temporary folder."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    initdb = shutil.which("initdb") or (str(found[0]) if found else None)
    if initdb is None:
        pytest.skip("no Postgres server on this machine; run: apt-get install postgresql")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        shutil.chown(folder, "nobody", "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    subprocess.run([*as_user, initdb, "-D", data, "-U", "emo", "--auth=trust"], check=True, capture_output=True)
    options = ["-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig", "INT", *as_user[1:], str(Path(initdb).with_name("postgres")), *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr and any("ready to accept connections" in line for line in server.stderr)
        yield f"postgresql+psycopg2://emo@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(2)
        server.wait(30)
        shutil.rmtree(folder)


@dg.asset(partitions_def=SHARDS)
def shard() -> dg.MaterializeResult:
    """Something to remember."""
    return dg.MaterializeResult(data_version=dg.DataVersion("v1"))


@pytest.mark.long
def test_postgres_keeps_runs_events_and_partitions(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_PG_URL", postgres)
    shutil.copy(FILES["postgres"], tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.add_dynamic_partitions(SHARDS_NAME, ["s0000", "s0001"])
        assert dg.materialize([shard], instance=instance, partition_key="s0001").success
    with dg.DagsterInstance.from_config(str(tmp_path)) as again:  # as the webserver sees it, in another process
        assert type(again.event_log_storage).__name__ == "PostgresEventLogStorage"
        assert again.get_dynamic_partitions(SHARDS_NAME) == ["s0000", "s0001"]
        assert again.get_materialized_partitions(dg.AssetKey("shard")) == {"s0001"}
        assert [run.status.value for run in again.get_runs()] == ["SUCCESS"]
