"""Go from one level of a picture's pyramid to the next."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["enlarge_to", "halve"]


def halve(fields: Tensor) -> Tensor:
    """Return the means of 2 x 2 pixels of (..., H, W); fewer pixels at the end of an odd side.

    This is several times faster than `F.avg_pool2d`.
    """
    return _means_of_rows(_means_of_rows(fields).mT).mT


def _means_of_rows(fields: Tensor) -> Tensor:
    means, second = fields[..., ::2, :].clone(), fields[..., 1::2, :]
    means[..., : second.shape[-2], :].add_(second).mul_(0.5)
    return means


def enlarge_to(coarse: Tensor, like: Tensor) -> Tensor:
    """Return `coarse` enlarged bilinearly to the size of `like`, both (B, C, H, W)."""
    return F.interpolate(coarse, size=like.shape[-2:], mode="bilinear", align_corners=False)
