"""A new colour on the photo's own strands.

Where only the colour of hair is to change, the photo's strands and shading are right as they are. The generator drew
the person twice, alike but for that colour: this pair of pictures tells how the new colour follows the old brightness,
and the photo's brightness is led through it. That what was found between coarse pictures may be applied to a fine one
is the idea of bilateral guided upsampling (Chen, Adams, Wadhwa, Hasinoff 2016). Here the transfer is affine: per
channel a slope for all hair, by ridge regression as in the guided filter (He, Sun, Tang 2010, equation 5), and an
offset that varies slowly over the picture.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.color import luma
from hairclip.common.face_labels import BACKGROUND, HAIR
from hairclip.common.images import Flags, Images, Labels, SoftMasks
from hairclip.editing.blending.fill import spread_means
from hairclip.editing.blending.matte import estimate_matte
from hairclip.editing.blending.regions import dilate, erode, match_color, select_labels, smoothstep, to_pixels

__all__ = ["Recoloring", "find_recoloring", "take_color"]

RIDGE = 0.005  # added to the brightness's variance, pictures in [-1, 1]: hair with less contrast keeps its own
REACH = 0.02  # of the height: how far from the parser's hair strands are recoloured
LEAST_SHARED = 0.5  # of the photo's hair must be hair before and after the edit
TINT_SLACK = 0.05  # by how much hair's tint may differ beyond its own spread
NEAR = 0.03  # of the height: how far from the generator's hair the photo's is believed


@dataclass(frozen=True)
class Recoloring:
    """How the hair of a batch of photos takes its new colour."""

    slope: Float[Tensor, "batch 3 1 1"]
    """Of each channel, by brightness."""
    offset: Images
    """The channels of hair whose brightness is 0, (B, 3, H, W)."""
    shift: Images
    """By how much the colour of the hair nearby changes: for pixels that are hair in part."""
    alpha: SoftMasks
    """Share of each pixel that is hair, (B, 1, H, W); where it is 0 nothing changes."""
    labels: Labels
    """The parsed photos, without hair that the generator did not draw."""

    def __len__(self) -> int:
        return len(self.slope)

    def __getitem__(self, index: slice) -> "Recoloring":
        return Recoloring(*(value[index] for value in vars(self).values()))

    def foreground(self, photos: Images) -> Images:
        """What to lay over photos of the fields' size by `alpha`: see `take_color`."""
        return take_color(photos, self.slope, self.offset, self.shift, self.alpha)

    def enlarged(self, photos: Images) -> "Recoloring":
        """The same for larger versions of the photos, whose size is a multiple: strands are cut out at their detail."""
        factor = photos.shape[-1] // self.offset.shape[-1]
        offset = F.interpolate(self.offset, size=photos.shape[-2:], mode="bilinear", align_corners=False)
        labels = self.labels.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
        return _cut_out(photos, labels, self.slope, offset)


def take_color(photos: Images, slope: Tensor, offset: Images, shift: Images, alpha: SoftMasks) -> Images:
    """Photos whose hair has its new colour, to be laid over them by `alpha`; fields as those of `Recoloring`."""
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
    """From what the generator changed to what is to change in the photos.

    Args:
        photos: (B, 3, H, W) in [-1, 1].
        labels: parsed photos, (B, H, W).
        inverted: what the generator makes of their codes.
        inverted_labels: parsed.
        edited: what it makes of the edited codes: other in nothing but the hair's colour.
        edited_labels: parsed.

    Returns:
        The recolouring, and for which samples it can be relied on: those whose hair lies where the generator drew it.
    """
    hair, before, after = (select_labels(one, (HAIR,)) for one in (labels, inverted_labels, edited_labels))
    shared = hair & before & after
    height = photos.shape[-2]
    # Parsers see hair in clutter, too: of another tint (colour without brightness), or where none was drawn.
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
    # The mean is what was asked for, however bright the photo's hair is against its inversion.
    offset = spread_means(edited - slope * old, inside) - slope * mean(luma(photos))
    return _cut_out(photos, labels, slope, offset), usable


def _cut_out(photos: Images, labels: Labels, slope: Tensor, offset: Images) -> Recoloring:
    matte = estimate_matte(photos, labels, REACH, rim=True)
    shift = slope * luma(matte.color) + offset - matte.color
    return Recoloring(slope, offset, shift, matte.alpha, labels)
