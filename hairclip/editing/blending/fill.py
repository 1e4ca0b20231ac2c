"""Extend values that are known in one part of a picture over the rest of it.

A membrane hangs between the known pixels as a soap film would: it solves Laplace's equation with the known pixels as
boundary values (Perez, Gangnet, Blake 2003, "Poisson Image Editing", equation 2), and its slope across the picture's
border is 0. `fill_smoothly` approximates the membrane quickly; `solve_membrane` starts from it.
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
STEPS = 5
"""Steps of the solver. They leave an error of less than one of 255 levels."""
CELLS = 8
"""`spread_means` keeps this many cells along the longer side."""


def plain_background(images: Images, background: Masks) -> Images:
    """Return pictures whose background is replaced by its own smooth mean colors.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        background: pixels of the background, (B, 1, H, W). The other pixels keep their values.
    """
    return torch.where(background, spread_means(images, background).clamp(-1.0, 1.0), images)


def spread_means(values: Fields, where: Masks) -> Fields:
    """Return the local means of `values` over the pixels `where`, extended smoothly over the whole picture.

    Detail finer than an eighth of the longer side is averaged out.
    """
    cells, mass = values, where.to(values.dtype)
    while max(cells.shape[-2:]) > CELLS:
        cells, mass = _shrink(cells, mass)
    cells = fill_smoothly(cells, (mass * 4.0).clamp(max=1.0))
    return F.interpolate(cells, size=values.shape[-2:], mode="bicubic", align_corners=False)


def fill_smoothly(values: Fields, weights: SoftMasks) -> Fields:
    """Return `values`, known where `weights` > 0, extended smoothly over the whole picture.

    This is the pull-push pyramid of Gortler et al. 1996 ("The Lumigraph", section 4.3): average downwards by weight,
    then fill the gaps of each level from the coarser one. It takes time in proportion to the pixels. Where nothing at
    all is known, the result is 0.
    """
    if values.shape[-1] <= 1 and values.shape[-2] <= 1:
        return values
    coarse_values, mass = _shrink(values, weights)
    coarse = fill_smoothly(coarse_values, (mass * 4.0).clamp(max=1.0))
    return torch.lerp(enlarge_to(coarse, values), values, weights)


def solve_membrane(values: Fields, known: Masks) -> Fields:
    """Return the membrane through the known pixels.

    Args:
        values: (B, C, H, W); only known pixels are read.
        known: the known pixels, (B, 1, H, W).

    Returns:
        The values of known pixels; at each other pixel the mean of its four neighbors. 0 where nothing at all is known.
    """
    values = torch.where(known, values, torch.zeros_like(values))
    guess = torch.where(known, values, fill_smoothly(values, known.to(values.dtype)))
    free = (~known).to(values.dtype).expand_as(values)
    return relax(guess.flatten(0, 1), free.flatten(0, 1), STEPS).view_as(values)


def solve_membranes(*fields: tuple[Fields, Masks]) -> tuple[Fields, ...]:
    """Return the membranes of several pairs of values and known pixels of one size; together they take less time."""
    values, known = (torch.cat(one) for one in zip(*fields, strict=True))
    return solve_membrane(values, known).chunk(len(fields))


def _shrink(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted means of 2 x 2 pixels and their mean weights."""
    mass, weighted = halve(weights), halve(values * weights)
    return torch.where(mass > 0, weighted / mass.clamp_min(1e-6), torch.zeros_like(weighted)), mass
