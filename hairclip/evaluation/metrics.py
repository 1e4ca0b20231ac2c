"""Measures of edits. Each returns one value per sample, so that the worst samples can be found and shown."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from hairclip.common.color import NAMED_COLORS, NamedColors, mean_lab, nearest_color
from hairclip.common.images import Embeddings, Images, Masks, Scores

__all__ = [
    "auc",
    "cosine",
    "frechet_distance",
    "kernel_distance",
    "lpips",
    "lpips_file",
    "mask_iou",
    "masked_psnr",
    "masked_ssim",
    "ms_ssim",
    "named_hair_color",
    "rank_of",
]

OtherEmbeddings: TypeAlias = Float[Tensor, "others embedding"]
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
_SUBSET, _SUBSETS = 1000, 100  # of pictures, as in the paper of the kernel distance


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


def masked_ssim(images: Images, target: Images, masks: Masks) -> Scores:
    """Return the structural similarity over the pixels of `masks` (Wang et al. 2004, equation 13), 1 for equal ones.

    Window (Gaussian, 11 pixels, sigma 1.5) and constants are the paper's. The map of similarities is averaged over the
    mask. Windows reach beyond it: there both pictures show the target, so that only pixels of the mask can differ.

    Returns:
        (B,), 1 where a mask is empty.
    """
    target = (target.clamp(-1, 1) + 1) / 2
    images = torch.where(masks, (images.clamp(-1, 1) + 1) / 2, target)
    _, similarity = structural_similarity_index_measure(
        images, target, data_range=1.0, reduction="none", return_full_image=True
    )
    weights = masks.to(images.dtype)
    summed = (similarity.mean(dim=1, keepdim=True) * weights).sum(dim=(1, 2, 3))
    return torch.where(weights.sum(dim=(1, 2, 3)) > 0, summed / weights.sum(dim=(1, 2, 3)).clamp_min(1.0), 1.0)


def rank_of(wanted: Int64[Tensor, " batch"], embeddings: Embeddings, words: Float[Tensor, "words embedding"]) -> Scores:
    """Return the place of the wanted word among all, ordered by their cosine with each embedding; 1 is the best.

    Args:
        wanted: number of the wanted word.
        embeddings: of the pictures.
        words: embeddings of all words.
    """
    similar = F.normalize(embeddings.float(), dim=-1) @ F.normalize(words.float(), dim=-1).T
    return 1.0 + (similar > similar.gather(1, wanted[:, None])).sum(dim=1).float()


class _Passed(nn.Module):
    """Hands on features that are computed already to a metric of torchmetrics, which expects a network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(features: Embeddings, others: OtherEmbeddings) -> float | None:
    """Return the Fréchet distance of two sets of features (Heusel et al. 2017, equation 6); None of fewer than two.

    With features of Inception this is the FID. Fewer pictures than features make it larger than it is, so that it
    compares only with itself at an equal number of pictures.
    """
    if min(len(features), len(others)) < 2:
        return None
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Passed(features.shape[1]))
    return float(_distance(metric, features.double().cpu(), others.double().cpu()))


def kernel_distance(features: Embeddings, others: OtherEmbeddings, *, seed: int = 0) -> float | None:
    """Return the squared kernel distance of two sets of features (Binkowski et al. 2018, section 4); None of too few.

    The kernel is (x y / width + 1)^3, the estimator has no bias and may be a little below 0. With features of
    Inception this is the KID. Sets of more than 1,000 are drawn from 100 times; smaller ones are taken whole.

    Args:
        features: of one set of pictures.
        others: of the other.
        seed: seed of the draws.
    """
    size = min(_SUBSET, len(features), len(others))
    if size < 2:
        return None
    from torchmetrics.image.kid import KernelInceptionDistance

    subsets = 1 if len(features) == len(others) == size else _SUBSETS
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # it warns that it keeps the features, which are here anyway
        metric = KernelInceptionDistance(feature=_Passed(features.shape[1]), subsets=subsets, subset_size=size)
        torch.manual_seed(seed)
        return float(_distance(metric, features.double().cpu(), others.double().cpu())[0])


def _distance(metric: Any, features: Tensor, others: Tensor) -> Any:
    metric.update(others, real=True)
    metric.update(features, real=False)
    return metric.compute()


def lpips(images: Images, target: Images) -> Scores | None:
    """Return the LPIPS distance with the AlexNet backbone (Zhang et al. 2018), 0 for equal pictures.

    torchmetrics holds the learned weights of the layers. The backbone is torchvision's, and is not downloaded for
    this.

    Returns:
        (B,), or None if the backbone, `lpips_file`, is not in the cache of `torch.hub`.
    """
    if not lpips_file().is_file():
        return None
    network = _lpips_network(lpips_file()).to(images.device)
    with torch.no_grad():
        distances: Tensor = network(images.clamp(-1, 1), target.clamp(-1, 1))
    return distances.reshape(-1)


@cache
def _lpips_network(_backbone: Path) -> nn.Module:
    """Return the network of LPIPS, loaded once."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex").net


def lpips_file() -> Path:
    """Return where `torch.hub` keeps the backbone of LPIPS, whether it is there or not."""
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
