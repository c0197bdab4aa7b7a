"""Presets: every number of data, network and training under one name.

TINY trains on two CPU cores in minutes; PAPER has the paper's sizes. A variant is one line on another:
`TINY.model_copy(update={...})`. Each number stands where it is used, with the paper's section beside it:
`data/config.py`, `networks/config.py`, `train/config.py`.
"""

from pydantic import BaseModel, ConfigDict

from emo_model.data.config import PAPER_DATA, TINY_DATA, DataConfig
from emo_model.errors import UserError
from emo_model.networks.config import PAPER_NETWORK, TINY_NETWORK, EMOConfig
from emo_model.train.config import PAPER_TRAIN, TINY_TRAIN, TrainConfig


class Preset(BaseModel):
    """One name's numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    data: DataConfig
    network: EMOConfig
    train: TrainConfig


TINY = Preset(name="TINY", data=TINY_DATA, network=TINY_NETWORK, train=TINY_TRAIN)
PAPER = Preset(name="PAPER", data=PAPER_DATA, network=PAPER_NETWORK, train=PAPER_TRAIN)
PRESETS = {preset.name: preset for preset in (TINY, PAPER)}


def preset(name: str) -> Preset:
    """A preset by its name. UserError names the ones there are."""
    if name not in PRESETS:
        raise UserError(f"no preset {name!r}: wanted one of {', '.join(PRESETS)}; run: emo train --preset TINY")
    return PRESETS[name]
