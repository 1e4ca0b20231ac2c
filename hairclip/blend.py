"""Put edited hair into the untouched photo: a soft composite that is bit-exact outside its mask.

Three regions make up an edit: the hair of the edit (it must be shown), the hair of the source (it must go, or long
hair would stay behind a short cut; what it uncovers comes from the edit), and everything else (it must stay the
photo, bit for bit). A narrow ramp *outside* the union of both hair masks hides the seam; it grows outwards only, so
no rim of old hair survives.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.images import Images, Masks, SoftMasks

__all__ = ["alpha_from_masks", "composite", "dilate", "fill_smoothly", "harmonize"]


def dilate(masks: Masks, radius: int) -> Masks:
    """Grow boolean masks by `radius` pixels (an octagon: alternating square and cross steps)."""
    grown = masks.float()
    for step in range(radius):
        if step % 2:
            grown = F.max_pool2d(grown, 3, stride=1, padding=1)
        else:
            grown = torch.maximum(
                F.max_pool2d(grown, (3, 1), stride=1, padding=(1, 0)),
                F.max_pool2d(grown, (1, 3), stride=1, padding=(0, 1)),
            )
    return grown > 0.5


def alpha_from_masks(
    source_hair: Masks, edited_hair: Masks, feather: int | None = None, grow: int | None = None
) -> SoftMasks:
    """Weight of the edit in the composite.

    Args:
        source_hair: hair of the photo, (B, 1, H, W) bool.
        edited_hair: hair of the edited picture, same size.
        feather: width of the ramp in pixels; None means 1/40 of the height (3 px at 128).
        grow: pixels added around both masks before the ramp, since parsers cut loose strands; None means 1/128 of
            the height.

    Returns:
        (B, 1, H, W) in [0, 1]: exactly 1 on both hair masks, exactly 0 further than `grow + feather` from them.
    """
    height = source_hair.shape[-2]
    feather = max(1, round(height / 40)) if feather is None else feather
    grow = max(1, round(height / 128)) if grow is None else grow
    inside = dilate(source_hair | edited_hair, grow)
    alpha = inside.float()
    ring = inside
    for step in range(feather):
        wider = dilate(ring, 1)
        ramp = 1.0 - (step + 1) / (feather + 1)
        alpha = torch.where(wider & ~ring, torch.full_like(alpha, ramp * ramp * (3.0 - 2.0 * ramp)), alpha)
        ring = wider
    return alpha


def composite(source: Images, edited: Images, alpha: SoftMasks) -> Images:
    """`alpha * edited + (1 - alpha) * source`, returning the source's own bits where alpha is 0."""
    mixed = torch.lerp(source, edited, alpha.to(source.dtype))
    return torch.where(alpha > 0, mixed, source)


def fill_smoothly(
    values: Float[Tensor, "batch channels height width"], weights: SoftMasks
) -> Float[Tensor, "batch channels height width"]:
    """Extend `values`, known where `weights` > 0, smoothly over the whole picture.

    The pull-push pyramid of Gortler et al. (The Lumigraph, 1996, section 4.3): average downwards by weight, then
    fill the gaps of each level from the coarser one. It approximates the membrane (Laplace) interpolant of seamless
    cloning in O(pixels).
    """
    if values.shape[-1] <= 1 or values.shape[-2] <= 1:
        return values
    weighted = F.avg_pool2d(values * weights, 2, ceil_mode=True)
    mass = F.avg_pool2d(weights, 2, ceil_mode=True)
    coarse_values = torch.where(mass > 0, weighted / mass.clamp_min(1e-6), torch.zeros_like(weighted))
    coarse = fill_smoothly(coarse_values, (mass * 4.0).clamp(max=1.0))
    spread = F.interpolate(coarse, size=values.shape[-2:], mode="bilinear", align_corners=False)
    return values * weights + spread * (1.0 - weights)


def harmonize(
    source: Images, edited: Images, source_hair: Masks, edited_hair: Masks, grow: int | None = None
) -> Images:
    """Shift the edit's uncovered skin and background so that they meet the photo around them without a seam.

    The difference photo - edit, known wherever neither picture has hair, is extended smoothly under the uncovered
    area and added there. The edit's own hair is left alone: its colour is what was asked for.
    """
    height = source.shape[-2]
    grow = max(1, round(height / 128)) if grow is None else grow
    hair = dilate(source_hair | edited_hair, grow)
    known = (~hair).float()
    offset = fill_smoothly((source - edited) * known, known)
    return torch.where(edited_hair, edited, (edited + offset).clamp(-1.0, 1.0))
