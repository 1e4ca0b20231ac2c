"""Continue an edit beyond the border of its crop, where hair leaves the crop.

Old hair outside must go, or take the new color, together with the hair inside that it belongs to. New hair that does
not go on outside must not end in a straight line.
"""

import torch
from torch import Tensor

from hairclip.common.images import Images, Masks, SoftMasks
from hairclip.editing.blending.fill import fill_smoothly, solve_membrane
from hairclip.editing.blending.layers import add_grain, measure_noise
from hairclip.editing.blending.regions import (
    color_distance,
    dilate,
    erode,
    keep_connected,
    match_color,
    ramp_outwards,
    smoothstep,
    soften,
    to_pixels,
)

__all__ = ["continue_beyond", "fade_at_border", "mark_border"]

LARGEST_SHARE = 0.2
"""Largest share of the surroundings that can be hair."""


def mark_border(masks: Masks, width: int) -> Masks:
    """Return a frame of `width` pixels along the border of the picture."""
    frame = torch.ones_like(masks)
    frame[..., width:-width, width:-width] = False
    return frame


def fade_at_border(foreground: Images, bare: Images, old_hair: Masks, new_hair: Masks, share: float = 0.06) -> Images:
    """Return the foreground with new hair thinned out towards the crop's border where no old hair goes on beyond it.

    Args:
        foreground: the edit as it is laid over the photo, (B, 3, H, W).
        bare: the same without hair, (B, 3, H, W).
        old_hair: hair of the photo, (B, 1, H, W).
        new_hair: hair of the edit, (B, 1, H, W).
        share: distance from the border at which thinning starts, as a share of the height.
    """
    height = foreground.shape[-2]
    width = to_pixels(share, height)
    inwards = soften(1.0 - ramp_outwards(mark_border(new_hair, 1), width), to_pixels(1 / 64, height))
    frame = mark_border(new_hair, to_pixels(1 / 64, height))
    goes_on = soften(dilate(old_hair & frame, 2 * width).float(), width)
    kept = torch.maximum(inwards, goes_on)
    ends_here = (new_hair & frame).any(dim=3, keepdim=True).any(dim=2, keepdim=True)
    return torch.where(ends_here, torch.lerp(bare, foreground, kept), foreground)


def continue_beyond(
    before: Images, after: Images, inner: Masks, old_hair: Masks, new_hair: Masks
) -> tuple[Images, SoftMasks]:
    """Carry an edit over the border of its crop, along the hair that crosses it.

    Parsers know faces at the scale of the crop and take clutter around it for hair, so hair outside is found by color.
    It is connected to hair at the border, and nearer to it in color than to everything else at the border. If this
    covers much of the surroundings, it cannot be hair, and nothing is done.

    Args:
        before: the photo around the crop, (B, 3, H, W), the crop well within it.
        after: the same with the edited crop pasted, (B, 3, H, W).
        inner: pixels of the crop, (B, 1, H, W).
        old_hair: hair of the photo within the crop, (B, 1, H, W).
        new_hair: hair of the edit within the crop, (B, 1, H, W).

    Returns:
        A picture (B, 3, H, W) to lay over `after`, and its weight (B, 1, H, W). The weight is 0 except for hair outside
        the crop, a ramp around it, and a narrow strip inside the border.
    """
    height = before.shape[-2]
    margin = to_pixels(1 / 120, height)
    strip = inner & dilate(~inner, 2 * margin)
    rim = inner & dilate(~inner, 8 * margin)
    hair, other = rim & old_hair, rim & ~dilate(old_hair, 2 * margin)
    hair_color, spread = _spread_color(before, hair)
    other_color, _ = _spread_color(before, other)
    to_hair, to_other = (color_distance(before, color) for color in (hair_color, other_color))
    likely = (to_hair < to_other) & (to_hair < 0.15 + 2.0 * spread) & ~inner
    likely = erode(dilate(likely | (strip & old_hair), margin), margin)
    # Parts in another color than the hair on the head are clutter that the parser took for hair.
    crossing = strip & old_hair & match_color(before, old_hair & ~rim, 0.1)
    region = keep_connected(crossing, likely | crossing) & (~inner | strip)
    outside = (~inner).float().sum(dim=(1, 2, 3), keepdim=True)
    plausible = (region & ~inner).sum(dim=(1, 2, 3), keepdim=True) < LARGEST_SHARE * outside
    region = dilate(region & plausible, 2 * margin) & (~inner | strip)

    cleared = solve_membrane(after, ~region)
    cleared = add_grain(cleared, measure_noise(before, dilate(region, 8 * margin) & ~region))
    # Where the edit has hair at the border, the hair outside takes its color; elsewhere it goes.
    inside = rim & ~strip
    kept = smoothstep(0.3, 0.7, solve_membrane(new_hair.float(), inside & (old_hair | new_hair)))
    shift = solve_membrane(after - before, inside & old_hair & new_hair)
    picture = torch.lerp(cleared, before + shift, kept).clamp(-1.0, 1.0)
    weight = ramp_outwards(region, 2 * margin) * (~inner | strip)
    return torch.where(dilate(region, 2 * margin), torch.where(region, picture, after), after), weight


def _spread_color(images: Images, masks: Masks) -> tuple[Images, SoftMasks]:
    """Return the color of the pixels in `masks`, extended everywhere, and their distance to that color."""
    weight = masks.float()
    color = soften(fill_smoothly(images * weight, weight), to_pixels(1 / 64, images.shape[-2]))
    strayed = color_distance(images, color) * weight
    return color, fill_smoothly(strayed, weight)


def pad_around(inner: Tensor, around: int) -> Tensor:
    """Return (B, C, H, W) with `around` pixels of zeros added on every side."""
    return torch.nn.functional.pad(inner, (around, around, around, around))
