"""From one level of a picture's pyramid to the next."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["enlarge_to", "halve"]


def halve(fields: Tensor) -> Tensor:
    """Means of 2 x 2 pixels, fewer at the end of an odd side, (..., H, W); several times faster than pooling."""
    return _means_of_rows(_means_of_rows(fields).mT).mT


def _means_of_rows(fields: Tensor) -> Tensor:
    means, second = fields[..., ::2, :].clone(), fields[..., 1::2, :]
    means[..., : second.shape[-2], :].add_(second).mul_(0.5)
    return means


def enlarge_to(coarse: Tensor, like: Tensor) -> Tensor:
    """Bilinearly to the size of `like`, (B, C, H, W)."""
    return F.interpolate(coarse, size=like.shape[-2:], mode="bilinear", align_corners=False)
