"""Find the W+ codes of a picture: one pass of the encoder, then, if asked, gradient descent on the codes.

The descent starts where the encoder ends and is held near it, because codes far from the encoder's rebuild pixels
better but edit worse (the distortion-editability trade-off, Tov et al. 2021, "Designing an Encoder for StyleGAN
Image Manipulation").
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from hairclip.images import Images, Scores, resize_area
from hairclip.networks.stylegan2 import Generator

__all__ = ["Inversion", "gradient_loss", "invert", "psnr", "pyramid_loss"]

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Inversion:
    """Codes of a batch of pictures and how well they rebuild them."""

    w_plus: Tensor
    """W+ codes, (B, n_latent, w_dim)."""
    images: Tensor
    """What the generator makes of them, (B, 3, size, size) in about [-1, 1]."""
    psnr: Tensor
    """Peak signal-to-noise ratio to the input in dB, (B,)."""
    steps: int
    """Refinement steps taken (0: the encoder alone)."""


def psnr(images: Images, target: Images) -> Scores:
    """Peak signal-to-noise ratio in dB per sample, of images in [-1, 1] (clamped; peak 2)."""
    error = (images.clamp(-1, 1) - target.clamp(-1, 1)).square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(4.0 / error.clamp_min(1e-10))


def pyramid_loss(images: Images, target: Images, levels: int = 4) -> Scores:
    """Mean absolute error over an area-averaged pyramid, (B,): coarse levels see shape and colour, fine ones detail."""
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
    """Mean absolute error of horizontal and vertical differences, (B,): keeps strands and edges sharp."""
    error = images - target
    across = (error[..., :, 1:] - error[..., :, :-1]).abs().mean(dim=(1, 2, 3))
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down


def invert(
    images: Images,
    encoder: Callable[[Tensor], Tensor],
    generator: Generator,
    *,
    steps: int = 0,
    lr: float = 0.05,
    stay: float = 0.01,
    features: Features | None = None,
    feature_weight: float = 0.1,
    patience: int = 40,
    progress: bool = False,
) -> Inversion:
    """W+ codes of aligned pictures.

    Args:
        images: (B, 3, H, W) in [-1, 1], any size; compared at the generator's size.
        encoder: images -> W+ codes.
        generator: W+ codes -> images, called with constant noise.
        steps: refinement steps; 0 keeps the encoder's codes.
        lr: peak rate of Adam, in units of the codes' own spread; it rises over the first 5 % and falls with a cosine.
        stay: weight of the squared distance to the encoder's codes, in the same units.
        features: images -> (B, width) embedding whose cosine distance to the input's is added (identity, say); None
            for none.
        feature_weight: weight of that term.
        patience: stop once no sample's loss has fallen by 0.5 % for this many steps.
        progress: show a progress bar.

    Returns:
        The best codes seen per sample, with their pictures and PSNR.
    """
    target = resize_area(images, generator.size)
    with torch.no_grad():
        start = encoder(images)
        rebuilt = generator(start, noise="const")
    if steps <= 0:
        return Inversion(start, rebuilt, psnr(rebuilt, target), 0)

    # One unit is the spread of the codes over their features, so that lr means the same for every generator.
    unit = start.std(dim=-1, keepdim=True).mean().clamp_min(1e-6)
    wanted = None if features is None else F.normalize(features(target).detach(), dim=-1)
    offset = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([offset], lr=lr, betas=(0.9, 0.99))
    best_loss = torch.full((len(images),), math.inf, device=images.device)
    best_codes = start.clone()
    stale = taken = 0
    with torch.enable_grad(), tqdm(total=steps, desc="inverting", disable=not progress, leave=False) as bar:
        for step in range(steps + 1):
            codes = start + offset * unit
            made = generator(codes, noise="const")
            loss = (
                pyramid_loss(made, target)
                + 0.5 * gradient_loss(made, target)
                + 0.5 * (made - target).square().mean(dim=(1, 2, 3))
            )
            if features is not None and wanted is not None:
                loss = loss + feature_weight * (1.0 - (F.normalize(features(made), dim=-1) * wanted).sum(-1))
            loss = loss + stay * offset.square().mean(dim=(1, 2))
            score = loss.detach()
            stale = 0 if bool((score < best_loss * 0.995).any()) else stale + 1
            better = score < best_loss
            best_codes = torch.where(better[:, None, None], codes.detach(), best_codes)
            best_loss = torch.where(better, score, best_loss)
            taken = step
            if step == steps or stale >= patience:
                break
            for group in optimizer.param_groups:
                group["lr"] = lr * schedule(step / steps)
            (gradient,) = torch.autograd.grad(loss.sum(), offset)
            offset.grad = gradient
            optimizer.step()
            bar.update()
            if step % 10 == 0:
                bar.set_postfix_str(f"{float(psnr(made.detach(), target).mean()):.2f} dB")
    with torch.no_grad():
        rebuilt = generator(best_codes, noise="const")
    return Inversion(best_codes, rebuilt, psnr(rebuilt, target), taken)


def schedule(progress: float, warmup: float = 0.05, cooldown: float = 0.5) -> float:
    """Share of the peak rate at `progress` in [0, 1): warm-up, flat, cosine cool-down (Karras et al. 2020, app. D)."""
    up = min(1.0, (progress + 1e-3) / warmup)
    left = min(1.0, (1.0 - progress) / cooldown)
    return up * (0.5 - 0.5 * math.cos(math.pi * left))
