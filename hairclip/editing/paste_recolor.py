"""A recolouring at the photo's own resolution: every strand of it is kept."""

import numpy as np
import torch
from PIL import Image

from hairclip.common.images import from_pil, mask_to_pil, to_pil
from hairclip.editing.blending.recolor import Recoloring, take_color
from hairclip.editing.blending.seams import composite
from hairclip.editing.photo.align import FaceSquare, Rectangle, crop_face, spread_fields, strips

__all__ = ["recolored"]

LARGEST = 512  # pixels of the crop in which strands are cut out


@torch.no_grad()
def recolored(
    photo: Image.Image, picture: Image.Image, square: FaceSquare, recoloring: Recoloring, place: Rectangle
) -> tuple[Image.Image, Image.Image]:
    """Recolour the hair of a photo.

    Args:
        photo: mode "RGB".
        picture: the photo with what was pasted before; of the same size.
        square: where the crop lies that the recolouring is of.
        recoloring: of one sample.
        place: rectangle of the photo that holds the square.

    Returns:
        The rectangle of `picture` with the photo's hair recoloured, and how much of each pixel was, mode "L": where it
        is 0, the pixel is the picture's.
    """
    size = recoloring.offset.shape[-1]
    factor = max(1, min(LARGEST // size, round(square.size / size)))
    if factor > 1:
        larger = from_pil(crop_face(photo, square, factor * size))
        recoloring = recoloring.enlarged(larger.to(recoloring.offset.device))
    smooth = torch.cat([recoloring.offset, recoloring.shift, recoloring.alpha], dim=1)[0].cpu().numpy()
    pasted, weight = picture.crop(place), Image.new("L", (place[2] - place[0], place[3] - place[1]))
    left, top, _, _ = place
    for strip in strips(place):
        before = from_pil(photo.crop(strip))
        fields = torch.from_numpy(spread_fields(smooth, square, photo.size, strip))[None]
        offset, shift, alpha = fields.split((3, 3, 1), dim=1)
        share = mask_to_pil(alpha)
        alpha = torch.from_numpy(np.asarray(share, np.float32) / 255)[None, None]  # none where the mask says so
        colored = take_color(before, recoloring.slope.cpu(), offset, shift, alpha)
        after = composite(from_pil(picture.crop(strip)), colored, alpha)
        at = (strip[0] - left, strip[1] - top)
        pasted.paste(to_pil(after), at)
        weight.paste(share, at)
    return pasted, weight
