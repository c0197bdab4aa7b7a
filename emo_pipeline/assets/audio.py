"""Group labels: each clip's sound, what the encoder and the scores hear in it, and whether it fits the picture.

Here: the shells. clip_audio hangs off face_tracks and not off the crop, so a new crop leaves all sound fresh.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emo_pipeline.assets.shards import shard_assets
from emo_pipeline.checks import AUDIO_AS_LONG_AS_VIDEO

if TYPE_CHECKING:
    from emo_model.data.store import DataRoot


def _features(root: "DataRoot", shard: str) -> Mapping[str, Any]:
    encoders = root.read("audio", shard, ["encoder"])["encoder"].to_pylist()
    return {"encoder": ", ".join(sorted(set(encoders))) or "no clip with sound"}


def _sync(root: "DataRoot", shard: str) -> Mapping[str, Any]:
    methods = root.read("sync", shard, ["method"])["method"].to_pylist()
    return {"scored by": ", ".join(sorted({m or "nothing: run emo weights get syncnet" for m in methods})) or "no clip"}


def _heard(root: "DataRoot", shard: str) -> Mapping[str, Any]:
    missing = {name for names in root.read("sound", shard, ["no_model"])["no_model"].to_pylist() for name in names}
    return {"null for lack of a model": ", ".join(sorted(missing)) or "nothing"}


clip_audio = shard_assets("clip_audio", "labels", {"ffmpeg", "wav"}, checks={"clip_audio": (AUDIO_AS_LONG_AS_VIDEO,)})
audio_features = shard_assets("audio_features", "labels", {"pytorch", "numpy"}, look_at=_features)
sync_scores = shard_assets("sync_scores", "labels", {"pytorch", "parquet"}, look_at=_sync)
sound_scores = shard_assets("sound_scores", "labels", {"pytorch", "parquet"}, look_at=_heard)
