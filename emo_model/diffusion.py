"""Noise in, loss (equation 1), sampling: thin over diffusers' schedulers. One schedule trains and samples."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from emo_model import samplers
from emo_model.errors import UserError

Predict = Callable[[Tensor, Tensor], Tensor]  # (noisy latents (B, ...), steps (B,)) -> prediction, same shape


@dataclass(frozen=True)
class NoiseRecipe:
    """A noise schedule and what goes with it in training."""

    zero_terminal_snr: bool = False  # the last step is pure noise
    prediction: str = "epsilon"  # or "v_prediction", or "sample": the clean latents
    spacing: str = "leading"  # of the sampling steps
    min_snr: float | None = None  # gamma of min-SNR weighting
    noise_offset: float = 0.0  # share of the noise that is one value a channel
    shared: float = 0.0  # of the noise's variance, what all frames of a video have in common


RECIPES = {
    "sd15": NoiseRecipe(),  # Stable Diffusion's own, equation 1 read literally
    # What small networks learn fastest (emo_model/LOG.md): the clip's content counts at every noise level.
    "velocity": NoiseRecipe(zero_terminal_snr=True, prediction="v_prediction", spacing="trailing"),
    # The output need not carry the noise through layers a few channels wide: Li and He 2025, "Back to basics". Where
    # little but noise is seen, frames that share it are guessed alike: Ge et al. 2023, "Preserve your own correlation".
    "clean": NoiseRecipe(zero_terminal_snr=True, prediction="sample", spacing="trailing", shared=0.5),
    "modern": NoiseRecipe(True, "v_prediction", "trailing", min_snr=5.0, noise_offset=0.05),
}

CLEAN_WEIGHT = 5.0  # at most, of predicted clean latents; near no noise the velocity's weight grows without bound


def schedule(recipe: NoiseRecipe) -> DDIMScheduler:
    """The one scheduler of a checkpoint: its betas train, its steps sample."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=recipe.prediction,
        rescale_betas_zero_snr=recipe.zero_terminal_snr,
        timestep_spacing=recipe.spacing,
    )


def load_schedule(folder: Path) -> DDIMScheduler:
    """The scheduler saved in a checkpoint folder. UserError where there is none."""
    if not (folder / "scheduler" / "scheduler_config.json").is_file():
        raise UserError(f"no scheduler in {folder}: a checkpoint folder is wanted; run: emo train --help")
    return DDIMScheduler.from_pretrained(folder / "scheduler")


def load_recipe(folder: Path) -> str:
    """Name of the recipe that a checkpoint was trained with. UserError where its scheduler is another one's."""
    found = dict(load_schedule(folder).config)
    fitting = [
        name
        for name, recipe in RECIPES.items()
        if all(found.get(key) == value for key, value in schedule(recipe).config.items() if not key.startswith("_"))
    ]
    name = _named(folder) or next(iter(fitting), None)
    if name not in fitting:
        raise UserError(
            f"{folder / 'scheduler'} is not the schedule of the noise recipe {name}, which {folder.name} was trained "
            f"with: it fits {', '.join(fitting) or 'none'}; bring the checkpoint again"
        )
    return name


def load_shared(folder: Path) -> float:
    """What a checkpoint's frames have in common of their noise (NoiseRecipe.shared)."""
    recipe = RECIPES.get(_named(folder) or "")
    return recipe.shared if recipe else 0.0


def _named(folder: Path) -> str | None:
    provenance = folder / "provenance.json"
    numbers = json.loads(provenance.read_text()).get("train", {}) if provenance.is_file() else {}
    return numbers.get("noise")


def draw_noise(latents: Tensor, recipe: NoiseRecipe, generator: torch.Generator) -> Tensor:
    """Unit normal, shaped as latents (B, F, C, h, w), on the CPU so that every device sees the same."""
    noise = torch.randn(latents.shape, generator=generator)
    if recipe.shared:
        noise = mixed(torch.randn(latents[:, :1].shape, generator=generator), noise, recipe.shared)
    if recipe.noise_offset:
        batch, _, channels, *_ = latents.shape
        # One offset a clip and channel: a different one a frame would be flicker.
        noise = noise + recipe.noise_offset * torch.randn((batch, 1, channels, 1, 1), generator=generator)
    return noise.to(latents)


def mixed(common: Tensor, own: Tensor, shared: float) -> Tensor:
    """Unit normal of which `shared` of the variance is common (B, 1, C, h, w), and the rest each frame's own."""
    return shared**0.5 * common + (1 - shared) ** 0.5 * own


def add_noise(scheduler: DDIMScheduler, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """z_t = sqrt(alpha_t) z_0 + sqrt(1 - alpha_t) noise, with t (B,)."""
    return scheduler.add_noise(latents, noise, t)


def loss(
    predict: Predict,
    latents: Tensor,
    t: Tensor,
    noise: Tensor,
    scheduler: DDIMScheduler,
    min_snr: float | None = None,
) -> Tensor:
    """Equation 1: mean squared error between the noise and its prediction, one number a clip: (B,).

    latents, noise (B, F, C, h, w); t (B,). With v-prediction the target is the velocity; min-SNR weights each clip
    before anything is averaged. Predicted clean latents count as their velocity would, which is snr + 1 times as much,
    up to CLEAN_WEIGHT.
    """
    predicted = predict(add_noise(scheduler, latents, noise, t), t)
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        target = scheduler.get_velocity(latents, noise, t)
    else:
        target = {"epsilon": noise, "sample": latents}[kind]
    errors = (predicted.float() - target.float()).square().flatten(1).mean(dim=1)
    if kind == "sample":
        return errors * (_snr(scheduler, t) + 1).clamp(max=CLEAN_WEIGHT).to(errors)
    return errors if min_snr is None else errors * _min_snr_weight(scheduler, t, min_snr).to(errors)


def _min_snr_weight(scheduler: DDIMScheduler, t: Tensor, gamma: float) -> Tensor:
    """Hang et al. 2023, equation for noise (snr) or velocity (snr + 1) targets."""
    snr = _snr(scheduler, t)
    over = snr + 1 if scheduler.config.prediction_type == "v_prediction" else snr
    return torch.minimum(snr, torch.full_like(snr, gamma)) / over


@torch.no_grad()
def denoise(
    predict_noise: Predict, z: Tensor, scheduler: DDIMScheduler, steps: int = 40, sampler: str = "ddim"
) -> Tensor:
    """From unit noise z (B, ...) to latents, in 40 steps of DDIM (section 4.1). Nothing random is drawn."""
    solver = samplers.solver(scheduler, sampler, steps, z.device)
    for t in solver.timesteps:
        z = solver.step(predict_noise(z, t.expand(z.shape[0])), t, z).prev_sample
    return z


def guided(conditional: Predict, unconditional: Predict, scale: float) -> Predict:
    """Classifier-free guidance; scale 1 is the conditional prediction alone, the paper read literally."""
    if scale == 1.0:
        return conditional

    def predict(z: Tensor, t: Tensor) -> Tensor:
        without = unconditional(z, t)
        return without + scale * (conditional(z, t) - without)

    return predict


def _snr(scheduler: DDIMScheduler, t: Tensor) -> Tensor:
    alpha = scheduler.alphas_cumprod.to(t.device)[t].double()
    return alpha / (1 - alpha)
