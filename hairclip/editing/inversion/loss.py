"""The distance between pictures that inversion minimizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import Images, Scores, SoftMasks
from hairclip.editing.inversion.perceptual import PerceptualDistance

__all__ = ["Features", "ReconstructionLoss", "fine_detail", "gradient_loss", "pyramid_loss", "texture_loss"]

Features = Callable[[Tensor], Tensor]
"""Aligned faces (B, 3, H, W) -> embeddings (B, width)."""


def pyramid_loss(images: Images, target: Images, levels: int = 4) -> Scores:
    """Return the mean absolute error over a pyramid, (B,). Coarse levels see shape and color, fine ones detail."""
    total = torch.zeros(images.shape[0], device=images.device)
    used = 0
    for _ in range(levels):
        total = total + (images - target).abs().mean(dim=(1, 2, 3))
        used += 1
        if min(images.shape[-2:]) < 8:
            break
        images, target = F.avg_pool2d(images, 2), F.avg_pool2d(target, 2)
    return total / used


def gradient_loss(images: Images, target: Images) -> Scores:
    """Return the mean absolute error of horizontal and vertical differences, (B,), which keeps edges in place."""
    error = images - target
    across = (error[..., :, 1:] - error[..., :, :-1]).abs().mean(dim=(1, 2, 3))
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down


def texture_loss(images: Images, target: Images, window: int = 8, levels: int = 2) -> Scores:
    """Return the mean absolute difference of local contrast, (B,). It compares the amount of detail, not its place.

    W+ codes cannot rebuild single strands of hair, and then a smooth surface has the smallest error of pixels. The
    local contrast, the root mean square of high frequencies in a window, is right only with texture of the same
    strength.

    Args:
        images: (B, 3, H, W).
        target: (B, 3, H, W).
        window: side of a window in pixels.
        levels: number of octaves, from the finest on.
    """
    total = torch.zeros(images.shape[0], device=images.device)
    used = 0
    for _ in range(levels):
        if min(images.shape[-2:]) < 2 * window:
            break
        total = total + (local_contrast(images, window) - local_contrast(target, window)).abs().mean(dim=(1, 2, 3))
        used += 1
        images, target = F.avg_pool2d(images, 2), F.avg_pool2d(target, 2)
    return total / max(used, 1)


def local_contrast(images: Images, window: int) -> Tensor:
    """Return the root mean square of the brightness's finest octave in overlapping windows, (B, 1, h, w)."""
    energy = F.avg_pool2d(fine_detail(images).square(), window, stride=window // 2)
    return (energy + 1e-5).sqrt()  # without the summand the gradient of a flat window is infinite


def fine_detail(images: Images) -> SoftMasks:
    """Return the brightness minus its mean over 3 x 3 pixels, (B, 1, H, W)."""
    brightness = images.mean(dim=1, keepdim=True)
    return brightness - F.avg_pool2d(F.pad(brightness, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


@dataclass(frozen=True)
class ReconstructionLoss:
    """A weighted sum of distances between pictures.

    Attributes:
        perceptual: distance of features; None for no such term.
        identity: aligned faces -> embeddings, whose cosine counts; None for no such term.
        perceptual_weight: weight of `perceptual`.
        texture_weight: weight of `texture_loss`.
        identity_weight: weight of one minus the cosine of `identity`.
    """

    perceptual: PerceptualDistance | None = None
    identity: Features | None = None
    perceptual_weight: float = 0.5
    texture_weight: float = 4.0
    identity_weight: float = 0.1

    def to(self, target: Images) -> Callable[[Tensor], Tensor]:
        """Return the function images -> (B,) distances to one batch of pictures, whose features are computed once."""
        with torch.no_grad():
            features = None if self.perceptual is None else self.perceptual.features(target)
            faces = None if self.identity is None else F.normalize(self.identity(target).float(), dim=-1)
        return lambda images: self._terms(images, target, features, faces)

    def _terms(self, images: Tensor, target: Tensor, features: Sequence[Tensor] | None, faces: Tensor | None) -> Tensor:
        loss = pyramid_loss(images, target) + 0.5 * gradient_loss(images, target)
        loss = loss + 0.5 * (images - target).square().mean(dim=(1, 2, 3))
        loss = loss + self.texture_weight * texture_loss(images, target)
        if self.perceptual is not None and features is not None:
            loss = loss + self.perceptual_weight * self.perceptual.between(self.perceptual.features(images), features)
        if self.identity is not None and faces is not None:
            found = F.normalize(self.identity(images).float(), dim=-1)
            loss = loss + self.identity_weight * (1.0 - (found * faces).sum(dim=-1))
        return loss
