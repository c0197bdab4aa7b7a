"""Portrait + voice -> video of any length (section 4.1): one, or one for each clip of a test set."""

from emo_model.generate.manifest import GeneratedClip, generate_manifest
from emo_model.generate.video import GenerateReport, Settings, generate

__all__ = ["GenerateReport", "GeneratedClip", "Settings", "generate", "generate_manifest"]
