"""Grow, soften and select regions of a picture."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import Labels, Masks, SoftMasks

__all__ = [
    "alpha_from_masks",
    "color_distance",
    "dilate",
    "erode",
    "keep_connected",
    "match_color",
    "ramp_outwards",
    "smoothstep",
    "soften",
    "to_pixels",
]


def to_pixels(share: float, height: int) -> int:
    """Return a share of a picture's height in whole pixels, at least one."""
    return max(1, round(share * height))


def dilate(masks: Masks, radius: int) -> Masks:
    """Return masks grown by `radius` pixels; cross and square steps alternate, so a pixel grows into an octagon."""
    for step in range(radius):
        masks = _step(masks, square=step % 2 == 1)
    return masks


def _step(masks: Masks, *, square: bool) -> Masks:
    """Return masks grown by one pixel, in a square or a cross; far faster than pooling, which compares numbers."""
    rows = _add_neighbors(masks, masks, dim=-1)
    return _add_neighbors(rows, rows if square else masks, dim=-2)


def _add_neighbors(masks: Masks, others: Masks, dim: int) -> Masks:
    """Return `masks` with the pixels added that lie beside `others` along a dimension."""
    grown, size = masks.clone(), masks.shape[dim] - 1
    grown.narrow(dim, 1, size).logical_or_(others.narrow(dim, 0, size))
    grown.narrow(dim, 0, size).logical_or_(others.narrow(dim, 1, size))
    return grown


def erode(masks: Masks, radius: int) -> Masks:
    """Return masks shrunk by `radius` pixels; pixels beyond the picture's border count as inside."""
    return ~dilate(~masks, radius)


def keep_connected(seeds: Masks, masks: Masks, size: int = 128) -> Masks:
    """Return the parts of `masks` that are connected to `seeds`, found at no more than `size` pixels per side."""
    height, width = masks.shape[-2:]
    small = (min(height, size), min(width, size))
    allowed, reached = (F.adaptive_max_pool2d(one.float(), small) > 0.5 for one in (masks, seeds & masks))
    for _ in range(2 * max(small)):  # long enough for all but mazes
        reached = _step(reached, square=True) & allowed
    return (F.interpolate(reached.float(), size=(height, width), mode="nearest-exact") > 0.5) & masks


def ramp_outwards(masks: Masks, width: int) -> SoftMasks:
    """Return weights of exactly 1 on the masks that fall smoothly to exactly 0 over `width` pixels outside them."""
    heights = smoothstep(0.0, 1.0, torch.arange(width + 2, device=masks.device) / (width + 1))
    within = masks.short()
    for _ in range(width):
        masks = dilate(masks, 1)
        within += masks
    return torch.take(heights, within.long())


def alpha_from_masks(
    source_hair: Masks, edited_hair: Masks, feather: int | None = None, grow: int | None = None
) -> SoftMasks:
    """Return the weight of the edit in a composite.

    Args:
        source_hair: hair of the photo, (B, 1, H, W) bool.
        edited_hair: hair of the edited picture, same size.
        feather: width of the ramp in pixels; None means 1/40 of the height (3 px at 128).
        grow: pixels that both masks grow before the ramp, because parsers cut loose strands off; None means 1/128 of
            the height.

    Returns:
        (B, 1, H, W) in [0, 1]: exactly 1 on both hair masks, exactly 0 further than `grow + feather` from them. The
        ramp lies outside the union, so that no rim of old hair survives.
    """
    height = source_hair.shape[-2]
    feather = to_pixels(1 / 40, height) if feather is None else feather
    grow = to_pixels(1 / 128, height) if grow is None else grow
    return ramp_outwards(dilate(source_hair | edited_hair, grow), feather)


def soften(fields: Tensor, radius: int) -> Tensor:
    """Return (B, C, H, W) after a binomial blur that reaches `radius` pixels; the border is mirrored."""
    for _ in range(radius):
        for dim in (-1, -2):
            last = fields.shape[dim] - 1
            total = 2.0 * fields
            total.narrow(dim, 1, last).add_(fields.narrow(dim, 0, last))
            total.narrow(dim, 0, last).add_(fields.narrow(dim, 1, last))
            for end in (0, last):
                total.select(dim, end).add_(fields.select(dim, end))
            fields = total.mul_(0.25)
    return fields


def smoothstep(low: float, high: float, values: Tensor) -> Tensor:
    """Return 0 below `low`, 1 above `high`, and a cubic with flat ends between."""
    t = ((values - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def color_distance(images: Tensor, others: Tensor) -> Tensor:
    """Return the Euclidean distance of the colors of each pixel, (B, 1, H, W)."""
    return (images - others).square().sum(dim=1, keepdim=True).sqrt()


def match_color(images: Tensor, masks: Masks, slack: float) -> Masks:
    """Return where pictures have the mean color of `masks`, within `slack` plus two standard deviations."""
    weight = masks.float() / masks.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    off = color_distance(images, (images * weight).sum(dim=(2, 3), keepdim=True))
    return off < slack + 2.0 * (off.square() * weight).sum(dim=(2, 3), keepdim=True).sqrt()


def select_labels(labels: Labels, classes: Sequence[int]) -> Masks:
    """Return where `labels` is one of `classes`, (B, 1, H, W)."""
    table = torch.zeros(256, dtype=torch.bool)
    table[list(classes)] = True
    return torch.take(table.to(labels.device), labels)[:, None]  # `torch.isin` compares with one class after another
