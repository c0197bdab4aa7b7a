"""The asset source_registry: what its launchpad takes."""

from pathlib import Path

import dagster as dg
import pytest

from emo_model.data.downloads import Downloads
from emo_model.data.sources import registered
from emo_model.data.store import DataRoot
from emo_pipeline.assets.sources import source_registry
from emo_pipeline.resources import Data
from tests.model.data.test_annotations import celebv_hq, vfhq


def test_lists_become_downloads_with_the_limits_of_the_launchpad(
    tmp_path: Path, root: DataRoot, data: Data, instance: dg.DagsterInstance
) -> None:
    vfhq(tmp_path / "meta_info", "Clip+BaW_jenozKc+P0+C0+F10-110")
    config = {
        "lists": [str(celebv_hq(tmp_path / "celebvhq_info.json")), str(tmp_path / "meta_info")],
        "download_rate_mb_s": 2.5,
        "download_pause_s": 3.0,
    }
    ran = dg.materialize(
        [source_registry],
        instance=instance,
        resources={"data": data},
        run_config={"ops": {"source_registry": {"config": config}}},
    )
    assert ran.success and instance.get_dynamic_partitions("source_shards") == ["s0000"]
    found = [(row["source"], len(row["ranges"])) for row in registered(root)]
    assert found == [("celebv-hq", 2), ("celebv-hq", 1), ("vfhq", 1)]
    limits = Downloads.of(root)
    assert (limits.rate_mb_s, limits.pause_s) == (2.5, 3.0)


def test_a_limit_that_makes_no_sense_is_one_line(root: DataRoot, data: Data, instance: dg.DagsterInstance) -> None:
    with pytest.raises(dg.Failure, match="download_pause_s|pause_s"):
        dg.materialize(
            [source_registry],
            instance=instance,
            resources={"data": data},
            run_config={"ops": {"source_registry": {"config": {"download_pause_s": -1.0}}}},
        )
