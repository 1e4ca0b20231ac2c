"""Put the hair of an edit into the photo.

A blended edit has two layers: the photo without its hair (`uncover`), and in front of it the hair of the edit, cut out
by its matte. Outside them the photo keeps its bits.
"""

from dataclasses import dataclass

import torch

from hairclip.common.images import Images, Labels, Masks, SoftMasks
from hairclip.editing.blending.layers import uncover
from hairclip.editing.blending.matte import estimate_matte
from hairclip.editing.blending.regions import alpha_from_masks, dilate, erode, smoothstep, soften, to_pixels
from hairclip.editing.blending.seams import composite, join
from hairclip.editing.choices import Behind, Seam

__all__ = ["DEFAULT_SEAM", "PIXELS_TOGETHER", "Blended", "blend_hair"]

DEFAULT_SEAM: Seam = "feather"
PIXELS_TOGETHER = 2**22
"""Pixels that are blended at once, four pictures of 1024 px. Blending takes up to a hundred times their memory."""


@dataclass(frozen=True)
class Blended:
    """A batch of blended edits.

    Attributes:
        image: the photo with the edited hair, (B, 3, H, W). It has the photo's bits where `alpha` is 0.
        alpha: weight of the edit, (B, 1, H, W): 1 on old and new hair, and a ramp around them.
        foreground: picture to lay over a larger version of the photo by `alpha`, (B, 3, H, W).
        bare: the photo without its hair, (B, 3, H, W); None if the generator's picture is seen behind the hair.
        removed: old hair that was taken away, (B, 1, H, W).
    """

    image: Images
    alpha: SoftMasks
    foreground: Images
    bare: Images | None
    removed: Masks


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
    """Return the photo with the hair of the edit.

    Args:
        source: the photo, (B, 3, H, W) in [-1, 1].
        edited: the generator's picture of the same person with other hair, (B, 3, H, W).
        source_labels: parsed photo, (B, H, W).
        edited_labels: parsed edit, (B, H, W).
        seam: how the edit is joined to the photo.
        behind: what is seen where hair was: "photo" continues the photo's background and clothes and takes only skin
            from the edit; "edit" takes all of it from the edit.
        feather: width in pixels of the ramp around all that changed; None means 1/40 of the height.
    """
    together = max(1, PIXELS_TOGETHER // source[0, 0].numel())
    parts = []
    for first in range(0, len(source), together):
        part = slice(first, first + together)
        inputs = source[part], edited[part], source_labels[part], edited_labels[part]
        parts.append(_blend_together(*inputs, seam=seam, behind=behind, feather=feather))
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
    """Return `blend_hair` of samples that fit into memory together."""
    height = source.shape[-2]
    edited = edited.clamp(-1.0, 1.0)
    grow = to_pixels(1 / 128, height)
    old, new = estimate_matte(source, source_labels), estimate_matte(edited, edited_labels, reach=0.012)
    removed = erode(dilate(old.alpha > 0, 3 * grow), 2 * grow)  # grown, and gaps between strands closed
    # Generators blur, so that low values of the matte are a glow around the hair.
    matte = soften(smoothstep(0.4, 0.9, new.alpha), to_pixels(1 / 256, height))
    shown = matte > 0
    alpha = alpha_from_masks(removed, shown, feather, 0)
    if behind == "edit":
        image = join(source, edited, alpha, seam)
        return Blended(image, alpha, edited if seam == "feather" else image, None, removed)
    bare = uncover(source, edited, source_labels, edited_labels, removed, dilate(new.alpha > 0, grow))
    # Around opaque hair the hair's color is extended, because pixels of the edit hold some of its background there.
    cut_out = edited if seam == "poisson" else torch.where(matte < 1, new.color, edited)
    layered = join(bare, cut_out, matte, seam)
    return Blended(composite(source, layered, alpha), alpha, layered, bare, removed)
