"""Estimate how much of each pixel is hair: the parser's hair, and the strands around it.

Parsers draw hair as a shape with an edge. Real hair ends in strands thinner than a pixel, and the background shows
through them. A mask that ends at the shape would leave these strands in the picture when the hair is taken away.
"""

from dataclasses import dataclass

import torch
from scipy.ndimage import distance_transform_edt

from hairclip.common.images import Images, Labels, Masks, SoftMasks
from hairclip.editing.blending.fill import fill_smoothly
from hairclip.editing.blending.regions import dilate, erode, keep_connected, select_labels, to_pixels
from hairclip.networks.face_parser import CELEBAMASK_CLASSES, HAIR

__all__ = ["BACKGROUND", "CLOTHES", "PERSON", "HairMatte", "estimate_matte", "keep_main_hair", "replace_hair"]


def _ids(*names: str) -> tuple[int, ...]:
    return tuple(CELEBAMASK_CLASSES.index(name) for name in names)


BACKGROUND, CLOTHES = _ids("background"), _ids("cloth", "hat")
PERSON = tuple(i for i in range(len(CELEBAMASK_CLASSES)) if i not in (HAIR, *BACKGROUND, *CLOTHES))
# They are dark as hair and near it, but no hair.
FEATURES = _ids("nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")


def keep_main_hair(hair: Masks, labels: Labels) -> Masks:
    """Return the hair that is connected to hair above or beside the face: parsers see hair in clothes and clutter, too.

    Args:
        hair: what the parser took for hair, (B, 1, H, W).
        labels: parsed pictures, (B, H, W). The lowest row of eyes, nose and mouth is the last in which hair can begin.
            Where none is seen, it begins around the middle of the crop.
    """
    height, width = hair.shape[-2:]
    head = torch.zeros_like(hair)
    head[..., round(0.1 * height) : round(0.75 * height), round(0.2 * width) : round(0.8 * width)] = True
    rows = torch.arange(height, device=hair.device)
    seen = select_labels(labels, FEATURES).sum(dim=-1)[:, 0] > width // 64  # not single pixels that were taken for one
    lowest = torch.where(seen, rows, -1).amax(dim=-1)
    beside = rows <= torch.where(lowest < 0, height, lowest)[:, None]
    return keep_connected(hair & head & beside[:, None, :, None], hair)


def replace_hair(labels: Labels, hair: Masks) -> Labels:
    """Return labels whose hair is the given one. Other pixels that were hair take the nearest other label.

    Args:
        labels: parsed pictures, (B, H, W).
        hair: the hair, (B, 1, H, W).
    """
    kept = []
    for parsed, wanted in zip(labels, hair[:, 0], strict=True):
        other = (parsed != HAIR).cpu().numpy()
        if other.any():
            rows, columns = distance_transform_edt(~other, return_distances=False, return_indices=True)
            parsed = parsed[torch.from_numpy(rows).to(parsed.device), torch.from_numpy(columns).to(parsed.device)]
        else:
            parsed = torch.full_like(parsed, BACKGROUND[0])
        kept.append(torch.where(wanted, HAIR, parsed))
    return torch.stack(kept)


@dataclass(frozen=True)
class HairMatte:
    """The hair of pictures, cut from its surroundings.

    Attributes:
        alpha: share of each pixel that is hair, (B, 1, H, W) in [0, 1].
        color: color of the hair alone, (B, 3, H, W): the picture inside the hair, extended outwards.
    """

    alpha: SoftMasks
    color: Images


def estimate_matte(images: Images, labels: Labels, reach: float = 0.06, *, rim: bool = False) -> HairMatte:
    """Return the matte of the hair, estimated from colors.

    A pixel around the parser's hair has color I. Let H be the color of the hair nearby and S the color of pixels with
    the same label further away. The compositing equation I = alpha H + (1 - alpha) S has the least-squares solution
    alpha = (I - S) (H - S) / |H - S|^2. A pixel counts only if it is connected to the parser's hair, and if H and S
    differ enough.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        labels: parsed pictures, (B, H, W).
        reach: distance from the parser's hair up to which strands are looked for, as a share of the height.
        rim: also estimate the outermost pixels of the parser's hair; otherwise they count as hair alone.
    """
    height = images.shape[-2]
    margin, far = to_pixels(1 / 128, height), to_pixels(reach, height)
    hair = keep_main_hair(erode(dilate(select_labels(labels, (HAIR,)), margin), margin), labels)  # without pinholes
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
    # Shaded skin looks a little like hair nearly everywhere: there a pixel must be mostly hair, and near the hair.
    skin = select_labels(labels, PERSON)
    present = torch.where(skin, (strands > 0.5) & dilate(hair, to_pixels(reach / 3, height)), strands > 0.2)
    connected = hair
    for _ in range(far):
        connected = connected | (dilate(connected, 1) & present)
    whole = torch.ones_like(share)
    parsed = torch.where(inside | ~telling, whole, share) if rim else whole
    return HairMatte(torch.where(hair, parsed, strands * connected), hair_color)
