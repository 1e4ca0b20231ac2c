"""Put edited hair into the untouched photo.

Two layers make up an edit: the photo without its hair (`uncover`), and the edit's hair in front of it, cut out by its
matte. Outside them the photo keeps its bits.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from hairclip.common.images import Images, Labels, Masks, SoftMasks
from hairclip.editing.blending.layers import uncover
from hairclip.editing.blending.matte import estimate_matte
from hairclip.editing.blending.regions import alpha_from_masks, dilate, erode, smoothstep, soften, to_pixels
from hairclip.editing.blending.seams import Seam, composite, join

__all__ = ["DEFAULT_SEAM", "PIXELS_TOGETHER", "Behind", "Blended", "blend_hair"]

DEFAULT_SEAM: Seam = "feather"
Behind: TypeAlias = Literal["photo", "edit"]
PIXELS_TOGETHER = 2**22  # four pictures of 1024 px: an edit takes up to a hundred times the memory of its pictures


@dataclass(frozen=True)
class Blended:
    """A blended edit; images (B, 3, H, W), masks (B, 1, H, W)."""

    image: Images
    """The answer: equals the photo bit for bit where `alpha` is 0."""
    alpha: SoftMasks
    """Where the photo was changed: 1 on old hair and new hair, a ramp around them."""
    foreground: Images
    """What to lay over a larger version of the photo by `alpha`."""
    bare: Images | None
    """The photo with its hair taken away; None where the edit is seen behind it."""
    removed: Masks
    """What was taken away."""


def blend_hair(
    source: Images,
    edited: Images,
    source_labels: Labels,
    edited_labels: Labels,
    *,
    seam: Seam = DEFAULT_SEAM,
    behind: Behind = "photo",
    feather: int | None = None,
) -> Blended:
    """Give the photo the edit's hair.

    Args:
        source: the photo, (B, 3, H, W) in [-1, 1].
        edited: the generator's picture of the same person with other hair.
        source_labels: parsed photo, (B, H, W).
        edited_labels: parsed edit.
        seam: how the edit is joined to the photo.
        behind: what is seen where hair was: "photo" continues the photo's background and clothes and takes only skin
            from the edit; "edit" takes all of it from the edit.
        feather: width in pixels of the ramp around all that changed; None means 1/40 of the height.
    """
    together = max(1, PIXELS_TOGETHER // source[0, 0].numel())
    parts = []
    for first in range(0, len(source), together):
        some = slice(first, first + together)
        given = source[some], edited[some], source_labels[some], edited_labels[some]
        parts.append(_blend_together(*given, seam=seam, behind=behind, feather=feather))
    bare = [part.bare for part in parts if part.bare is not None]
    return Blended(
        image=torch.cat([part.image for part in parts]),
        alpha=torch.cat([part.alpha for part in parts]),
        foreground=torch.cat([part.foreground for part in parts]),
        bare=torch.cat(bare) if bare else None,
        removed=torch.cat([part.removed for part in parts]),
    )


def _blend_together(
    source: Images,
    edited: Images,
    source_labels: Labels,
    edited_labels: Labels,
    *,
    seam: Seam,
    behind: Behind,
    feather: int | None,
) -> Blended:
    """`blend_hair` of a few samples."""
    height = source.shape[-2]
    edited = edited.clamp(-1.0, 1.0)
    grow = to_pixels(1 / 128, height)
    old, new = estimate_matte(source, source_labels), estimate_matte(edited, edited_labels, reach=0.012)
    removed = erode(dilate(old.alpha > 0, 3 * grow), 2 * grow)  # grown, and gaps between strands closed
    # Generators blur: the lower part of their matte is a glow around the hair.
    matte = soften(smoothstep(0.4, 0.9, new.alpha), to_pixels(1 / 256, height))
    shown = matte > 0
    alpha = alpha_from_masks(removed, shown, feather, 0)
    if behind == "edit":
        image = join(source, edited, alpha, seam)
        return Blended(image, alpha, edited if seam == "feather" else image, None, removed)
    bare = uncover(source, edited, source_labels, edited_labels, removed, dilate(new.alpha > 0, grow))
    # Around opaque hair its own colour continues: pixels of the edit there hold some of the edit's background.
    cut_out = edited if seam == "poisson" else torch.where(matte < 1, new.color, edited)
    layered = join(bare, cut_out, matte, seam)
    return Blended(composite(source, layered, alpha), alpha, layered, bare, removed)
