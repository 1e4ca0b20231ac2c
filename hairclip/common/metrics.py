"""Measures of pictures that need no network."""

import torch

from hairclip.common.images import Images, Scores

__all__ = ["psnr"]


def psnr(images: Images, target: Images) -> Scores:
    """Return the peak signal-to-noise ratio (B,) in dB of images in [-1, 1], which are clamped. The peak is 2."""
    error = (images.clamp(-1, 1) - target.clamp(-1, 1)).square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(4.0 / error.clamp_min(1e-10))
