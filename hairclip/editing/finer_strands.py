"""Give an edit strands at the resolution of a photo that is larger than what the generator draws."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hairclip.common.images import Images, WPlus, resize_area
from hairclip.networks.stylegan2 import Generator

__all__ = ["add_finer_strands", "finer_size"]

_LARGEST = 1024
"""Largest size at which strands are drawn. At a larger one they would be thinner than a person sees."""
_EDGE = 0.7  # coverage at which thinner strands begin


def finer_size(generator: Generator, side: float) -> int:
    """Return the size at which strands are drawn for a square of `side` pixels in a photo.

    It is the generator's size, doubled as long as that stays within the square; a generator without strands keeps its
    size.
    """
    size = generator.size
    while generator.strands is not None and 2 * size <= min(side, _LARGEST):
        size *= 2
    return size


@torch.no_grad()
def add_finer_strands(
    foreground: Images, codes: WPlus, generator: Generator, size: int
) -> Float[Tensor, "batch 3 rows columns"]:
    """Return a foreground of (1, 3, size, size) whose hair has thinner strands than `foreground` can show.

    Args:
        foreground: the generator's picture of `codes`, perhaps in other colors, (1, 3, H, W) of its size.
        codes: of the edit, (1, n_latent, w_dim).
        generator: with strands.
        size: the generator's size times a power of two.
    """
    images, hair = generator.smooth(codes)
    fine = generator.with_strands(images, hair, size=size)
    enlarged, missed, coverage = (
        F.interpolate(one, size=(size, size), mode="bicubic", align_corners=False)
        for one in (foreground, resize_area(fine, generator.size), hair.coverage)
    )
    # Within the hair alone: at its outline two pictures of different sharpness would leave a fringe.
    inside = ((coverage - _EDGE) / (1 - _EDGE)).clamp(0, 1)
    return enlarged + inside * (fine - missed)
