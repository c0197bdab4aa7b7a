"""Equation 1, noise and sampling against values worked out by hand or by diffusers."""

import pytest
import torch
from diffusers import DDPMScheduler

from emo_model import diffusion
from emo_model.diffusion import RECIPES, add_noise, denoise, draw_noise, guided, loss, schedule

SHAPE = (3, 2, 4, 5, 5)  # B, F, C, h, w
T = torch.tensor([10, 500, 990])


def latents(seed: int = 0) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_the_default_schedule_is_stable_diffusions():
    scheduler = schedule(RECIPES["sd15"])
    stable = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    assert torch.equal(scheduler.alphas_cumprod, stable.alphas_cumprod)
    assert scheduler.config.prediction_type == "epsilon"


def test_equation_1_is_the_squared_error_of_the_noise_by_clip():
    scheduler, noise = schedule(RECIPES["sd15"]), latents(1)
    wrong = torch.tensor([0.0, 1.0, 2.0])[:, None, None, None, None]
    found = loss(lambda z, t: noise + wrong, latents(), T, noise, scheduler)
    assert found.tolist() == pytest.approx([0.0, 1.0, 4.0], abs=1e-6)


def test_the_predictor_sees_noisy_latents_and_the_step():
    scheduler, noise = schedule(RECIPES["sd15"]), latents(1)
    alpha = scheduler.alphas_cumprod[T][:, None, None, None, None]

    def predict(z, t):
        torch.testing.assert_close(z, alpha.sqrt() * latents() + (1 - alpha).sqrt() * noise)
        assert torch.equal(t, T)
        return noise

    assert loss(predict, latents(), T, noise, scheduler).max() == 0


def test_min_snr_weights_each_clip_before_the_mean():
    """hallo multiplied a mean by the mean of the weights, which weights nothing (its stage 2)."""
    scheduler, noise = schedule(RECIPES["modern"]), latents(1)
    plain = loss(lambda z, t: torch.zeros_like(z), latents(), T, noise, scheduler)
    weighted = loss(lambda z, t: torch.zeros_like(z), latents(), T, noise, scheduler, min_snr=5.0)
    snr = scheduler.alphas_cumprod[T] / (1 - scheduler.alphas_cumprod[T])
    torch.testing.assert_close(weighted / plain, snr.clamp(max=5) / (snr + 1), rtol=1e-4, atol=1e-6)
    assert (weighted / plain).unique().numel() == 3


def test_predicted_clean_latents_count_as_their_velocity_would_up_to_a_bound():
    """The same wrong answer, said as clean latents and as the velocity that belongs to it."""
    clean, velocity, noise = schedule(RECIPES["clean"]), schedule(RECIPES["velocity"]), latents(1)
    t = torch.tensor([300, 700, 999])
    said = loss(lambda z, t: latents(2), latents(), t, noise, clean)

    def the_velocity(z, t):
        alpha = velocity.alphas_cumprod[t][:, None, None, None, None]
        return (alpha.sqrt() * z - latents(2)) / (1 - alpha).sqrt()

    torch.testing.assert_close(said, loss(the_velocity, latents(), t, noise, velocity), rtol=1e-3, atol=1e-4)
    bounded = loss(lambda z, t: latents() + 1, latents(), torch.tensor([1, 5, 20]), noise, clean)
    assert bounded.tolist() == pytest.approx([diffusion.CLEAN_WEIGHT] * 3)


def test_zero_terminal_snr_ends_in_pure_noise_in_training_and_starts_there_in_sampling():
    scheduler, noise = schedule(RECIPES["modern"]), latents(1)
    last = torch.full((3,), 999)
    torch.testing.assert_close(add_noise(scheduler, latents(), noise, last), noise, rtol=0, atol=1e-4)
    scheduler.set_timesteps(40)
    assert scheduler.timesteps[0] == 999


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("steps", [10, 40])
def test_denoise_finds_the_latents_when_the_prediction_is_right(recipe, steps):
    scheduler, clean = schedule(RECIPES[recipe]), latents()

    def perfect(z, t):
        alpha = scheduler.alphas_cumprod[t][:, None, None, None, None]
        noise = (z - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        said = {"epsilon": noise, "v_prediction": velocity, "sample": clean}
        return said[scheduler.config.prediction_type]

    found = denoise(perfect, latents(2), scheduler, steps)
    assert (found - clean).abs().max() < 0.15  # the last step of SD's schedule keeps 0.03 of the noise
    assert (found - clean).std() < 0.05


def test_denoise_asks_as_often_as_it_has_steps_and_draws_nothing():
    asked = []

    def predict(z, t):
        asked.append(t)
        return torch.zeros_like(z)

    state = torch.get_rng_state()
    denoise(predict, latents(), schedule(RECIPES["sd15"]), 7)
    assert len(asked) == 7 and asked[0].shape == (3,)
    assert torch.equal(torch.get_rng_state(), state)


def test_guidance_of_1_is_the_conditional_prediction_and_asks_for_nothing_else():
    def never(z, t):
        raise AssertionError("asked without conditions")

    conditional = lambda z, t: z + 1  # noqa: E731
    assert guided(conditional, never, 1.0) is conditional
    z = torch.zeros(1)
    assert guided(conditional, lambda z, t: z, 3.5)(z, T).item() == 3.5


def test_noise_is_the_same_on_every_draw_and_its_offset_is_one_a_clip_and_channel():
    draw = lambda recipe: draw_noise(latents(), RECIPES[recipe], torch.Generator().manual_seed(5))  # noqa: E731
    assert torch.equal(draw("sd15"), draw("sd15"))
    offset = draw("modern") - draw("sd15")
    assert offset.abs().max() > 0
    torch.testing.assert_close(offset, offset[:, :1, :, :1, :1].expand(SHAPE), rtol=0, atol=1e-6)


def test_frames_of_a_clip_share_half_of_their_noise_and_clips_none():
    noise = draw_noise(torch.empty(2, 3, 4, 50, 50), RECIPES["clean"], torch.Generator().manual_seed(0)).flatten(2)
    together = torch.cov(noise.flatten(0, 1))
    expected = torch.block_diag(*[0.5 * torch.eye(3) + 0.5] * 2)
    torch.testing.assert_close(together, expected, rtol=0, atol=0.04)


def test_a_folder_without_a_scheduler_is_refused(tmp_path):
    with pytest.raises(diffusion.UserError, match="no scheduler"):
        diffusion.load_schedule(tmp_path)
