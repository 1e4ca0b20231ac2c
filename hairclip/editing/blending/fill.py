"""Membranes: values known in one part of a picture, stretched over the rest as a soap film would hang.

A membrane solves Laplace's equation with the known pixels as its rim (Perez, Gangnet, Blake 2003, "Poisson Image
Editing", equation 2) and meets the picture's border at a right angle. `fill_smoothly` is a quick guess of it, and
where its solution starts.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import Images, Masks, SoftMasks
from hairclip.editing.blending.laplace import relax
from hairclip.editing.blending.pyramid import enlarge_to, halve

__all__ = ["Fields", "fill_smoothly", "plain_background", "solve_membrane", "solve_membranes", "spread_means"]

Fields = Float[Tensor, "batch channels height width"]
STEPS = 5  # leave less than one of 255 levels of the picture's range
CELLS = 8


def plain_background(images: Images, background: Masks) -> Images:
    """Pictures whose background is replaced by its own smooth mean colours.

    Args:
        images: ``(B, 3, H, W)``.
        background: where they show it, ``(B, 1, H, W)``; every other pixel stays as it is.
    """
    return torch.where(background, spread_means(images, background).clamp(-1.0, 1.0), images)


def spread_means(values: Fields, where: Masks) -> Fields:
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
    return torch.lerp(enlarge_to(coarse, values), values, weights)


def solve_membrane(values: Fields, known: Masks) -> Fields:
    """The smoothest continuation of `values` from the `known` pixels over all others.

    Args:
        values: read where `known` is true only.
        known: pixels that stay as they are.

    Returns:
        `values` where known; elsewhere each pixel the mean of its neighbours; zero where nothing at all is known.
    """
    values = torch.where(known, values, torch.zeros_like(values))
    guess = torch.where(known, values, fill_smoothly(values, known.to(values.dtype)))
    free = (~known).to(values.dtype).expand_as(values)
    return relax(guess.flatten(0, 1), free.flatten(0, 1), STEPS).view_as(values)


def solve_membranes(*fields: tuple[Fields, Masks]) -> tuple[Fields, ...]:
    """`solve_membrane` of several fields of one size with their known pixels: small ones take no longer than one."""
    values, known = (torch.cat(one) for one in zip(*fields, strict=True))
    return solve_membrane(values, known).chunk(len(fields))


def _shrink(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means of 2 x 2 pixels and the mean weights."""
    mass, weighted = halve(weights), halve(values * weights)
    return torch.where(mass > 0, weighted / mass.clamp_min(1e-6), torch.zeros_like(weighted)), mass
