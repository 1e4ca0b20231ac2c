"""Find the shadow that new hair casts on what stays of a photo."""

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.images import Images, Masks, SoftMasks
from hairclip.editing.blending.fill import fill_smoothly
from hairclip.editing.blending.regions import keep_connected, ramp_outwards, smoothstep, soften

__all__ = ["cast_shadow", "find_shadow"]

FAINT, CLEAR = 0.05, 0.14
"""Change of the logarithm of linear light that is no shadow yet, and that counts in full."""
GRAY = 0.35
"""Largest difference of the channels' changes, as a share of the change; what differs more has another color."""


def find_shadow(
    before: Images, after: Images, hair: Masks, known: Masks, reach: int
) -> tuple[Float[Tensor, "1 1 height width"], SoftMasks]:
    """Return by what factor light falls off, or comes back, around hair, and how surely it does.

    Args:
        before: the photo, (1, 3, H, W) in [-1, 1].
        after: the same scene with other hair, in the photo's colors.
        hair: hair before or after, (1, 1, H, W).
        known: pixels without hair that both pictures show, (1, 1, H, W).
        reach: pixels around the hair in which a shadow may lie.

    Returns:
        The factor of linear light, smooth, and its weight, 0 where there is no shadow; both (1, 1, H, W).
    """
    blur = max(1, reach // 8)
    old, new = (_smooth_light(image, known, blur) for image in (before, after))
    change = (new / old).log()
    mean = change.mean(dim=1, keepdim=True)
    tint = (change - mean).abs().amax(dim=1, keepdim=True)
    present = smoothstep(FAINT, CLEAR, mean.abs()) * (tint < FAINT + GRAY * mean.abs())
    near = ramp_outwards(hair, reach)
    connected = keep_connected(hair, hair | (present > 0))
    weight = soften(present * connected, max(1, blur // 2)) * near
    return mean.exp().clamp(0.4, 2.0), torch.where(weight > 0.02, weight, torch.zeros_like(weight))


def cast_shadow(photo: Images, factor: Tensor, weight: SoftMasks) -> Images:
    """Return a photo (1, 3, H, W) whose light is changed by the factor of `find_shadow` where it has weight."""
    scale = torch.lerp(torch.ones_like(factor), factor, weight)
    return _encode(_decode(photo) * scale).clamp(-1.0, 1.0)


def _smooth_light(images: Images, known: Masks, blur: int) -> Images:
    """Return the mean linear light of known pixels around each pixel, never 0."""
    weight = known.float()
    light = _decode(images) + 0.01
    mass = soften(weight.clone(), blur)
    mean = soften(light * weight, blur) / mass.clamp_min(1e-4)
    return fill_smoothly(mean * (mass > 1e-3), (mass > 1e-3).float()).clamp_min(0.005)


def _decode(images: Images) -> Images:
    return ((images + 1) / 2).clamp(0.0, 1.0) ** 2.2


def _encode(light: Tensor) -> Tensor:
    return 2 * light.clamp(0.0, 1.0) ** (1 / 2.2) - 1
