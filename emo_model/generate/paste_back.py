"""The result set back into the picture it was cut from, its edge fading into what is around it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emo_model.data.media import Picture
from emo_model.generate.portrait import Square

LARGEST = 1920  # pixels a side of the video: what every player and phone decodes
SOFT = 1 / 12  # of the square's side: how far its edge fades


@dataclass(frozen=True)
class PasteBack:
    """A portrait (H, W, 3) of even sides, and where in it the frames belong."""

    portrait: Picture
    square: Square  # in its pixels; it may reach beyond them

    @classmethod
    def into(cls, picture: Picture, square: Square) -> "PasteBack":
        """The picture at its own size, or at LARGEST; an odd last row or column is left out."""
        import cv2

        height, width = picture.shape[:2]
        scale = min(1.0, LARGEST / max(height, width))
        if scale < 1:
            size = max(2, round(width * scale)), max(2, round(height * scale))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        x, y, side = (round(number * scale) for number in square)
        return cls(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2], (x, y, max(side, 1)))

    def __call__(self, frame: Picture) -> Picture:
        """A generated frame (S, S, 3) in the portrait, (H, W, 3)."""
        import cv2

        x, y, side = self.square
        height, width = self.portrait.shape[:2]
        how = cv2.INTER_AREA if side < len(frame) else cv2.INTER_CUBIC
        pasted = cv2.resize(frame, (side, side), interpolation=how)
        rows, columns = slice(max(y, 0), min(y + side, height)), slice(max(x, 0), min(x + side, width))
        seen = pasted[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        share = self._share[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x, None]
        whole = self.portrait.copy()
        whole[rows, columns] = np.round(share * seen + (1 - share) * whole[rows, columns])
        return whole

    @cached_property
    def _share(self) -> NDArray[np.float32]:
        """(side, side): 1 inside, falling to 0 at those edges beyond which the portrait goes on."""
        x, y, side = self.square
        height, width = self.portrait.shape[:2]
        across = _fading(side, before=x > 0, behind=x + side < width)
        return _fading(side, before=y > 0, behind=y + side < height)[:, None] * across


def _fading(side: int, before: bool, behind: bool) -> NDArray[np.float32]:
    """(side,) a smooth rise at the beginning and fall at the end, each where it is wanted."""
    depth = max(side * SOFT, 1.0)
    place = np.arange(side, dtype=np.float32) + 0.5
    ramps = [np.clip(reach / depth, 0, 1) for reach, wanted in ((place, before), (side - place, behind)) if wanted]
    rise = np.minimum.reduce([np.ones(side, np.float32), *ramps])
    return rise * rise * (3 - 2 * rise)
