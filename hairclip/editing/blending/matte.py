"""How much of each pixel is hair: what the parser calls hair, and the strands around it that it does not.

Parsers draw hair as a shape with an edge. Real hair ends in strands thinner than a pixel, through which the
background shows; a mask that stops at the shape leaves them standing when the hair is taken away.
"""

from dataclasses import dataclass

import torch

from hairclip.common.images import Images, Labels, Masks, SoftMasks
from hairclip.editing.blending.fill import fill_smoothly
from hairclip.editing.blending.regions import dilate, erode, keep_connected, select_labels, to_pixels
from hairclip.networks.face_parser import CELEBAMASK_CLASSES, HAIR

__all__ = ["BACKGROUND", "CLOTHES", "PERSON", "HairMatte", "estimate_matte"]


def _ids(*names: str) -> tuple[int, ...]:
    return tuple(CELEBAMASK_CLASSES.index(name) for name in names)


BACKGROUND, CLOTHES = _ids("background"), _ids("cloth", "hat")
PERSON = tuple(i for i in range(len(CELEBAMASK_CLASSES)) if i not in (HAIR, *BACKGROUND, *CLOTHES))
# Dark as hair, near hair, and not hair.
FEATURES = _ids("nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")


def keep_main_hair(hair: Masks) -> Masks:
    """Hair that hangs together with some around the head: parsers see hair in clutter, too."""
    height, width = hair.shape[-2:]
    head = torch.zeros_like(hair)
    head[..., round(0.1 * height) : round(0.75 * height), round(0.2 * width) : round(0.8 * width)] = True
    return keep_connected(hair & head, hair)


@dataclass(frozen=True)
class HairMatte:
    """Hair of a picture, cut from its surroundings."""

    alpha: SoftMasks
    """Share of each pixel that is hair, (B, 1, H, W) in [0, 1]."""
    color: Images
    """Colour of the hair alone: the picture inside, continued outwards where surroundings shine through."""


def estimate_matte(images: Images, labels: Labels, reach: float = 0.06, *, rim: bool = False) -> HairMatte:
    """Estimate the matte of the hair by colour.

    Around the parser's hair, each pixel I is placed on the line between the colour H of the hair nearby and the colour
    S of what is labelled as the pixel is, further away: alpha = (I - S) (H - S) / |H - S|^2, the least-squares
    solution of the compositing equation I = alpha H + (1 - alpha) S. Only what hangs together with the parser's hair
    counts, and only where hair and surroundings differ enough to tell.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        labels: (B, H, W) of the same size.
        reach: how far from the parser's hair strands are looked for, as a share of the height.
        rim: weigh the outermost pixels of the parser's hair, too, instead of taking them for nothing but hair.
    """
    height = images.shape[-2]
    margin, far = to_pixels(1 / 128, height), to_pixels(reach, height)
    hair = keep_main_hair(erode(dilate(select_labels(labels, (HAIR,)), margin), margin))  # without pinholes
    inside = erode(hair, margin)
    weight = torch.where(inside, 1.0, torch.where(hair, 1e-3, 0.0))
    hair_color = fill_smoothly(images * (weight > 0), weight)
    band = dilate(hair, far)
    around = torch.zeros_like(images)
    for classes in (BACKGROUND, CLOTHES, PERSON):
        group = select_labels(labels, classes)
        weight = torch.where(group & ~band, 1.0, torch.where(group & ~dilate(hair, margin), 1e-3, 0.0))
        around = torch.where(group, fill_smoothly(images * (weight > 0), weight), around)
    if rim:
        beside = (~dilate(hair, margin)).float()
        around = torch.where(hair, fill_smoothly(images * beside, beside), around)
    apart = hair_color - around
    distance = apart.square().sum(dim=1, keepdim=True)
    share = ((images - around) * apart).sum(dim=1, keepdim=True) / distance.clamp_min(1e-6)
    telling = distance > 0.05
    share = share.clamp(0.0, 1.0)
    strands = torch.where(telling & ~select_labels(labels, FEATURES), share, torch.zeros_like(share))
    # Shading makes skin look a little like hair nearly everywhere; only what is plainly hair, and near, counts there.
    skin = select_labels(labels, PERSON)
    present = torch.where(skin, (strands > 0.5) & dilate(hair, to_pixels(reach / 3, height)), strands > 0.2)
    connected = hair
    for _ in range(far):
        connected = connected | (dilate(connected, 1) & present)
    whole = torch.ones_like(share)
    parsed = torch.where(inside | ~telling, whole, share) if rim else whole
    return HairMatte(torch.where(hair, parsed, strands * connected), hair_color)
