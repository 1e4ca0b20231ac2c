"""Read the masks that people paint: white counts, black does not, gray counts in part."""

import numpy as np
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.images import ImageSource, SoftMasks, image_name
from hairclip.editing.photo.files import Photo, read_photo

__all__ = ["read_mask"]


def read_mask(source: ImageSource, photo: Photo) -> SoftMasks:
    """Read a mask as (1, 1, height, width) in [0, 1]. It is turned upright as its file says, as the photo is.

    Args:
        source: a picture of the photo's size; transparent pixels count as black.
        photo: the photo that the mask belongs to.

    Raises:
        HairclipError: if it cannot be read, is the photo itself, has another size, or is black all over.
    """
    name = image_name(source)
    if isinstance(source, str) and source == photo.name:
        raise HairclipError(f"the mask {name} is the photo itself: give a picture that is white where it counts.")
    mask = read_photo(source)
    if mask.size != photo.size:
        turned = " It lies on its side." if mask.size == photo.size[::-1] else ""
        raise HairclipError(
            f"the mask {name} is {mask.size[0]} x {mask.size[1]} pixels, the photo {photo.name} upright "
            f"{photo.size[0]} x {photo.size[1]}: give a mask of that size.{turned}"
        )
    values = np.array(mask.picture.convert("L"), np.float32)
    if mask.alpha is not None:
        values *= np.asarray(mask.alpha, np.float32) / 255
    if values.max() < 128:
        raise HairclipError(f"the mask {name} shows no white: paint white where it counts.")
    return torch.from_numpy(values / 255)[None, None]
