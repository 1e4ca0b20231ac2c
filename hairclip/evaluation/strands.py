"""How much of the true hair's strands a picture has, and whether they run in the true direction."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hairclip.common.color import luma
from hairclip.common.images import Images, Masks, Scores
from hairclip.portraits.fit.texture import OrientedEnergy

__all__ = ["BANDS", "band_energies", "direction_agreement", "measured_direction"]

BANDS = (3, 6, 12)
"""Wavelengths in pixels, from strand to strand, whose energy is measured."""
_SMOOTHED = 7  # side of the neighborhood whose gradients give one direction, pixels


@torch.no_grad()
def band_energies(images: Images, target: Images, hair: Masks) -> dict[int, Scores]:
    """Return for each wavelength of `BANDS` the energy inside the hair over that of the target.

    The energy is the sum of `OrientedEnergy` over all directions. A place counts if the pixels around it are hair, at
    the scale of the wavelength: the outline of hair depends on the background. The value is NaN where no place counts.
    """
    energy = OrientedEnergy(scales=len(BANDS), wavelength=float(BANDS[0]), window=2).to(images.device)
    inside, found = hair.float(), {}
    for band, ours, theirs in zip(BANDS, energy(images), energy(target), strict=True):
        if band > BANDS[0]:
            inside = (F.avg_pool2d(inside, 2) == 1).float()
        eroded = -F.max_pool2d(-inside, 3, stride=1, padding=1)
        # What is left of the filters' border, in neighborhoods of two pixels.
        edge = energy.radius
        counted = -F.max_pool2d(-eroded[:, :, edge:-edge, edge:-edge], 2, stride=1)
        found[band] = (ours * counted).sum(dim=(1, 2, 3)) / (theirs * counted).sum(dim=(1, 2, 3))
    return found


@torch.no_grad()
def direction_agreement(images: Images, direction: Float[Tensor, "batch 2 height width"], hair: Masks) -> Scores:
    """Return the mean of ``|cos d|`` over the hair; d is the angle between measured and true direction of strands.

    1 is the same direction everywhere. Directions at random give 2 / pi, about 0.64. The mean is weighted by the
    coherence of the measured direction and by the length of the true one. It is NaN without hair.

    Args:
        images: pictures, (B, 3, H, W).
        direction: (cos 2a, sin 2a) of the true angle a, in a length of 0 to 1 that says how far strands agree; see
            `hairclip.portraits.drawing.raster.Buffers`.
        hair: the pixels that count.
    """
    measured = measured_direction(images)
    cosine = ((1 + F.cosine_similarity(measured, direction, dim=1)) / 2).clamp_min(0).sqrt()
    weight = measured.norm(dim=1) * direction.norm(dim=1) * hair[:, 0]
    return (cosine * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))


def measured_direction(images: Images) -> Float[Tensor, "batch 2 height width"]:
    """Return (cos 2a, sin 2a) of the angle a along the strands at each pixel, in the length of its coherence.

    The structure tensor (Bigün and Granlund 1987) is the mean of products of brightness gradients over a neighborhood.
    Strands run across the gradient. The coherence is 1 if all gradients of a neighborhood are parallel, 0 if none is
    preferred.
    """
    smooth, slope = images.new_tensor((1.0, 2.0, 1.0)) / 4, images.new_tensor((-1.0, 0.0, 1.0)) / 2
    sobel = torch.stack((torch.outer(smooth, slope), torch.outer(slope, smooth)))[:, None]
    x, y = F.conv2d(F.pad(luma(images), (1, 1, 1, 1), mode="replicate"), sobel).unbind(dim=1)
    products = torch.stack((y * y - x * x, -2 * x * y, x * x + y * y), dim=1)
    mean = F.avg_pool2d(products, _SMOOTHED, stride=1, padding=_SMOOTHED // 2, count_include_pad=False)
    return mean[:, :2] / mean[:, 2:].clamp_min(1e-8)
