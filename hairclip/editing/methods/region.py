"""Say which pixels an edit of hair may change, for methods that paint pictures instead of editing codes.

A color may change the person's own hair. A hairstyle may also change whatever hair of that hairstyle may cover. Eyes,
brows, nose and mouth are never painted. Skin of the face is painted only where the hairstyle often covers it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.face_labels import CELEBAMASK_CLASSES, HAIR
from hairclip.common.images import Images, Labels, Masks
from hairclip.conditions.encoder import EditBatch
from hairclip.editing.blending.regions import dilate, erode, ramp_outwards, select_labels, to_pixels
from hairclip.editing.methods.method import Editor
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.networks.hair_priors import GROW, MAY_COVER, HairPriors
from hairclip.networks.text_encoder import nearest_rows

__all__ = ["edit_region", "head_region", "name_hairstyles", "paste_region", "reduce_region"]

COVERS_SKIN = 0.35
"""Share of people of a hairstyle who have hair at a pixel of skin: the least that opens it."""
_RAMP = 2 / 128  # of the picture's height
_AROUND = 12 / 128  # how far new hair reaches where nothing says how far
_FEATURES = [CELEBAMASK_CLASSES.index(name) for name in (
    "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip"
)]  # fmt: skip
_SKIN = [CELEBAMASK_CLASSES.index("skin")]


def edit_region(
    labels: Labels, hairstyles: Sequence[str | None], asked: Sequence[bool], priors: HairPriors, grow: int | None = None
) -> Masks:
    """Return the pixels that each edit may change, (B, 1, H, W) bool.

    Args:
        labels: what the parser sees in the photos, CelebAMask-HQ ids, (B, H, W).
        hairstyles: the hairstyle that each edit asks for, a name in `priors`; None keeps the hairstyle.
        asked: whether an edit asks for anything. If not, its region is empty.
        priors: the mean shapes of hairstyles.
        grow: pixels by which the region is grown; None means 3/128 of the height.
    """
    height = labels.shape[-2]
    grow = to_pixels(GROW, height) if grow is None else grow
    own = dilate((labels == HAIR)[:, None], grow)
    region = own.clone()
    for i, hairstyle in enumerate(hairstyles):
        if not asked[i]:
            region[i] = False
        elif hairstyle is not None:
            shape = priors.shapes([hairstyle], height)
            skin = select_labels(labels[i : i + 1], _SKIN)
            may = torch.where(skin, shape > COVERS_SKIN, dilate(shape > MAY_COVER, grow))
            region[i : i + 1] |= may
    return region & ~select_labels(labels, _FEATURES)


def head_region(labels: Labels, new_hairstyle: Sequence[bool | None]) -> Masks:
    """Return the pixels that each edit may change where no mean shapes of hairstyles are known, (B, 1, H, W) bool.

    Args:
        labels: what the parser sees in the photos, CelebAMask-HQ ids, (B, H, W).
        new_hairstyle: whether an edit asks for a hairstyle. Then all around head and hair may change. None asks for
            nothing.
    """
    height = labels.shape[-2]
    hair, skin = (labels == HAIR)[:, None], select_labels(labels, [*_SKIN, *_FEATURES])
    region = dilate(hair, to_pixels(GROW, height))
    for i, is_new in enumerate(new_hairstyle):
        if is_new is None:
            region[i] = False
        elif is_new:
            around = dilate((hair | skin)[i : i + 1], to_pixels(_AROUND, height))
            region[i : i + 1] |= around & ~erode(skin[i : i + 1], to_pixels(GROW, height))
    return region & ~select_labels(labels, _FEATURES)


def reduce_region(region: Masks, grid: int) -> Bool[Tensor, "batch 1 grid grid"]:
    """Return the cells of a grid in which any pixel is in the region, (B, 1, grid, grid) bool."""
    return F.adaptive_max_pool2d(region.float(), grid) > 0


def paste_region(photo: Images, painted: Images, region: Masks, strength: float = 1.0) -> Images:
    """Return the photo with the painted picture in the region. Outside the region each pixel keeps its bits.

    The weight of the painted picture rises from 0 to 1 over a few pixels inside the region. A border of the region that
    is the picture's own border has no such ramp.
    """
    width = to_pixels(_RAMP, photo.shape[-2])
    weight = strength * ramp_outwards(erode(region, width), width) * region
    mixed = (photo + weight * (painted - photo)).clamp(-1.0, 1.0)
    return torch.where(weight > 0, mixed, photo)


def name_hairstyles(
    requests: Sequence[EditRequest], batch: EditBatch, names: Sequence[str], editor: Editor
) -> list[str | None]:
    """Return the hairstyle of each request as one of `names`; None where a request keeps the hairstyle.

    A picture, or a word that is not among the names, gets the name whose text CLIP finds nearest.
    """
    named = [request.hairstyle if isinstance(request.hairstyle, str) else None for request in requests]
    others = [i for i, request in enumerate(requests) if request.hairstyle is not None and named[i] not in names]
    if others:
        texts = editor.encode([EditRequest(hairstyle=name) for name in names], EditOptions()).condition.hairstyle
        for i, row in zip(others, nearest_rows(batch.condition.hairstyle[others], texts).tolist(), strict=True):
            named[i] = names[row]
    return named
