"""Three ways to join two pictures along a soft mask, each with the photo's own bits where the mask is 0."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from hairclip.common.images import Images, SoftMasks
from hairclip.editing.blending.fill import solve_membrane
from hairclip.editing.blending.pyramid import enlarge_to, halve
from hairclip.editing.blending.regions import soften

__all__ = ["SEAMS", "Seam", "composite", "join", "laplacian_blend", "poisson_blend"]

Seam: TypeAlias = Literal["feather", "laplacian", "poisson"]
SEAMS: tuple[Seam, ...] = ("feather", "laplacian", "poisson")


def composite(source: Images, edited: Images, alpha: SoftMasks) -> Images:
    """`alpha * edited + (1 - alpha) * source`, returning the source's own bits where alpha is 0."""
    mixed = torch.lerp(source, edited, alpha.to(source.dtype))
    return torch.where(alpha > 0, mixed, source)


def laplacian_blend(source: Images, edited: Images, alpha: SoftMasks, levels: int | None = None) -> Images:
    """Multi-band blending: each octave of detail crosses over within its own wavelength.

    Burt and Adelson 1983, "A Multiresolution Spline With Application to Image Mosaics": Laplacian pyramids of both
    pictures are mixed by the Gaussian pyramid of the mask. Coarse bands would change pixels far outside the mask, so
    the answer is let in through `alpha` last.

    Args:
        source: what is seen where alpha is 0.
        edited: what is seen where alpha is 1.
        alpha: (B, 1, H, W) in [0, 1].
        levels: octaves; None takes as many as leave 8 pixels.
    """
    if levels is None:
        levels = max(1, min(source.shape[-2:]).bit_length() - 3)
    mixed = _mix(source, edited, (alpha >= 0.5).to(source.dtype), levels)
    return composite(source, mixed, alpha)


def _mix(source: Images, edited: Images, weight: SoftMasks, levels: int) -> Images:
    """One level of the pyramids: the mixed detail on top of what the coarser levels make."""
    if levels <= 1 or min(source.shape[-2:]) < 2:
        return torch.lerp(source, edited, weight)
    coarse_source, coarse_edited = _reduce(source), _reduce(edited)
    coarse = _mix(coarse_source, coarse_edited, _reduce(weight), levels - 1)
    detail = torch.lerp(source - enlarge_to(coarse_source, source), edited - enlarge_to(coarse_edited, source), weight)
    return detail + enlarge_to(coarse, source)


def _reduce(fields: Tensor) -> Tensor:
    """Blur with the 5-tap binomial and keep every second pixel."""
    return halve(soften(fields, 1))


def poisson_blend(source: Images, edited: Images, alpha: SoftMasks) -> Images:
    """Seamless cloning: the edit's gradients inside the mask, the photo's values on its rim.

    Perez, Gangnet, Blake 2003, "Poisson Image Editing", equation 4, in the form of their equation 5: with the edit's
    gradient as guidance, the answer is the edit plus the membrane of photo - edit.
    """
    outside = alpha <= 0
    moved = edited + solve_membrane(source - edited, outside)
    return torch.where(outside, source, moved)


def join(source: Images, edited: Images, alpha: SoftMasks, seam: Seam) -> Images:
    """Join two pictures by one of `SEAMS`; values stay in [-1, 1], the source's bits where alpha is 0."""
    if seam == "feather":
        mixed = composite(source, edited, alpha)
    elif seam == "laplacian":
        mixed = laplacian_blend(source, edited, alpha)
    elif seam == "poisson":
        mixed = poisson_blend(source, edited, alpha)
    else:
        raise ValueError(f"there is no seam '{seam}': choose one of {', '.join(SEAMS)}")
    return torch.where(alpha > 0, mixed.clamp(-1.0, 1.0), source)
