"""Keys and values of portrait and voice: the same in all denoising steps of a clip, so the first one projects them."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from emo_model.networks.audio_layers import AudioAttention
from emo_model.networks.emo import EMO
from emo_model.networks.reference_attention import ReferenceAttention


class Once(nn.Module):
    """A projection that remembers the last tensor it was given, the object itself, and what came of it."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection
        self.given: Tensor | None = None
        self.found: Tensor | None = None

    def forward(self, given: Tensor) -> Tensor:
        """given (B, L, C) -> (B, L, heads x width)."""
        if self.given is not given:
            self.given, self.found = given, self.projection(given)
        assert self.found is not None
        return self.found


@contextmanager
def projected_once(emo: EMO) -> Iterator[None]:
    """Within, what reference- and audio-attentions are given again is not projected again. For one clip: what they
    remember is let go at the end."""
    attentions = [m.attention for m in emo.modules() if isinstance(m, ReferenceAttention | AudioAttention)]
    plain = [(each, each.to_k, each.to_v) for each in attentions]
    try:
        for each, key, value in plain:
            each.to_k, each.to_v = Once(key), Once(value)
        yield
    finally:
        for each, key, value in plain:
            each.to_k, each.to_v = key, value
