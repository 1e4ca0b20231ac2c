"""Follow an edit over the border of its crop: old hair outside goes, or takes the new colour."""

import torch
from PIL import Image, ImageChops
from torch import Tensor

from hairclip.common.images import from_pil, mask_to_pil, resize_area, to_pil
from hairclip.editing.blending.beyond import continue_beyond, fade_at_border, mark_border, pad_around
from hairclip.editing.blending.matte import keep_main_hair
from hairclip.editing.photo.align import FaceSquare, Rectangle, crop_face, rectangle, spread
from hairclip.editing.result import EditResult

__all__ = ["carry_on", "faded"]

AROUND = 0.3  # of the crop's side are looked at on every side of it
LARGEST = 256  # pixels of the crop for this: what is filled in is smooth


def faded(edit: EditResult, square: FaceSquare) -> Tensor:
    """What is pasted of an edit: its foreground, new hair thinning out where the crop's border would cut it."""
    if square.whole or edit.bare is None:
        return edit.foreground
    return fade_at_border(edit.foreground, edit.bare, edit.source_mask, edit.mask)


@torch.no_grad()
def carry_on(
    photo: Image.Image,
    picture: Image.Image,
    mask: Image.Image,
    square: FaceSquare,
    edit: EditResult,
) -> list[Rectangle]:
    """See to hair beyond the crop, in the edited photo and in the weight of the edit in it.

    Args:
        photo: the whole photo as it was.
        picture: the photo with the edited crop pasted; changed in place.
        mask: weight of the edit in `picture`, mode "L"; likewise.
        square: where the crop lies.
        edit: what was pasted.

    Returns:
        The rectangle looked at, if there was any such hair.
    """
    size = min(edit.aligned.shape[-1], LARGEST)
    device = edit.aligned.device
    # Hair that takes a new colour goes on where it does.
    hair = (edit.alpha * edit.mask,) * 2 if edit.recoloring else (edit.source_mask, edit.mask)
    old, new = (keep_main_hair(resize_area(one.float(), size) > 0.5) for one in hair)
    followed = edit.bare is not None or edit.recoloring is not None
    if square.whole or not followed or not bool((old & mark_border(old, 2)).any()):
        return []
    around = round(AROUND * size)
    whole = size + 2 * around
    middle = square.corners.mean(axis=0)
    wider = FaceSquare(middle + whole / size * (square.corners - middle))
    place = rectangle(wider, whole, picture.size)
    if place is None:
        return []
    before, after = (from_pil(crop_face(one, wider, whole)).to(device) for one in (photo, picture))
    inner = pad_around(torch.ones_like(new, dtype=torch.float32), around) > 0
    old, new = (pad_around(one.float(), around) > 0 for one in (old, new))
    filled, weight = continue_beyond(before, after, inner, old, new)
    there = spread(mask_to_pil(weight), wider, picture.size, place)
    picture.paste(spread(to_pil(filled), wider, picture.size, place), place, there)
    mask.paste(ImageChops.lighter(mask.crop(place), there), place)
    return [place]
