"""A world small enough to learn in seconds: faces that slide over a patterned wall and speak; no files."""

import torch
from torch import Tensor

from emo_model.networks.config import EMOConfig
from emo_model.train.stages import Stage


class MovingFaces:
    """Clips by formula, with the interface of emo_model.data.dataset.ClipDataset.

    Clip k has its own colours, path and voice. The mouth opens as the voice says and the head turns as the speed says,
    so both conditions carry something that the reference does not.
    """

    def __init__(self, stage: Stage, network: EMOConfig, seed: int = 0, clips: tuple[int, int] = (0, 64)) -> None:
        self.stage, self.network, self.seed, self.clips = stage, network, seed, clips

    def batch(self, step: int, batch_size: int) -> dict:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        first, last = self.clips
        clips = torch.randint(first, last, (batch_size,), generator=generator)
        starts = torch.randint(10, 60, (batch_size,), generator=generator)
        others = torch.randint(0, 90, (batch_size,), generator=generator)
        rows = [self._row(int(k), int(s), int(o)) for k, s, o in zip(clips, starts, others, strict=True)]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0] if name != "clip_id"}
        return batch | {"clip_id": [row["clip_id"] for row in rows]}

    def fixed_batches(self, count: int, batch_size: int) -> list[dict]:
        return [self.batch(10_000_000 + i, batch_size) for i in range(count)]

    def _row(self, clip: int, start: int, other: int) -> dict:
        size, m = self.network.image_size, self.network.nearby
        frames = self.network.frames if self.stage.video else 1
        face = Face(clip, size)
        row = {
            "pixels": face.images(torch.arange(start, start + frames)),
            "reference": face.images(torch.tensor([other]))[0],
            "mask": face.mask(torch.arange(start, start + frames)),
            "clip_id": f"clip{clip}",
            "frame": torch.tensor(start),
            "reference_frame": torch.tensor(other),
        }
        if self.stage.video:
            around = torch.arange(start - m, start + frames + m)
            row["motion"] = face.images(torch.arange(start - self.network.motion_frames, start))
            row["audio"] = face.voice(around, self.network.audio_layers, self.network.audio_width)
            row["speed"] = face.speed(around)
        return row


class Face:
    """One clip: where the face is, how wide its mouth is open, what is heard and how fast it turns, by frame."""

    def __init__(self, clip: int, size: int) -> None:
        generator = torch.Generator().manual_seed(clip)
        draw = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
        self.size = size
        self.wall, self.skin, self.lips = draw(3) * 2 - 1, draw(3) * 0.8 + 0.2, draw(3) - 1
        self.stripes = 2 + 10 * draw(3)
        self.tempo, self.phase, self.sway = 0.05 + 0.15 * draw(2), 6.3 * draw(4), 0.1 + 0.15 * draw(2)
        self.syllables = 0.3 + 0.6 * draw(1)

    def centre(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        t = frames.float()
        x = self.sway[0] * torch.sin(self.tempo[0] * t + self.phase[0])
        return x, 0.5 * self.sway[1] * torch.sin(self.tempo[1] * t + self.phase[1])

    def mouth(self, frames: Tensor) -> Tensor:
        return 0.5 + 0.5 * torch.sin(self.syllables * frames.float() + self.phase[2])

    def speed(self, frames: Tensor) -> Tensor:
        """Degrees a frame: the path's slope, as if 90 degrees took the face across the image."""
        x, y = self.centre(frames)
        x1, y1 = self.centre(frames + 1)
        return 45 * torch.hypot(x1 - x, y1 - y)

    def voice(self, frames: Tensor, layers: int, width: int) -> Tensor:
        direction = torch.randn(2, layers, width, generator=torch.Generator().manual_seed(7))
        open_ = self.mouth(frames)[:, None, None]
        return open_ * direction[0] + (1 - open_) * direction[1]

    def images(self, frames: Tensor) -> Tensor:
        """(F, 3, H, W) in [-1, 1]."""
        y, x = self._grid()
        cx, cy = (c[:, None, None] for c in self.centre(frames))
        wall = self.wall[:, None, None] * torch.sin(self.stripes[0] * x + self.stripes[1] * y + self.phase[3])
        face = self._disc(x - cx, (y - cy) * 0.8, 0.5)
        eyes = sum(self._disc(x - cx - side, y - cy + 0.15, 0.08) for side in (-0.2, 0.2))
        lips = self._disc((x - cx) * 0.7, (y - cy - 0.25) / (0.3 + self.mouth(frames)[:, None, None]), 0.14)
        image = wall * (1 - face)[:, None] + self.skin[:, None, None] * face[:, None]
        image = image * (1 - eyes)[:, None] - 0.9 * eyes[:, None]
        return (image * (1 - lips)[:, None] + self.lips[:, None, None] * lips[:, None]).clamp(-1, 1)

    def mask(self, frames: Tensor) -> Tensor:
        """(1, H, W): the union of the frames' face boxes."""
        y, x = self._grid()
        cx, cy = (c[:, None, None] for c in self.centre(frames))
        inside = ((x - cx).abs() < 0.5) & ((y - cy).abs() < 0.62)
        return inside.any(dim=0)[None].float()

    def _grid(self) -> tuple[Tensor, Tensor]:
        line = torch.linspace(-1, 1, self.size)
        return torch.meshgrid(line, line, indexing="ij")

    def _disc(self, x: Tensor, y: Tensor, radius: float) -> Tensor:
        return torch.sigmoid(0.5 * self.size * (radius - torch.hypot(x, y)))
