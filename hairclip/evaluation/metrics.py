"""Measures of edits. Each returns one value per sample, so that the worst samples can be found and shown."""

from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.functional.image import (
    learned_perceptual_image_patch_similarity,
    multiscale_structural_similarity_index_measure,
)

from hairclip.common.color import NAMED_COLORS, NamedColors, mean_lab, nearest_color
from hairclip.common.images import Embeddings, Images, Masks, Scores

__all__ = ["auc", "cosine", "lpips", "mask_iou", "masked_psnr", "ms_ssim", "named_hair_color"]

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11


def masked_psnr(images: Images, target: Images, masks: Masks) -> Scores:
    """Return the PSNR in dB (peak 2) over the pixels of `masks`; at most 100 dB, also where a mask is empty."""
    weights = masks.to(images.dtype)
    error = (images.clamp(-1, 1) - target.clamp(-1, 1)).square().mean(dim=1, keepdim=True)
    mean = (error * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3)).clamp_min(1.0)
    return 10.0 * torch.log10(4.0 / mean.clamp_min(4e-10))


def mask_iou(masks: Masks, other: Masks) -> Scores:
    """Return the intersection over union; 1 for two empty masks, which agree that nobody has hair."""
    both = (masks & other).sum(dim=(1, 2, 3)).float()
    either = (masks | other).sum(dim=(1, 2, 3)).float()
    return torch.where(either > 0, both / either.clamp_min(1.0), torch.ones_like(both))


def cosine(first: Embeddings, second: Embeddings) -> Scores:
    """Return the cosine similarity of embeddings."""
    return F.cosine_similarity(first.float(), second.float(), dim=-1)


def auc(scores: Scores, positive: Bool[Tensor, " batch"]) -> float:
    """Return the area under the ROC curve: how often a positive pair scores above a negative one; ties count half.

    Raises:
        ValueError: if all pairs are positive, or none is.
    """
    if bool(positive.all()) or not bool(positive.any()):
        raise ValueError("the area under the ROC curve needs positive and negative pairs")
    # torchmetrics puts scores outside [0, 1] through a sigmoid, in whose flat ends different scores would be ties.
    ranks = torch.unique(scores, return_inverse=True)[1]
    return float(binary_auroc(ranks.double() / max(1, int(ranks.max())), positive.long()))


def ms_ssim(images: Images, target: Images) -> Scores:
    """Return the multi-scale structural similarity (Wang, Simoncelli, Bovik 2003, equation 7), 1 for equal pictures.

    Window and weights are the paper's. Small pictures have fewer scales, as many as the window fits in (four at 128
    pixels), and the weights of these are scaled to sum to 1.
    """
    side = min(images.shape[-2:])
    scales = 1
    # torchmetrics demands the square of the scales, where the window would need a power of two.
    while scales < len(MS_SSIM_WEIGHTS) and side // max(scales**2, 2**scales) >= WINDOW:
        scales += 1
    weights = MS_SSIM_WEIGHTS[:scales]
    similarity = multiscale_structural_similarity_index_measure(
        (images.clamp(-1, 1) + 1) / 2,
        (target.clamp(-1, 1) + 1) / 2,
        kernel_size=WINDOW,
        reduction="none",
        data_range=1.0,
        betas=tuple(weight / sum(weights) for weight in weights),
    )
    assert isinstance(similarity, Tensor)
    return similarity.reshape(-1)


def lpips(images: Images, target: Images) -> Scores | None:
    """Return the LPIPS distance with the AlexNet backbone (Zhang et al. 2018), 0 for equal pictures.

    torchmetrics holds the learned weights of the layers. The backbone is torchvision's, and is not downloaded for
    this.

    Returns:
        (B,), or None if the backbone is not in the cache of `torch.hub`.
    """
    if not _alexnet_file().is_file():
        return None
    distances = learned_perceptual_image_patch_similarity(
        images.clamp(-1, 1), target.clamp(-1, 1), net_type="alex", reduction="none"
    )
    return distances.reshape(-1)


def _alexnet_file() -> Path:
    """Return where `torch.hub` keeps the backbone of LPIPS."""
    from torchvision.models import AlexNet_Weights

    return Path(torch.hub.get_dir()) / "checkpoints" / AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]


def named_hair_color(images: Images, masks: Masks, named: NamedColors = NAMED_COLORS) -> list[str | None]:
    """Return the named color nearest to the mean hair Lab of each picture.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        masks: hair of each picture.
        named: name of a color -> (L, a, b).

    Returns:
        One name per picture; None where hair covers less than 0.3 % of it.
    """
    enough = masks.float().mean(dim=(1, 2, 3)) > 0.003
    names = nearest_color(mean_lab(images, masks), named)
    return [name if ok else None for name, ok in zip(names, enough.tolist(), strict=True)]
