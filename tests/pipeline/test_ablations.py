"""speed_ablation: Table 2's speeds, as far as the checkpoint learned them."""

import dagster as dg

from emo_model.data.store import write_json
from emo_pipeline.assets.ablations import SpeedAblationConfig, _learned


def test_speeds_beyond_the_learned_buckets_are_left_out_and_said(tmp_path, capfd):
    write_json(tmp_path / "speed_buckets.json", {"centres": [0.3, 0.8, 1.3], "radii": [0.5, 0.5, 0.5]})
    context, asked = dg.build_asset_context(), SpeedAblationConfig().speeds
    assert asked == [0.1, 0.7, 1.3, 1.9] and _learned(context, tmp_path, asked) == [0.7, 1.3]
    assert "left out: 0.1, 1.9" in capfd.readouterr().err
