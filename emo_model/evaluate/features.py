"""What metrics saw, kept on disk by content: ground truth and unchanged videos are decoded and looked at once.

    KEY.npy    the values, memory-mapped when read: a thousand clips' features need no memory
    KEY.json   the rest, written last: without it the values do not count

The folder may be deleted at any time. A key holds the bytes of the video, of what it was compared with and heard with,
how it was read, the network and its weights, and the version of the code that measures (Protocol.version).
"""

import json
from pathlib import Path

import numpy as np

from emo_model.data.store import text_sha256, write_array, write_json

from .scores import Observation


class Features:
    """Observations by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, key: str) -> bool:
        """Whether the observation is there, whole."""
        return self._rest(key).is_file()

    def read(self, key: str) -> Observation:
        """An observation that is there; its values are not to be written to."""
        rest = json.loads(self._rest(key).read_text(encoding="utf-8"))
        values = np.load(self._values(key), mmap_mode="r" if rest["found"] else None, allow_pickle=False)
        t_s = None if rest["t_s"] is None else np.array(rest["t_s"])
        return Observation(values, np.array(rest["found"], bool), rest["reason"], t_s)

    def write(self, key: str, seen: Observation) -> None:
        """Keep an observation."""
        write_array(self._values(key), np.asarray(seen.values))
        t_s = None if seen.t_s is None else np.asarray(seen.t_s, float).tolist()
        found = np.asarray(seen.found, int).tolist()
        write_json(self._rest(key), {"found": found, "reason": seen.reason, "t_s": t_s})

    def _values(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _rest(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def key_of(*parts: object) -> str:
    """A key of everything an observation depends on."""
    return text_sha256(*parts)[:32]
