"""The small world's Stable Diffusion: a UNet that has learned its stills, from which both of EMO's start (section 3.2).

Without it ReferenceNet and Backbone begin as strangers, and the Temporal Modules, who read both in one attention,
hardly learn to go on where the motion frames end (emo_model/LOG.md).
"""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import DDIMScheduler

from emo_model import diffusion
from emo_model.networks.conditions import Conditions
from emo_model.networks.config import EMOConfig
from emo_model.networks.emo import EMO, seeded
from emo_model.networks.weights import TEXT, from_stable_diffusion
from emo_model.true_world.estimator import frames
from emo_model.true_world.people import people

LEARNING_RATE = 2e-3
AVERAGE = 0.995


def pretrained(
    network: EMOConfig,
    scheduler: DDIMScheduler,
    steps: int,
    batch: int = 32,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> EMO:
    """EMO with both UNets from one that was trained on stills without any condition; all else as it starts."""
    emo = seeded(network, seed)
    unet, known = emo.backbone.unet, people(4000, seed=200 + seed).traits
    names = [name for name, _ in unet.named_parameters() if not TEXT.search(name)]
    trained = {name: parameter for name, parameter in unet.named_parameters() if name in set(names)}
    average = {name: parameter.detach().clone() for name, parameter in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=min(0.3, 50 / steps)
    )
    rng, generator = np.random.default_rng([31, seed]), torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        latents = emo.encode_pixels(frames(batch, rng, known, network.image_size)[0])[:, None]
        t = torch.randint(scheduler.config.num_train_timesteps, (batch,), generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        loss = diffusion.loss(
            lambda z, at: emo.backbone(z, at, Conditions(frames=1, reference=None)), latents, t, noise, scheduler
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        rate.step()
        with torch.no_grad():
            for name, kept in average.items():
                kept.lerp_(trained[name], 1 - min(AVERAGE, step / (step + 10)))
        if step % 100 == 0:
            report(step, loss.item())
    from_stable_diffusion(emo, average)
    return emo
