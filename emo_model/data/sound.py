"""Step sound_scores: what is to be heard in a clip: speech, one voice or several, music, clipped samples.

The sound as cut is scored: a new crop remakes nothing here. Without a network's weights its score is null.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data.audio import read_wav
from emo_model.data.rows_of import by_clip, clips_of, items_by_video
from emo_model.data.shards import Item, Result, Step
from emo_model.data.store import DataRoot

FULL_SCALE = 0.999  # a sample from here on is clipped
NEEDS = {"speech_fraction": ("silero_vad",), "other_voice_fraction": ("silero_vad", "resemblyzer")}


def missing_models() -> list[str]:
    """Scores that this machine has no model for."""
    return sorted(score for score, names in NEEDS.items() if not all(weights.have(name) for name in names))


def _items(root: DataRoot, shard: str) -> list[Item]:
    have = (f"{name} {weights.REGISTRY[name].sha256}" for name in NEEDS["other_voice_fraction"] if weights.have(name))
    return items_by_video(root, shard, ("clip_audio",), *have)


def _work(root: DataRoot, shard: str, item: Item) -> Result:
    sounds = by_clip(root, "clip_audio", shard, clips_of(root, shard, item.key))
    rows = [{"clip_id": name, **sound_scores(read_wav(root.path / row["path"]))} for name, row in sounds.items()]
    return Result({"sound": rows})


def sound_scores(samples: NDArray[np.float32]) -> dict[str, Any]:
    """The scores of a sound (N,), 16 kHz mono in [-1, 1], by their column in `sound`."""
    from emo_model.data.music import music_fraction
    from emo_model.data.voice_activity import speaks
    from emo_model.data.voices import other_voice_fraction

    scores: dict[str, Any] = dict.fromkeys(NEEDS)
    missing = missing_models()
    if "speech_fraction" not in missing:
        speech = speaks(samples)
        scores["speech_fraction"] = float(speech.mean())
        if "other_voice_fraction" not in missing:
            scores["other_voice_fraction"] = other_voice_fraction(samples[speech])
    scores["music_fraction"] = music_fraction(samples)
    scores["clipped_fraction"] = float(np.mean(np.abs(samples) >= FULL_SCALE))
    return {**scores, "no_model": missing}


SOUND_SCORES = Step(
    name="sound_scores",
    version=1,
    tables=("sound",),
    after=("clip_audio",),
    description="Shares of each clip's sound: speech, other voices, music, clipped samples; null without the weights.",
    items=_items,
    work=_work,
)
