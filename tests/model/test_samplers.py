"""DDIM, DPM++ and UniPC where the exact answer is known: data that is Gaussian, whose best prediction is a formula."""

import pytest
import torch
from diffusers import DDIMScheduler

from emo_model.diffusion import RECIPES, denoise, schedule
from emo_model.errors import UserError
from emo_model.samplers import SAMPLERS, solver

MEAN, SPREAD = 0.3, 0.6
Z = torch.linspace(-2.5, 2.5, 41, dtype=torch.float64)[None]


def best(scheduler: DDIMScheduler, alphas: torch.Tensor):
    """What a perfect network predicts of data that is normal with MEAN and SPREAD."""

    def predict(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a = alphas[t][:, None]
        clean = MEAN + a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a) * (z - a.sqrt() * MEAN)
        noise = (z - a.sqrt() * clean) / (1 - a).sqrt()
        said = {"epsilon": noise, "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * clean, "sample": clean}
        return said[scheduler.config.prediction_type]

    return predict


def error(recipe: str, sampler: str, steps: int) -> float:
    """Largest distance to where the probability flow leads: each quantile of the noise to the same one of the data."""
    scheduler = schedule(RECIPES[recipe])
    found = solver(scheduler, sampler, steps, Z.device)
    alphas = found.alphas_cumprod.double()
    begin = alphas[int(found.timesteps[0])]
    quantile = (Z - begin.sqrt() * MEAN) / (begin * SPREAD**2 + 1 - begin).sqrt()
    end = alphas[0] if sampler == "ddim" else alphas.new_tensor(1.0)  # DDIM leaves what noise the schedule begins with
    exact = end.sqrt() * MEAN + (end * SPREAD**2 + 1 - end).sqrt() * quantile
    return float((denoise(best(scheduler, alphas), Z, scheduler, steps, sampler) - exact).abs().max())


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_comes_to_the_exact_answer(recipe, sampler):
    errors = [error(recipe, sampler, steps) for steps in (20, 40, 200)]
    assert errors[0] > 1.5 * errors[1] and errors[2] < 0.025  # of data that spreads over 3


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("sampler", ["dpm++", "unipc"])
def test_the_second_order_ones_do_with_half_the_steps(recipe, sampler):
    """Evenly spaced in t, as diffusers has them from the schedule, they left as much as DDIM: 0.07 to 0.1."""
    assert error(recipe, sampler, 20) < error(recipe, "ddim", 40) / 3


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 20, 400])
def test_as_many_steps_as_asked_each_lower_than_the_one_before(recipe, sampler, steps):
    found = solver(schedule(RECIPES[recipe]), sampler, steps, Z.device)
    times = found.timesteps.tolist()
    assert len(times) == steps and times == sorted(set(times), reverse=True)
    if RECIPES[recipe].zero_terminal_snr or sampler != "ddim":
        assert times[0] == 999  # where the noise stands that sampling begins with


def test_the_network_is_asked_at_the_noise_level_it_is_told():
    """Karras's levels between two t would be another noise than training ever showed with that t."""
    for sampler in ("dpm++", "unipc"):
        found = solver(schedule(RECIPES["velocity"]), sampler, 20, Z.device)
        levels = ((1 - found.alphas_cumprod) / found.alphas_cumprod).sqrt()[found.timesteps]
        torch.testing.assert_close(found.sigmas[:-1], levels)


def test_a_sampler_that_is_none_is_named_with_those_there_are():
    with pytest.raises(UserError, match="ddim, dpm\\+\\+, unipc"):
        solver(schedule(RECIPES["sd15"]), "euler", 20, Z.device)
