"""A run stopped in the middle of a training: it is cancelled, not tried again, and a re-execution goes on."""

import dagster as dg
import pytest

from emo_pipeline.assets import training


@pytest.mark.parametrize("asset", [training.image_checkpoint, training.video_checkpoint, training.speed_checkpoint])
def test_dagster_has_no_retry_policy_for_training(asset: dg.AssetsDefinition) -> None:
    """Dagster applies it to interrupts too: a run cancelled in the UI would start its trainer a second time."""
    assert asset.op.retry_policy is None
