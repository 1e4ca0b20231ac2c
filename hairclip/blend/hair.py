"""Put edited hair into the untouched photo.

Two layers make up an edit: the photo without its hair (`uncover`), and the edit's hair in front of it, cut out by its
matte. Outside a narrow ramp around both, the photo keeps its bits.
"""

from dataclasses import dataclass

import torch

from hairclip.blend.matte import hair_matte
from hairclip.blend.methods import Blend, join
from hairclip.blend.regions import alpha_from_masks, dilate, pixels_of
from hairclip.blend.uncover import uncover
from hairclip.images import Images, Labels, Masks, SoftMasks

__all__ = ["DEFAULT_BLEND", "Blended", "blend_hair"]

DEFAULT_BLEND: Blend = "feather"


@dataclass(frozen=True)
class Blended:
    """A blended edit; images (B, 3, H, W), masks (B, 1, H, W)."""

    image: Images
    """The answer: equals the photo bit for bit where `alpha` is 0."""
    alpha: SoftMasks
    """Where the photo was changed: 1 on old hair and new hair, a ramp around them."""
    bare: Images
    """The photo with its hair taken away."""
    removed: Masks
    """What was taken away."""


def blend_hair(
    source: Images,
    edited: Images,
    source_labels: Labels,
    edited_labels: Labels,
    *,
    method: Blend = DEFAULT_BLEND,
    feather: int | None = None,
) -> Blended:
    """Give the photo the edit's hair.

    Args:
        source: the photo, (B, 3, H, W) in [-1, 1].
        edited: the generator's picture of the same person with other hair.
        source_labels: parsed photo, (B, H, W).
        edited_labels: parsed edit.
        method: how the layers are joined to the photo.
        feather: width of the ramp in pixels; None means 1/40 of the height.
    """
    height = source.shape[-2]
    edited = edited.clamp(-1.0, 1.0)
    grow = pixels_of(1 / 128, height)
    old, new = hair_matte(source, source_labels), hair_matte(edited, edited_labels)
    removed = dilate(old.alpha > 0, grow)
    shown = new.alpha > 0.02
    bare = uncover(source, edited, source_labels, edited_labels, removed, dilate(new.alpha > 0, grow))
    layered = torch.lerp(bare, torch.where(new.alpha < 1, new.color, edited), new.alpha)
    alpha = alpha_from_masks(removed, shown, feather, 0)
    return Blended(join(source, layered, alpha, method), alpha, bare, removed)
