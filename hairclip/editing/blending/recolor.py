"""Give the photo's own strands a new color.

If only the color of the hair changes, the photo's strands and shading stay. The generator makes two pictures of the
person that differ in that color alone: the inversion and the edit. They show how the new color depends on the old
brightness, and this transfer is applied to the brightness of the photo. A transfer found between coarse pictures may be
applied to a fine one (bilateral guided upsampling, Chen, Adams, Wadhwa, Hasinoff 2016). Here it is affine: per channel
one slope for all hair, by ridge regression as in the guided filter (He, Sun, Tang 2010, equation 5), and an offset that
varies slowly over the picture.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hairclip.common.color import luma
from hairclip.common.face_labels import BACKGROUND, HAIR
from hairclip.common.images import Flags, Images, Labels, SoftMasks
from hairclip.editing.blending.fill import spread_means
from hairclip.editing.blending.matte import estimate_matte
from hairclip.editing.blending.regions import dilate, erode, match_color, select_labels, smoothstep, to_pixels

__all__ = ["Recoloring", "find_recoloring", "take_color"]

RIDGE = 0.005
"""Added to the variance of the brightness in [-1, 1], so that hair of little contrast keeps its contrast."""
REACH = 0.02
"""Distance from the parser's hair up to which strands are recolored, as a share of the height."""
LEAST_SHARED = 0.5
"""Least share of the photo's hair that must be hair before and after the edit."""
TINT_SLACK = 0.05
"""Difference of a hair's tint that is allowed beyond the spread of all tints."""
NEAR = 0.03
"""Distance from the generator's hair up to which the photo's hair counts, as a share of the height."""


@dataclass(frozen=True)
class Recoloring:
    """How the hair of a batch of photos takes its new color.

    Attributes:
        slope: change of each channel per change of brightness, (B, 3, 1, 1).
        offset: new color of hair with brightness 0, (B, 3, H, W).
        shift: change of the color of the hair nearby, (B, 3, H, W). Pixels that are partly hair change by it.
        alpha: share of each pixel that is hair, (B, 1, H, W). Where it is 0, nothing changes.
        labels: parsed photos without hair that the generator did not draw, (B, H, W).
    """

    slope: Float[Tensor, "batch 3 1 1"]
    offset: Images
    shift: Images
    alpha: SoftMasks
    labels: Labels

    def __len__(self) -> int:
        return len(self.slope)

    def __getitem__(self, index: slice) -> "Recoloring":
        return Recoloring(*(value[index] for value in vars(self).values()))

    def foreground(self, photos: Images) -> Images:
        """Return the recolored photos, to be laid over them by `alpha`; the photos have the size of the fields."""
        return take_color(photos, self.slope, self.offset, self.shift, self.alpha)


def take_color(photos: Images, slope: Tensor, offset: Images, shift: Images, alpha: SoftMasks) -> Images:
    """Return photos whose hair has its new color, to be laid over them by `alpha`; see `Recoloring` for the fields."""
    whole = smoothstep(0.6, 0.98, alpha)
    change = torch.lerp(shift, slope * luma(photos) + offset - photos, whole)
    return (photos + change).clamp(-1.0, 1.0)


def find_recoloring(
    photos: Images,
    labels: Labels,
    inverted: Images,
    inverted_labels: Labels,
    edited: Images,
    edited_labels: Labels,
) -> tuple[Recoloring, Flags]:
    """Return how the photos' hair takes the color that the generator gave it.

    Args:
        photos: (B, 3, H, W) in [-1, 1].
        labels: parsed photos, (B, H, W).
        inverted: what the generator makes of the photos' codes, (B, 3, H, W).
        inverted_labels: parsed inversions, (B, H, W).
        edited: what the generator makes of the edited codes, which differ in the hair's color alone, (B, 3, H, W).
        edited_labels: parsed edits, (B, H, W).

    Returns:
        The recoloring, and one flag per sample: whether its hair lies where the generator drew it. Others cannot be
        recolored in this way.
    """
    hair, before, after = (select_labels(one, (HAIR,)) for one in (labels, inverted_labels, edited_labels))
    shared = hair & before & after
    height = photos.shape[-2]
    # Parsers see hair in clutter, too: its tint (color without brightness) differs, or no hair was generated there.
    tinted = match_color(photos - luma(photos), shared, TINT_SLACK)
    clutter = hair & ~(dilate(before & after, to_pixels(NEAR, height)) & tinted)
    labels = torch.where(clutter[:, 0], BACKGROUND, labels)
    counted = hair.sum(dim=(1, 2, 3))
    usable = (counted > 0) & (shared.sum(dim=(1, 2, 3)) >= LEAST_SHARED * counted)
    inside = erode(shared, to_pixels(1 / 128, height))
    weights = inside / inside.sum(dim=(2, 3), keepdim=True).clamp_min(1)

    def mean(values: Tensor) -> Tensor:
        return (values * weights).sum(dim=(2, 3), keepdim=True)

    edited, old = edited.clamp(-1.0, 1.0), luma(inverted)
    old = old - mean(old)
    slope = (mean(old * (edited - mean(edited))) + RIDGE) / (mean(old.square()) + RIDGE)
    # The photo's hair may be brighter than the inversion's: its own mean brightness shall give the requested color.
    offset = spread_means(edited - slope * old, inside) - slope * mean(luma(photos))
    return _cut_out(photos, labels, slope, offset), usable


def _cut_out(photos: Images, labels: Labels, slope: Tensor, offset: Images) -> Recoloring:
    matte = estimate_matte(photos, labels, REACH, rim=True)
    shift = slope * luma(matte.color) + offset - matte.color
    return Recoloring(slope, offset, shift, matte.alpha, labels)
