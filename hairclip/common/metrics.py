"""Measures of pictures that need no network."""

import torch

from hairclip.common.images import Images, Scores

__all__ = ["psnr"]


def psnr(images: Images, target: Images) -> Scores:
    """Peak signal-to-noise ratio in dB per sample, of images in [-1, 1] (clamped; peak 2)."""
    error = (images.clamp(-1, 1) - target.clamp(-1, 1)).square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(4.0 / error.clamp_min(1e-10))
