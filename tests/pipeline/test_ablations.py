"""speed_ablation, face_region_ablation: what was measured stands in the UI and in MLflow, with table and pictures."""

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pytest

from emo_model.data.store import DataRoot
from emo_model.errors import UserError
from emo_model.evaluate import ablations
from emo_model.evaluate.head_motion import Seen
from emo_model.generate import mp4
from emo_model.generate.guidance import Guidance
from emo_model.networks.config import SpeedBuckets
from emo_pipeline.assets.ablations import AblationConfig, face_region_ablation, speed_ablation
from emo_pipeline.resources import Data
from emo_pipeline.tracking import Tracking

T = 30


def seen(speed: float, x: float = 0.5, found: bool = True) -> Seen:
    boxes = np.tile([x - 0.1, 0.4, x + 0.1, 0.6], (T, 1))
    return Seen(np.full(T, speed), boxes) if found else Seen(np.full(T, np.nan), np.full((T, 4), np.nan))


WATCHED = {
    "as filmed": [seen(1.0), seen(2.0)], "speed none": [seen(0.0, found=False)] * 2,
    "speed 0.7": [seen(0.5), seen(0.7)], "speed 1.3": [seen(1.2), seen(1.2)],
    "region narrow": [seen(0)] * 2, "region wide": [seen(0)] * 2,
    "region left": [seen(0, x=0.08)] * 2, "region right": [seen(0, x=0.28)] * 2,
}  # fmt: skip


@pytest.fixture
def asked(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The settings that are generated; the films are known, and so is what is seen in them."""
    model = SimpleNamespace(
        folder=Path("step-7"),
        emo=SimpleNamespace(buckets=SpeedBuckets(centres=(0.3, 0.8, 1.3), radii=(0.5, 0.5, 0.5))),
    )
    said: list[str] = []
    (root.path / "mine" / "step-7").mkdir(parents=True)

    def load(_cls, folder):
        said.append(f"checkpoint {folder.relative_to(root.path)}")
        return model

    def made(model, root, videos, sample, settings, manifest, say):
        said.append(f"manifest {manifest}")
        said.extend(
            f"{name}: {s.speed} {s.face_region} {s.guidance} {s.sampler} {s.seed}" for name, s in settings.items()
        )
        names = ["as filmed", *settings]
        paths = {name: [videos / name / f"{clip}.mp4" for clip in "ab"] for name in names}
        for path in (path for listed in paths.values() for path in listed):
            path.parent.mkdir(parents=True, exist_ok=True)
            mp4.write_film(path, [np.full((32, 32, 3), 8 * k, np.uint8) for k in range(T)])
        clips = [{"clip_id": clip, "identity_id": clip, "size": 64} for clip in "ab"]
        boxes = [np.array([[16.0, 16.0, 48.0, 48.0]])] * 2
        return ablations._Films(clips, boxes, paths, {name: WATCHED[name] for name in names}, sample.seconds)

    monkeypatch.setattr(ablations.Model, "load", classmethod(load))
    monkeypatch.setattr(ablations, "_made", made)
    monkeypatch.setattr(
        "emo_pipeline.assets.ablations.checkpoint_of", lambda *_: root.path / "6_checkpoints/speed/step-7"
    )
    return said


def materialized(asset: dg.AssetsDefinition, root: DataRoot, **config) -> tuple[dict, dict, list[str]]:
    """Metadata, MLflow's numbers and its artifacts."""
    tracking = Tracking(folder=str(root.path))
    result = dg.materialize(
        [asset],
        resources={"data": Data(path=str(root.path), workers=1), "tracking": tracking},
        run_config={"ops": {asset.key.path[-1]: {"config": {"clips": 2, "seconds": 1.0, **config}}}},
    )
    (event,) = result.asset_materializations_for_node(asset.key.path[-1])
    run = tracking.run(asset.key.path[-1], result.run_id)
    numbers = run.client.get_run(run.run_id).data.metrics
    return event.metadata, numbers, [item.path for item in run.client.list_artifacts(run.run_id)]


def test_table_2_in_the_ui_and_in_mlflow(asked, root):
    metadata, numbers, files = materialized(speed_ablation, root, guidance="audio=2", speeds=[0.1, 0.7, 1.3, 1.9])
    scales = Guidance(reference=1.0, audio=2.0, speed=1.0)  # 0.1 and 1.9 were never learned
    assert asked[:2] == ["checkpoint 6_checkpoints/speed/step-7", "manifest None"]
    assert asked[2:] == [f"speed {name}: {name.capitalize()} auto {scales} ddim 0" for name in ("none", "0.7", "1.3")]
    assert numbers["speed 0.7/mean velocity"] == pytest.approx(0.6)
    assert numbers["speed 0.7/VMV"] == pytest.approx(0.01) and numbers["as filmed/VMV"] == pytest.approx(0.25)
    assert not any(name.startswith("speed none") for name in numbers)
    lines = metadata["table"].value.splitlines()
    assert "| none | – | – | – | 0 of 54 | 1.365, 1.002, 0.134 |" in lines
    assert any(line.startswith("| 0.7 | 0.600 [0.500, 0.700] | 0.000 ") for line in lines)
    assert any(line.endswith("| 54 of 54 | 1.001, 0.454, 0.054 |") for line in lines)
    assert any(line.startswith("A dash: no video in which a face") for line in lines)
    assert {"table.md", "plot.png", "a.png", "b.png"} == set(files)
    for name in ("plot", "frames"):
        assert "data:image/" in metadata[name].value


def test_figure_7_in_the_ui_and_in_mlflow(asked, root):
    mine = {"checkpoint": "mine/step-7", "manifest": "/else/where.parquet", "sampler": "unipc", "seed": 3}
    metadata, numbers, _ = materialized(face_region_ablation, root, **mine)
    assert asked[:2] == ["checkpoint mine/step-7", "manifest /else/where.parquet"]
    assert metadata["checkpoint"].value == "mine/step-7" and metadata["test set"].value == "/else/where.parquet"
    assert all(line.endswith(" unipc 3") for line in asked[2:])
    assert [line.split(":")[0] for line in asked[2:]] == [
        f"region {name}" for name in ("narrow", "wide", "left", "right")
    ]
    assert numbers["follows the region"] == pytest.approx(0.2 / 0.3) and numbers["wider sways more"] == 0
    inside = [numbers[f"region {name}/inside"] for name in ("narrow", "left", "right")]
    assert inside == pytest.approx([1, 0.9, 0.4])
    assert "| left of the picture | 0.900 [0.900, 0.900] | 0.000 [0.000, 0.000] | 60 of 60 |" in metadata["table"].value


@pytest.mark.parametrize(
    "wrong, said",
    [({"sampler": "euler"}, "euler"), ({"checkpoint": "nowhere"}, "nowhere"), ({"steps": 0}, "0 denoising")],
)
def test_a_wrong_value_is_one_line(root, monkeypatch, wrong, said):
    monkeypatch.setattr("emo_pipeline.assets.ablations.checkpoint_of", lambda *_: root.path)
    with pytest.raises(dg.Failure) as failed:
        materialized(speed_ablation, root, **wrong)
    line = failed.value.description
    assert said in line and "run: emo" in line and "\n" not in line


def test_guidance_that_is_none_is_told():
    with pytest.raises(UserError, match="numbers of 0 or more"):
        AblationConfig(guidance="much").sample()
