"""The arithmetic of diffusion: the noise schedule, what a network predicts, and the steps back from noise.

Time runs from 0, the clean code, to 1, pure noise. The schedule is the cosine one in continuous time, and the network
predicts the velocity (Salimans and Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models", section 4
and appendix D). The sampler is DDIM without fresh noise (Song et al. 2021, equation 12).
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from hairclip.common.progress import progress_bar

__all__ = ["alpha_sigma", "clean_from", "noise_from", "noised", "sample", "velocity"]


def alpha_sigma(time: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of the clean code and of the noise at a time in [0, 1]. Their squares add up to 1."""
    angle = time * (math.pi / 2)
    return angle.cos(), angle.sin()


def noised(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Return codes (B, C, H, W) at the times (B,)."""
    alpha, sigma = _shares(time)
    return alpha * clean + sigma * noise


def velocity(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Return what the network shall predict at the times (B,): the derivative of `noised` by the angle."""
    alpha, sigma = _shares(time)
    return alpha * noise - sigma * clean


def clean_from(noisy: Tensor, predicted: Tensor, time: Tensor) -> Tensor:
    """Return the clean code that a predicted velocity means."""
    alpha, sigma = _shares(time)
    return alpha * noisy - sigma * predicted


def noise_from(noisy: Tensor, predicted: Tensor, time: Tensor) -> Tensor:
    """Return the noise that a predicted velocity means."""
    alpha, sigma = _shares(time)
    return sigma * noisy + alpha * predicted


def sample(
    predict: Callable[[Tensor, Tensor], Tensor],
    noisy: Tensor,
    *,
    steps: int,
    start: float = 1.0,
    known: Tensor | None = None,
    free: Tensor | None = None,
    label: str = "denoising",
    progress: bool = False,
) -> Tensor:
    """Return clean codes: walk from `start` to 0 in steps of equal length.

    Args:
        predict: noisy codes and times (B,) -> velocities.
        noisy: codes at the time `start`, (B, C, H, W).
        steps: number of steps.
        start: time of `noisy`.
        known: clean codes that are kept where `free` is 0; None where nothing is known.
        free: weight of what is painted, (B, 1, H, W) in {0, 1}.
        label: of the progress bar.
        progress: show a progress bar.
    """
    times = torch.linspace(start, 0.0, steps + 1).tolist()
    for now, following in progress_bar(list(pairwise(times)), label=label, show=progress, leave=False):
        time, later = noisy.new_full((len(noisy),), now), noisy.new_full((len(noisy),), following)
        predicted = predict(noisy, time)
        clean, noise = clean_from(noisy, predicted, time), noise_from(noisy, predicted, time)
        if known is not None and free is not None:
            clean = torch.where(free > 0, clean, known)
        noisy = noised(clean, noise, later)
    return noisy


def _shares(time: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma = alpha_sigma(time)
    return alpha[:, None, None, None], sigma[:, None, None, None]
