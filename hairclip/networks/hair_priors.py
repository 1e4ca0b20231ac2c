"""What hair of each hairstyle looks like on average: where it is, and how light it is there."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hairclip.common.images import SoftMasks

__all__ = ["GROW", "MAY_COVER", "HairPriors"]

MAY_COVER = 0.12
"""Share of people of a hairstyle who have hair at a pixel: the least that opens the pixel to an edit."""
GROW = 3 / 128
"""By how much hair is grown before it is edited, of the picture's height."""


class HairPriors(nn.Module):
    """Mean hair of hairstyles and mean colors, measured on labeled pictures. Nothing in it is trained.

    Args:
        hairstyles: names of the S hairstyles.
        colors: names of the C colors.
        size: height and width of the mean pictures.

    Attributes:
        shape: share of pictures in which a pixel is hair, (S, 1, size, size) in [0, 1].
        light: mean difference of the L of a hair pixel to the mean L of the hair, (S, 1, size, size).
        lab: mean Lab color of the hair of each color, (C, 3), as `hairclip.common.color.mean_lab` measures it.
    """

    shape: Tensor
    light: Tensor
    lab: Tensor

    def __init__(self, hairstyles: Sequence[str], colors: Sequence[str], size: int = 64) -> None:
        super().__init__()
        self.hairstyles, self.colors, self.size = tuple(hairstyles), tuple(colors), size
        self.config = {"hairstyles": list(hairstyles), "colors": list(colors), "size": size}
        self.register_buffer("shape", torch.zeros(len(hairstyles), 1, size, size))
        self.register_buffer("light", torch.zeros(len(hairstyles), 1, size, size))
        self.register_buffer("lab", torch.zeros(len(colors), 3))

    def shapes(self, hairstyles: Sequence[str], size: int) -> SoftMasks:
        """Return the share of hair of named hairstyles, (B, 1, size, size)."""
        return _resize(self.shape[self._rows(hairstyles)], size).clamp(0.0, 1.0)

    def lights(self, hairstyles: Sequence[str], size: int) -> Float[Tensor, "batch 1 size size"]:
        """Return the mean light of named hairstyles, (B, 1, size, size)."""
        return _resize(self.light[self._rows(hairstyles)], size)

    def color_of(self, color: str) -> Float[Tensor, "3"]:
        """Return the mean Lab color of a named color."""
        return self.lab[self.colors.index(color)]

    def _rows(self, hairstyles: Sequence[str]) -> list[int]:
        return [self.hairstyles.index(name) for name in hairstyles]


def _resize(pictures: Tensor, size: int) -> Tensor:
    return F.interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)
