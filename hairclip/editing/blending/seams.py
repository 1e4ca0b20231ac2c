"""Join two pictures along a soft mask in one of three ways. Where the mask is 0, the photo keeps its bits."""

from typing import get_args

import torch
from torch import Tensor

from hairclip.common.images import Images, SoftMasks
from hairclip.editing.blending.fill import solve_membrane
from hairclip.editing.blending.pyramid import enlarge_to, halve
from hairclip.editing.blending.regions import soften
from hairclip.editing.choices import Seam

__all__ = ["SEAMS", "composite", "join", "laplacian_blend", "poisson_blend"]

SEAMS: tuple[Seam, ...] = get_args(Seam)


def composite(source: Images, edited: Images, alpha: SoftMasks) -> Images:
    """Return `alpha * edited + (1 - alpha) * source`, with the source's bits where alpha is 0."""
    mixed = torch.lerp(source, edited, alpha.to(source.dtype))
    return torch.where(alpha > 0, mixed, source)


def laplacian_blend(source: Images, edited: Images, alpha: SoftMasks, levels: int | None = None) -> Images:
    """Return a multi-band blend, in which each octave of detail crosses over within its own wavelength.

    Laplacian pyramids of both pictures are mixed by the Gaussian pyramid of the mask (Burt and Adelson 1983, "A
    Multiresolution Spline With Application to Image Mosaics"). Coarse bands would change pixels far outside the mask,
    so the mix is composited with the source by `alpha` at the end.

    Args:
        source: picture seen where alpha is 0, (B, 3, H, W).
        edited: picture seen where alpha is 1, (B, 3, H, W).
        alpha: (B, 1, H, W) in [0, 1].
        levels: number of octaves; None takes as many as leave 8 pixels.
    """
    if levels is None:
        levels = max(1, min(source.shape[-2:]).bit_length() - 3)
    mixed = _mix(source, edited, (alpha >= 0.5).to(source.dtype), levels)
    return composite(source, mixed, alpha)


def _mix(source: Images, edited: Images, weight: SoftMasks, levels: int) -> Images:
    """Return the mix of one level of the pyramids and all coarser ones."""
    if levels <= 1 or min(source.shape[-2:]) < 2:
        return torch.lerp(source, edited, weight)
    coarse_source, coarse_edited = _reduce(source), _reduce(edited)
    coarse = _mix(coarse_source, coarse_edited, _reduce(weight), levels - 1)
    detail = torch.lerp(source - enlarge_to(coarse_source, source), edited - enlarge_to(coarse_edited, source), weight)
    return detail + enlarge_to(coarse, source)


def _reduce(fields: Tensor) -> Tensor:
    """Return fields blurred and reduced to half the size."""
    return halve(soften(fields, 1))


def poisson_blend(source: Images, edited: Images, alpha: SoftMasks) -> Images:
    """Return a seamless clone: the edit's gradients inside the mask, the photo's values on its rim.

    Perez, Gangnet, Blake 2003, "Poisson Image Editing", equation 4 in the form of their equation 5: with the gradient
    of the edit as guidance, the solution is the edit plus the membrane of photo - edit.
    """
    outside = alpha <= 0
    moved = edited + solve_membrane(source - edited, outside)
    return torch.where(outside, source, moved)


def join(source: Images, edited: Images, alpha: SoftMasks, seam: Seam) -> Images:
    """Return two pictures joined by one of `SEAMS`, in [-1, 1], with the source's bits where alpha is 0."""
    if seam == "feather":
        mixed = composite(source, edited, alpha)
    elif seam == "laplacian":
        mixed = laplacian_blend(source, edited, alpha)
    elif seam == "poisson":
        mixed = poisson_blend(source, edited, alpha)
    else:
        raise ValueError(f"there is no seam '{seam}': choose one of {', '.join(SEAMS)}")
    return torch.where(alpha > 0, mixed.clamp(-1.0, 1.0), source)
