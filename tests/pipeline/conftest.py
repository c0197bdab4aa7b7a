"""A data root and an instance of one's own for every test; no weights and no network are needed."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from emo_model.data.store import DataRoot
from emo_pipeline.definitions import build_definitions
from emo_pipeline.launch import Trainer
from emo_pipeline.resources import Data
from emo_pipeline.tracking import Tracking


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data").create()


@pytest.fixture
def data(root: DataRoot) -> Data:
    return Data(path=str(root.path), workers=1)


@pytest.fixture
def defs(root: DataRoot, data: Data) -> dg.Definitions:
    return build_definitions({"data": data, "trainer": Trainer(grace_s=5), "tracking": Tracking(folder=str(root.path))})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:  # on disk: schedules and sensors take no ephemeral one
        yield found


def report(
    instance: dg.DagsterInstance, asset: str, version: str = "1", partition: str | None = None, **inputs: str
) -> None:
    """Say that an asset was materialized, with a data version and those of the inputs it read."""
    tags = {"dagster/data_version": version, "dagster/code_version": "1"}
    tags |= {f"dagster/input_data_version/{name}": value for name, value in inputs.items()}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition, tags=tags))
