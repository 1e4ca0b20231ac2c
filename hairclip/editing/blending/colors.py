"""Match the colors of a picture to a photo of the same scene, from the pixels where both show the same."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.images import Images, Masks
from hairclip.editing.blending.fill import spread_means

__all__ = ["ColorMatch", "match_colors"]

STEPS = 12
"""Steps of iteratively reweighted least squares."""
LEAST_SPREAD = 0.01
"""Least standard deviation of the errors that counts as agreement, in [-1, 1]."""
MOST_LOCAL = 0.3
"""Largest local correction of a channel, in [-1, 1]."""


@dataclass(frozen=True)
class ColorMatch:
    """How the colors of a picture become those of the photo.

    Attributes:
        matrix: (3, 4), takes (red, green, blue, 1) of the picture to red, green and blue.
        local: what is added afterwards, (1, 3, h, w). It varies slowly over the picture.
        spread: median distance of the colors that should agree, in [-1, 1].
    """

    matrix: Float[Tensor, "3 4"]
    local: Images
    spread: float

    def apply(self, images: Images, local: Images | None = None) -> Images:
        """Return a picture in the photo's colors.

        Args:
            images: the picture, or a part of it, (1, 3, H, W).
            local: what is added, of the same size; None where the picture has the size of `self.local`.
        """
        return (_transform(self.matrix, images) + (self.local if local is None else local)).clamp(-1.0, 1.0)


def match_colors(photo: Images, picture: Images, shared: Masks) -> ColorMatch:
    """Return how the colors of a picture become those of a photo.

    One affine map of gamma-encoded colors holds for the whole picture: it covers exposure, white balance, contrast,
    brightness and saturation. What remains is averaged over an eighth of the picture and added. Pixels that do not fit
    are left out step by step, because an editor may have changed more than the hair.

    Args:
        photo: (1, 3, H, W) in [-1, 1].
        picture: the same scene in other colors, (1, 3, H, W).
        shared: pixels that should show the same, (1, 1, H, W).
    """
    chosen = shared.expand(-1, 3, -1, -1)
    there, wanted = (image[chosen].view(3, -1).double() for image in (picture, photo))
    inside = (there > -0.985).all(dim=0) & (there < 0.985).all(dim=0)  # clipped colors tell nothing
    if int(inside.sum()) > 100:
        there, wanted = there[:, inside], wanted[:, inside]
    matrix = torch.eye(3, 4, dtype=torch.float64)
    if there.shape[1] == 0:
        return ColorMatch(matrix.float(), torch.zeros_like(photo), 0.0)
    known = torch.cat([there, torch.ones_like(there[:1])])
    weight = torch.ones_like(there[0])
    # Few colors do not tell how all channels mix, so the map stays near one of single channels.
    pull = torch.diag(torch.tensor([1e-3, 1e-3, 1e-3, 1e-6], dtype=torch.float64))
    for _ in range(STEPS):
        gains = [_fit_line(one, other, weight) for one, other in zip(there, wanted, strict=True)]
        start = torch.tensor([[gain * (i == j) for j in range(3)] + [offset] for i, (gain, offset) in enumerate(gains)])
        weighted = known * weight / weight.sum().clamp_min(1e-9)
        error = wanted - start.to(known) @ known
        matrix = start.to(known) + torch.linalg.solve(weighted @ known.T + pull, weighted @ error.T).T
        off = (wanted - matrix @ known).square().sum(dim=0).sqrt()
        spread = max(float(off.median()), LEAST_SPREAD)
        weight = (1.0 - (off / (4.0 * spread)).square()).clamp_min(0.0).square()  # Tukey's biweight
    matrix = matrix.to(photo.dtype)
    left = photo - _transform(matrix, picture)
    agreeing = shared & (left.square().sum(dim=1, keepdim=True).sqrt() < 4.0 * spread)
    local = spread_means(left, agreeing if bool(agreeing.any()) else shared)
    return ColorMatch(matrix, local.clamp(-MOST_LOCAL, MOST_LOCAL), spread)


def _fit_line(known: Tensor, wanted: Tensor, weight: Tensor) -> tuple[float, float]:
    """Return gain and offset of a weighted line; the gain is kept between 1/3 and 3."""
    total = weight.sum().clamp_min(1e-9)
    middle, other = (known * weight).sum() / total, (wanted * weight).sum() / total
    gain = (weight * (known - middle) * (wanted - other)).sum() / (weight * (known - middle) ** 2).sum().clamp_min(1e-9)
    gain = gain.clamp(1 / 3, 3.0)
    return float(gain), float(other - gain * middle)


def _transform(matrix: Tensor, images: Images) -> Images:
    return torch.einsum("ij,bjhw->bihw", matrix[:, :3], images) + matrix[:, 3].view(1, 3, 1, 1)
