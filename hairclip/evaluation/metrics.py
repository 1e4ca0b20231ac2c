"""What an edit is worth, as numbers: one value per sample, so that the worst ones can be found and shown."""

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.color import NAMED_COLORS, NamedColors, mean_lab, nearest_color
from hairclip.common.images import Images, Masks, Scores

__all__ = [
    "auc",
    "cosine",
    "mask_iou",
    "masked_psnr",
    "ms_ssim",
    "named_hair_color",
]


def masked_psnr(images: Images, target: Images, masks: Masks) -> Scores:
    """PSNR in dB (peak 2) over the pixels of `masks` only; 100 dB at most, also where a mask is empty."""
    weights = masks.to(images.dtype)
    error = (images.clamp(-1, 1) - target.clamp(-1, 1)).square().mean(dim=1, keepdim=True)
    mean = (error * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3)).clamp_min(1.0)
    return 10.0 * torch.log10(4.0 / mean.clamp_min(4e-10))


def mask_iou(masks: Masks, other: Masks) -> Scores:
    """Intersection over union; two empty masks (bald, rightly) count as 1."""
    both = (masks & other).sum(dim=(1, 2, 3)).float()
    either = (masks | other).sum(dim=(1, 2, 3)).float()
    return torch.where(either > 0, both / either.clamp_min(1.0), torch.ones_like(both))


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosine similarity of (B, width) embeddings, (B,)."""
    return F.cosine_similarity(first.float(), second.float(), dim=-1)


def auc(scores: Tensor, positive: Bool[Tensor, " pairs"]) -> float:
    """Area under the ROC curve: how often a positive pair scores above a negative one (ties count half)."""
    order = torch.cat([scores[positive], scores[~positive]]).double()
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        raise ValueError("the area under the ROC curve needs positive and negative pairs")
    _, inverse, counts = torch.unique(order, return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    mean_rank = last - (counts - 1) / 2.0
    ranks = mean_rank[inverse]
    return float((ranks[:n_positive].sum() - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative))


def _gaussian(images: Tensor, window: Tensor) -> Tensor:
    channels = images.shape[1]
    across = F.conv2d(images, window.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, window.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def ms_ssim(images: Images, target: Images) -> Scores:
    """Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003, equation 7), 1 for equal pictures.

    Window 11, sigma 1.5, weights of the paper; small pictures use as many scales as the window fits in (four at 128
    px), with the weights scaled to sum to 1.
    """
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    scales = 1
    while scales < len(weights) and min(images.shape[-2:]) // 2**scales >= 11:
        scales += 1
    weights = weights[:scales]
    weights = [weight / sum(weights) for weight in weights]
    steps = torch.arange(11, dtype=torch.float32, device=images.device) - 5
    window = torch.exp(-steps.square() / (2 * 1.5**2))
    window = window / window.sum()
    a, b = (images.clamp(-1, 1) + 1) / 2, (target.clamp(-1, 1) + 1) / 2
    result = torch.ones(len(images), device=images.device)
    for scale, weight in enumerate(weights):
        mean_a, mean_b = _gaussian(a, window), _gaussian(b, window)
        variance_a = _gaussian(a * a, window) - mean_a.square()
        variance_b = _gaussian(b * b, window) - mean_b.square()
        covariance = _gaussian(a * b, window) - mean_a * mean_b
        contrast = (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)
        if scale == scales - 1:
            contrast = contrast * (2 * mean_a * mean_b + 0.01**2) / (mean_a.square() + mean_b.square() + 0.01**2)
        result = result * contrast.mean(dim=(1, 2, 3)).clamp_min(1e-4).pow(weight)
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return result


def named_hair_color(images: Images, masks: Masks, named: NamedColors = NAMED_COLORS) -> list[str | None]:
    """The named colour nearest to each picture's mean hair Lab; None where under 0.3 % of the picture is hair."""
    enough = masks.float().mean(dim=(1, 2, 3)) > 0.003
    names = nearest_color(mean_lab(images, masks), named)
    return [name if ok else None for name, ok in zip(names, enough.tolist(), strict=True)]
