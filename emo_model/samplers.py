"""Samplers of a checkpoint's own schedule: DDIM, the paper's, and two of second order that need fewer steps.

DDIM steps evenly in t. DPM++ and UniPC gain little so: nearly all of their error falls where little noise is left. They
step as Karras et al. 2022 (equation 5) place noise levels, at whole t, which the network was trained on. Of Gaussian
data 20 steps leave less than a third of the error of DDIM's 40 (tests/model/test_samplers.py).
"""

import diffusers
import torch
from diffusers import DDIMScheduler, SchedulerMixin

from emo_model.errors import UserError

# Names of diffusers: the two of second order import scipy.stats, which who trains or samples by DDIM need not wait for.
SAMPLERS = {"ddim": "DDIMScheduler", "dpm++": "DPMSolverMultistepScheduler", "unipc": "UniPCMultistepScheduler"}
RHO = 7  # Karras et al. 2022
MOST_NOISE = 20.0  # over signal: above it steps are wasted, save the first, which begins at the schedule's end


def solver(scheduler: DDIMScheduler, sampler: str, steps: int, device: torch.device) -> SchedulerMixin:
    """The sampler on the schedule's betas and prediction (noise or velocity), its `timesteps` and `step` ready.

    UserError where there is no such sampler.
    """
    require(sampler)
    if sampler == "ddim":
        scheduler.set_timesteps(steps, device=device)
        return scheduler
    # With zero terminal SNR diffusers gives these a signal of 2^-12 at the end, and DDIM none.
    found = getattr(diffusers, SAMPLERS[sampler]).from_config(scheduler.config)
    found.set_timesteps(steps)
    levels = ((1 - found.alphas_cumprod) / found.alphas_cumprod).double().sqrt()
    at = _steps(levels, steps)
    found.timesteps = torch.tensor(at, device=device)
    found.sigmas = torch.cat([levels[at], levels.new_zeros(1)]).float()
    return found


def require(sampler: str) -> None:
    """UserError where there is no such sampler."""
    if sampler not in SAMPLERS:
        raise UserError(f"no sampler {sampler!r}: {', '.join(SAMPLERS)} are wanted; run: emo generate --sampler ddim")


def _steps(levels: torch.Tensor, steps: int) -> list[int]:
    """Falling t whose noise levels lie as Karras places them, from the schedule's end to t = 0. levels (T,) rise."""
    end, most, least = len(levels) - 1, min(MOST_NOISE, float(levels[-1])), float(levels[0])
    jump = [end] if levels[-1] > most else []  # before the first that is placed
    share = torch.linspace(0, 1, steps - len(jump), dtype=levels.dtype)
    placed = (most ** (1 / RHO) + share * (least ** (1 / RHO) - most ** (1 / RHO))) ** RHO
    at = [*jump, *torch.searchsorted(levels, placed).clamp(max=end).tolist()]
    for number in range(1, steps):  # no two at one t
        at[number] = min(at[number], at[number - 1] - 1)
    return [max(t, steps - 1 - number) for number, t in enumerate(at)]
