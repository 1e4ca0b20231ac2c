"""Membranes: values known in one part of a picture, stretched over the rest as a soap film would hang.

A membrane solves Laplace's equation with the known pixels as its rim (Perez, Gangnet, Blake 2003, "Poisson Image
Editing", equation 2) and meets the picture's border at a right angle. `fill_smoothly` is a quick guess of it, and the
start of the exact solution.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.images import Images, Masks, SoftMasks

__all__ = ["Fields", "fill_smoothly", "membrane", "plain_background", "smooth_means"]

Fields = Float[Tensor, "batch channels height width"]
# Most of the work is done where pixels are few: this many steps on the finest level, twice as many one level down, ...
FINEST_STEPS = 12
COARSEST_SIZE = 8
CELLS = 8


def plain_background(images: Images, background: Masks) -> Images:
    """Pictures whose background is replaced by its own smooth mean colours.

    Args:
        images: ``(B, 3, H, W)``.
        background: where they show it, ``(B, 1, H, W)``; every other pixel stays as it is.
    """
    return torch.where(background, smooth_means(images, background).clamp(-1.0, 1.0), images)


def smooth_means(values: Fields, where: Masks) -> Fields:
    """Means of `values` over the pixels `where`, with detail of an eighth of the side, continued over all others."""
    cells, mass = values, where.to(values.dtype)
    while max(cells.shape[-2:]) > CELLS:
        cells, mass = _shrink(cells, mass)
    cells = fill_smoothly(cells, (mass * 4.0).clamp(max=1.0))
    return F.interpolate(cells, size=values.shape[-2:], mode="bicubic", align_corners=False)


def fill_smoothly(values: Fields, weights: SoftMasks) -> Fields:
    """Extend `values`, known where `weights` > 0, smoothly over the whole picture; zero where nothing is known.

    The pull-push pyramid of Gortler et al. (The Lumigraph, 1996, section 4.3): average downwards by weight, then
    fill the gaps of each level from the coarser one. It approximates the membrane in O(pixels).
    """
    if values.shape[-1] <= 1 and values.shape[-2] <= 1:
        return values
    coarse_values, mass = _shrink(values, weights)
    coarse = fill_smoothly(coarse_values, (mass * 4.0).clamp(max=1.0))
    return torch.lerp(_enlarge(coarse, values), values, weights)


def membrane(values: Fields, known: Masks, steps: int = FINEST_STEPS) -> Fields:
    """The smoothest continuation of `values` from the `known` pixels over all others.

    Conjugate gradients on every level of a pyramid, from coarse to fine, each starting where the coarser one ended:
    the cascadic multigrid of Bornemann and Deuflhard (1996). The number of steps is fixed, so that a sample's answer
    depends neither on its neighbours in the batch nor on its own values, and nothing waits for a GPU.

    Args:
        values: read where `known` is true only.
        known: pixels that stay as they are.
        steps: conjugate gradient steps on the finest level.

    Returns:
        `values` where known; elsewhere each pixel the mean of its neighbours; zero where nothing at all is known.
    """
    values = torch.where(known, values, torch.zeros_like(values))
    height, width = values.shape[-2:]
    if min(height, width) > COARSEST_SIZE:
        coarse_values, mass = _shrink(values, known.to(values.dtype))
        start = _enlarge(membrane(coarse_values, mass > 0, 2 * steps), values)
    else:
        start, steps = fill_smoothly(values, known.to(values.dtype)), height * width
    return _relax(torch.where(known, values, start), (~known).to(values.dtype), min(steps, height * width))


def _shrink(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means of 2 x 2 pixels and the mean weights."""
    mass = F.avg_pool2d(weights, 2, ceil_mode=True)
    weighted = F.avg_pool2d(values * weights, 2, ceil_mode=True)
    return torch.where(mass > 0, weighted / mass.clamp_min(1e-6), torch.zeros_like(weighted)), mass


def _enlarge(coarse: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(coarse, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _stiffness(field: Fields) -> Fields:
    """Sum of differences to the four neighbours; over the border there is none."""
    total = torch.zeros_like(field)
    across, down = field[..., :, 1:] - field[..., :, :-1], field[..., 1:, :] - field[..., :-1, :]
    total[..., :, 1:] += across
    total[..., :, :-1] -= across
    total[..., 1:, :] += down
    total[..., :-1, :] -= down
    return total


def _relax(field: Fields, free: SoftMasks, steps: int) -> Fields:
    """Conjugate gradients (Hestenes and Stiefel 1952) for Laplace's equation on the pixels where `free` is 1."""

    def dot(a: Fields, b: Fields) -> Tensor:
        return (a * b).sum(dim=(-2, -1), keepdim=True)

    residual = -_stiffness(field) * free
    direction, energy = residual, dot(residual, residual)
    still = 1e-14 * energy.clamp_min(1e-12)  # converged: further steps would divide noise by noise
    for _ in range(steps):
        bent = _stiffness(direction) * free
        stiffness = dot(direction, bent)
        alive = (energy > still) & (stiffness > 0)
        pace = torch.where(alive, energy / stiffness.clamp_min(1e-30), 0.0)
        field = field + pace * direction
        residual = residual - pace * bent
        renewed = dot(residual, residual)
        direction = residual + torch.where(alive, renewed / energy.clamp_min(1e-30), 0.0) * direction
        energy = renewed
    return field
