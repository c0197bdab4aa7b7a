"""Portrait + voice -> video of any length (section 4.1): one, or one for each clip of a test set or row of a CSV."""

from emo_model.generate.manifest import GeneratedClip, generate_manifest
from emo_model.generate.pairs import GeneratedPair, PairsReport, generate_pairs
from emo_model.generate.video import GenerateReport, Settings, generate

__all__ = [
    "GenerateReport", "GeneratedClip", "GeneratedPair", "PairsReport", "Settings",
    "generate", "generate_manifest", "generate_pairs",
]  # fmt: skip
