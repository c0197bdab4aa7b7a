"""The rendered talking set: heads whose pose, speed and mouth are known exactly, as ordinary mp4 with sound.

No package carries a good talking head with sound, and no real video has ground truth. These stand beside the real
samples: the demo trains on them, and the tests hold the labels against their truth.
"""

from emo_model.talking_set.render import RenderedVideo, render_set

__all__ = ["RenderedVideo", "render_set"]
