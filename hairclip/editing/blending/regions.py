"""Shapes in a picture: growing, softening and grouping them."""

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
    """A share of a picture's height in whole pixels, at least one."""
    return max(1, round(share * height))


def dilate(masks: Masks, radius: int) -> Masks:
    """Grow boolean masks by `radius` pixels (an octagon: alternating cross and square steps)."""
    for step in range(radius):
        masks = _step(masks, square=step % 2 == 1)
    return masks


def _step(masks: Masks, *, square: bool) -> Masks:
    """Masks grown by one pixel, in a square or in a cross; far faster than pooling, which compares numbers."""
    rows = _with_neighbours(masks, masks, dim=-1)
    return _with_neighbours(rows, rows if square else masks, dim=-2)


def _with_neighbours(masks: Masks, others: Masks, dim: int) -> Masks:
    """A copy of `masks` with what lies beside `others` along a dimension."""
    grown, size = masks.clone(), masks.shape[dim] - 1
    grown.narrow(dim, 1, size).logical_or_(others.narrow(dim, 0, size))
    grown.narrow(dim, 0, size).logical_or_(others.narrow(dim, 1, size))
    return grown


def erode(masks: Masks, radius: int) -> Masks:
    """Shrink boolean masks by `radius` pixels; what lies beyond the picture's border counts as inside."""
    return ~dilate(~masks, radius)


def keep_connected(seeds: Masks, masks: Masks, size: int = 128) -> Masks:
    """The part of `masks` that hangs together with `seeds`, looked at with at most `size` pixels across."""
    height, width = masks.shape[-2:]
    small = (min(height, size), min(width, size))
    allowed, reached = (F.adaptive_max_pool2d(one.float(), small) > 0.5 for one in (masks, seeds & masks))
    for _ in range(2 * max(small)):  # long enough for all but mazes
        reached = _step(reached, square=True) & allowed
    return (F.interpolate(reached.float(), size=(height, width), mode="nearest-exact") > 0.5) & masks


def ramp_outwards(masks: Masks, width: int) -> SoftMasks:
    """Exactly 1 on the masks, falling smoothly to exactly 0 beyond `width` pixels outside them."""
    heights = smoothstep(0.0, 1.0, torch.arange(width + 2, device=masks.device) / (width + 1))
    within = masks.short()
    for _ in range(width):
        masks = dilate(masks, 1)
        within += masks
    return torch.take(heights, within.long())


def alpha_from_masks(
    source_hair: Masks, edited_hair: Masks, feather: int | None = None, grow: int | None = None
) -> SoftMasks:
    """Weight of the edit in a composite.

    Args:
        source_hair: hair of the photo, (B, 1, H, W) bool.
        edited_hair: hair of the edited picture, same size.
        feather: width of the ramp in pixels; None means 1/40 of the height (3 px at 128).
        grow: pixels added around both masks before the ramp, since parsers cut loose strands; None means 1/128 of
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
    """Binomial blur of (B, C, H, W) that reaches `radius` pixels; the border is mirrored into the mean."""
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
    """0 below `low`, 1 above `high`, a cubic with flat ends between."""
    t = ((values - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def color_distance(images: Tensor, others: Tensor) -> Tensor:
    """Euclidean distance of the channels, (B, 1, H, W)."""
    return (images - others).square().sum(dim=1, keepdim=True).sqrt()


def match_color(images: Tensor, masks: Masks, slack: float) -> Masks:
    """Where pictures have the colour that most of `masks` have: within `slack` and two standard deviations of it."""
    weight = masks.float() / masks.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    off = color_distance(images, (images * weight).sum(dim=(2, 3), keepdim=True))
    return off < slack + 2.0 * (off.square() * weight).sum(dim=(2, 3), keepdim=True).sqrt()


def select_labels(labels: Labels, classes: Sequence[int]) -> Masks:
    """Where `labels` is one of `classes`, (B, 1, H, W)."""
    table = torch.zeros(256, dtype=torch.bool)
    table[list(classes)] = True
    return torch.take(table.to(labels.device), labels)[:, None]  # `torch.isin` compares with one class after another
