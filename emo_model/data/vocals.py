"""Vocal separation: an optional function of the user's that takes the voice out of a clip's sound before the encoder.

    0_raw/data_config.json: "vocals": "package.module:function"      samples (N,) float32 in [-1, 1], rate -> the same

It runs in this process, for the audio features only: the stored sound and its scores stay as they are.
"""

from collections.abc import Callable
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from emo_model.errors import UserError

Samples = NDArray[np.float32]


def separator(name: str) -> Callable[[Samples, int], Samples]:
    """The function called `package.module:function`, its answers checked; "" leaves the sound as it is.

    UserError where it cannot be imported, and where it answers with anything but finite samples, as many as it got.
    """
    if not name:
        return lambda samples, rate: samples
    module, _, function = name.partition(":")
    try:
        separate = getattr(import_module(module), function)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UserError(
            f"vocals {name!r} cannot be imported ({type(error).__name__}: {error}); wanted package.module:function, "
            "importable by this Python: install it, or mend `vocals` in 0_raw/data_config.json"
        ) from error

    def checked(samples: Samples, rate: int) -> Samples:
        voice = np.asarray(separate(samples, rate))
        if voice.shape != samples.shape or voice.dtype.kind != "f" or not np.isfinite(voice).all():
            raise UserError(
                f"vocals {name!r}: wanted {len(samples)} finite float samples of shape {samples.shape}, got "
                f"{voice.dtype} of shape {voice.shape}; mend the function or `vocals` in 0_raw/data_config.json"
            )
        return voice.astype(np.float32)

    return checked
