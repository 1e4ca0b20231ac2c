"""Paste edited crops into the photo, and continue the edit where hair reaches beyond the crop."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageChops
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import Labels, from_pil, mask_to_pil, resize_area, to_pil
from hairclip.editing.blending.beyond import continue_beyond, fade_at_border, mark_border, pad_around
from hairclip.editing.blending.matte import keep_main_hair
from hairclip.editing.finer_strands import add_finer_strands, finer_size
from hairclip.editing.inversion.check import describe_poor_inversion
from hairclip.editing.photo.align import FaceSquare, Rectangle, crop_face, rectangle, spread
from hairclip.editing.photo_result import OpenPhoto
from hairclip.editing.result import EditResult
from hairclip.networks.stylegan2 import Generator

__all__ = ["follow_hair_beyond_crop", "paste_edits"]

_AROUND = 0.3
"""How far beyond the crop hair is followed, as a share of the crop's side."""
_LARGEST_BEYOND = 256
"""Largest size in pixels of the crop in which hair is followed. The filled-in area is smooth, so it may be small."""


def paste_edits(
    opened: OpenPhoto, edits: Sequence[EditResult], generator: Generator | None = None
) -> tuple[Image.Image, Image.Image, Rectangle | None]:
    """Return the photo with edited crops in it, the weight of the edits, and the rectangle in which it changed.

    Args:
        opened: the photo.
        edits: one edit per square of it.
        generator: what drew the edits. One that makes strands draws them again at the photo's resolution.

    Returns:
        The picture; its mask, mode "L", which is 0 where the pixel is the photo's; and the rectangle, None where
        nothing changed.
    """
    photo, picture, opaque = opened.photo.picture, opened.photo.picture.copy(), opened.photo.alpha
    mask = Image.new("L", picture.size)
    places: list[Rectangle] = []
    for number, (edit, square) in enumerate(zip(edits, opened.squares, strict=True)):
        place = rectangle(square, edit.image.shape[-1], picture.size)
        if place is None:
            continue
        weight = spread(mask_to_pil(edit.alpha), square, picture.size, place)
        foreground = _fade_foreground(edit, square)
        if generator is not None and edit.edited_w_plus is not None and edit.recoloring is None:
            tuned = opened.prepared.inversion.tuned
            drawn_by = generator if tuned is None else tuned[number].generator
            size = finer_size(drawn_by, square.size)
            if size > foreground.shape[-1] == drawn_by.size:
                foreground = add_finer_strands(foreground, edit.edited_w_plus, drawn_by, size)
        after = spread(to_pil(foreground), square, picture.size, place)
        after = Image.composite(after, picture.crop(place), weight)
        mask.paste(ImageChops.lighter(mask.crop(place), weight), place)
        picture.paste(after, place)
        places.append(place)
        # Where an inversion is poor, the networks do not know this kind of picture and the parser takes other things
        # for hair. Then nothing outside the crop is touched.
        if describe_poor_inversion(opened.prepared.inversion, number, limits=opened.limits) is None:
            places += follow_hair_beyond_crop(photo, picture, mask, square, edit, opened.prepared.labels[[number]])
        if opaque is not None:  # new hair in front of a transparent background shows
            hair = ImageChops.multiply(weight, spread(mask_to_pil(edit.mask.float()), square, picture.size, place))
            opaque = opaque.copy()
            opaque.paste(ImageChops.lighter(opaque.crop(place), hair), place)
    changed = [box for box in (_find_difference(photo, picture, place) for place in places) if box]
    if opaque is not None:
        picture.putalpha(opaque)
    if not changed:
        return picture, mask, None
    left, top, right, bottom = zip(*changed, strict=True)
    return picture, mask, (min(left), min(top), max(right), max(bottom))


def _fade_foreground(edit: EditResult, square: FaceSquare) -> Tensor:
    """Return the edit's foreground. New hair fades out where the crop's border would cut it off."""
    if square.whole or edit.bare is None:
        return edit.foreground
    return fade_at_border(edit.foreground, edit.bare, edit.source_mask, edit.mask)


def _find_difference(first: Image.Image, second: Image.Image, place: Rectangle) -> Rectangle | None:
    """Return where two pictures differ within a rectangle."""
    box = ImageChops.difference(first.crop(place), second.crop(place)).getbbox()
    return None if box is None else (place[0] + box[0], place[1] + box[1], place[0] + box[2], place[1] + box[3])


@torch.no_grad()
def follow_hair_beyond_crop(
    photo: Image.Image,
    picture: Image.Image,
    mask: Image.Image,
    square: FaceSquare,
    edit: EditResult,
    labels: Labels,
) -> list[Rectangle]:
    """Remove old hair that reaches beyond the crop, or give it the color of the new hair that it belongs to.

    Args:
        photo: the whole photo as it was.
        picture: the photo with the edited crop pasted; changed in place.
        mask: weight of the edit in `picture`, mode "L"; changed in place.
        square: where the crop lies.
        edit: what was pasted.
        labels: the parsed crop of the photo, (1, height, width).

    Returns:
        The rectangle in which the photo may have changed, in a list. It is empty if no hair reaches beyond the crop.
    """
    size = min(edit.aligned.shape[-1], _LARGEST_BEYOND)
    device = edit.aligned.device
    labels = F.interpolate(labels[:, None].float(), size=(size, size), mode="nearest-exact")[:, 0].long()
    hair = (edit.source_mask, edit.mask)
    old, new = (keep_main_hair(resize_area(one.float(), size) > 0.5, labels) for one in hair)
    if square.whole or edit.bare is None or not bool((old & mark_border(old, 2)).any()):
        return []
    around = round(_AROUND * size)
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
